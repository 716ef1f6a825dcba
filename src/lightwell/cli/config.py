"""``lightwell config show``: each effective setting and where it came from, secrets masked."""

from __future__ import annotations

import argparse
import json

from lightwell.cli import flags
from lightwell.settings import FIELDS, masked


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print each setting, its value and its source", allow_abbrev=False)
    show.add_argument("--json", action="store_true", help="print one JSON object")
    flags.add(show)


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    rows = [
        (name, masked(name, getattr(settings, name)), settings.sources.get(name, "default"))
        for name in FIELDS
    ]
    if args.json:
        print(
            json.dumps({name: {"value": value, "source": source} for name, value, source in rows}, indent=2)
        )
        return 0
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, source in rows:
        print(f"{name:{widths[0]}}  {value:{widths[1]}}  {source}")
    return 0
