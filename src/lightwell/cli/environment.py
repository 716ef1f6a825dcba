"""``lightwell env``: ``export`` lines that make unmodified AWS clients use this server."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from lightwell.auth.credentials import FILE, read_credentials
from lightwell.auth.principals import Credentials
from lightwell.cli import flags
from lightwell.cli.prefixed_names import hosts_line, named_url
from lightwell.cli.running_server import check_folder, clients_url, find
from lightwell.cli.starting_server import wait_while_starting
from lightwell.errors import LightwellError
from lightwell.settings import FIELDS, Settings

_ADDRESS = ("host", "port", "tls_cert", "tls_key")
_PLACES = ("data", *_ADDRESS, "region")
_TRAIL = ("audit_full", "audit_key_file")

_ADVICE = (
    "lightwell: an AWS CLI older than 2.24.16 (or 1.38.5) cannot read image sets at this address: add the "
    "line `{line}` to /etc/hosts, and run this again"
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of export lines")
    flags.add(parser, (*_PLACES, "root_access_key_id", *_TRAIL))


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    check_folder(settings)
    wait_while_starting(settings, lambda: _is_usable(settings))
    url, region = _place(settings)
    named = named_url(url)
    variables = environment(replace(settings, region=region), named or url)
    if named is None:
        # Not on stdout, which a shell evaluates.
        print(_ADVICE.format(line=hosts_line(url)), file=sys.stderr)
    # What was given to this command is shown to whoever has given it.
    with nullcontext() if _has_key(settings) else _on_record(settings):
        if args.json:
            print(json.dumps(variables, indent=2))
        else:
            for name, value in variables.items():
                print(f"export {name}={shlex.quote(value)}")
    return 0


def environment(settings: Settings, url: str) -> dict[str, str]:
    """The environment variables for a server at ``url``.

    Raises `LightwellError` if there is no root key yet.
    """
    key = root_credentials(settings)
    return {
        "AWS_ACCESS_KEY_ID": key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING": url,
        "AWS_ENDPOINT_URL_STS": url,
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
    }


def _is_usable(settings: Settings) -> bool:
    """Whether there is a root key, and no server that does not answer yet."""
    server = find(settings)
    has_key = settings.root_access_key_id is not None or read_credentials(settings.data) is not None
    return has_key and (server is None or server.is_ready)


def _place(settings: Settings) -> tuple[str, str]:
    """URL and Region of the server that holds the data folder; the flags given here go first."""
    server = find(settings)
    given = [name for name in _ADDRESS if settings.sources.get(name, "").startswith("--")]
    if server is None or not server.url or given:
        return clients_url(settings), settings.region
    if not server.is_here:
        raise LightwellError(
            f"The data folder {settings.data} is in use by {server}: run `lightwell env` there"
        )
    region = settings.region if settings.sources.get("region", "").startswith("--") else server.region
    return server.url, region


def command(settings: Settings, port: int | None = None) -> str:
    """The ``lightwell env`` command for a shell without the flags and environment of this process.

    ``port`` is the port listened on; without it, port 0 (any free port) is left out.
    """
    words = [program(), "env"]
    for name in _PLACES:
        value = port if name == "port" and port else getattr(settings, name)
        is_explicit = settings.sources.get(name, "").startswith(("--", "LIGHTWELL_"))
        if value and is_explicit and value != FIELDS[name].default:
            words += ["--" + name.replace("_", "-"), str(value)]
    return shlex.join(words)


def program() -> str:
    """How a shell can call ``lightwell``: by name if it is on the PATH, else by its path."""
    beside = Path(sys.executable).with_name("lightwell")
    return str(beside) if shutil.which("lightwell") is None and beside.exists() else "lightwell"


def _on_record(settings: Settings) -> AbstractContextManager[None]:
    # Loads what takes longer than all else that this command does.
    from lightwell.cli.store_session import on_record

    return on_record(settings)


def _has_key(settings: Settings) -> bool:
    return bool(settings.root_access_key_id and settings.root_secret_access_key)


def root_credentials(settings: Settings) -> Credentials:
    """The root key from the settings, or the one created by the first start."""
    if settings.root_access_key_id and settings.root_secret_access_key:
        return Credentials(settings.root_access_key_id, settings.root_secret_access_key)
    key = read_credentials(settings.data)
    if key is None:
        raise LightwellError(
            f"There is no root key in {settings.data / FILE} yet: start `lightwell serve` once to create it, "
            "or give its data folder with --data"
        )
    return key
