"""``lightwell wait``: wait until the server of a data folder is ready, and print its address."""

from __future__ import annotations

import argparse
import json
import math

from lightwell.cli import flags
from lightwell.cli.running_server import clients_url
from lightwell.cli.starting_server import wait_until_ready


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait at most [default: 60]",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags.add(parser, ("data", "allow_other_user"))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number of seconds, such as 60")
    return seconds


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    server = wait_until_ready(settings, args.timeout)
    url = server.url or clients_url(settings)
    print(json.dumps({"url": url, "pid": server.pid}) if args.json else url)
    return 0
