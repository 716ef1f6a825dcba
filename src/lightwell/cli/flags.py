"""Command line flags for the settings, made from the fields of `Settings`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from lightwell import settings as table
from lightwell.setting_groups.declaration import GiB, MiB
from lightwell.settings import Settings

# The settings that a verb needs to find the stores.
PLACES = (
    "data", "database_url", "storage_url", "storage_endpoint_url", "allow_other_user", "region", "account_id",
)  # fmt: skip


def add(parser: argparse.ArgumentParser, names: Iterable[str] | None = None) -> None:
    """Add a flag for each of these settings, or for all; not for secrets, as others can see command lines."""
    group = parser.add_argument_group(
        "settings", "each can also be set as an environment variable LIGHTWELL_… or in lightwell.toml"
    )
    for name in table.FIELDS if names is None else names:
        field = table.FIELDS[name]
        flag, dest = "--" + name.replace("_", "-"), f"setting_{name}"
        text = field.metadata["help"].replace("%", "%%") + _notes(field.default, field.metadata["choices"])
        if field.type == "bool":
            text = field.metadata["help"].replace("%", "%%").removeprefix("true: ")
            group.add_argument(flag, dest=dest, action="store_const", const=True, help=text)
        elif not field.metadata["secret"]:
            group.add_argument(
                flag,
                dest=dest,
                metavar=name.rpartition("_")[2].upper(),
                choices=field.metadata["choices"] or None,
                help=text,
            )
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="read settings from this file instead of ./lightwell.toml"
    )


def _notes(default: object, choices: tuple[str, ...]) -> str:
    """The choices and the default of a setting, as it can be written."""
    if isinstance(default, int) and default >= MiB and default % MiB == 0:
        default = f"{default // GiB}g" if default % GiB == 0 else f"{default // MiB}m"
    notes = [f"one of {', '.join(choices)}"] if choices else []
    notes += [] if default is None else [f"default: {default}"]
    return f" [{'; '.join(notes)}]" if notes else ""


def settings(args: argparse.Namespace) -> Settings:
    """The effective settings for a command line. Raises `ConfigurationError`."""
    given = {
        name.removeprefix("setting_"): value
        for name, value in vars(args).items()
        if name.startswith("setting_")
    }
    return table.load(given, file=args.config)


def count(text: str) -> int:
    """The value of a flag such as ``--limit``: a number from 1 on."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 1 on")
    return int(text)
