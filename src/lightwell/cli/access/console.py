"""``lightwell console``: a link that signs a person in to the console of a running server."""

from __future__ import annotations

import argparse
import json

from lightwell.cli import flags
from lightwell.errors import LightwellError

_PLACES = (
    "data", "database_url", "allow_other_user", "host", "port", "tls_cert", "tls_key", "public_url",
    "secret_key_file",
)  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print a link that opens the console of the running server, signed in as its administrator. It is "
        "good for 10 minutes, and once. Whoever can read the server's secret key can make one."
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--open", action="store_true", help="open it in the browser instead, where there is one"
    )
    shape.add_argument("--json", action="store_true", help="print one JSON object with link and expiry")
    flags.add(parser, _PLACES)


def run(args: argparse.Namespace) -> int:
    from lightwell.auth.key_sessions import LINK_SECONDS
    from lightwell.cli import running_server
    from lightwell.cli.console_link import console_link, open_in_browser
    from lightwell.cli.store_session import on_record
    from lightwell.clock import Clock

    settings = flags.settings(args)
    running_server.check_folder(settings)
    found = running_server.find(settings)
    if found is None and settings.public_url is None:
        raise LightwellError(
            f"No server runs on the data folder {settings.data}: start one with `lightwell serve --open`, or "
            "name the folder of the one that runs with --data"
        )
    until = Clock().now() // 1000 + LINK_SECONDS
    with on_record(settings):
        link = console_link(settings, (found and found.url) or running_server.local_url(settings))
    if args.json:
        print(json.dumps({"link": link, "expiresAt": until}, indent=2))
    elif not (args.open and open_in_browser(settings, link)):
        print(link)
    return 0
