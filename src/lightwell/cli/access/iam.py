"""``lightwell iam check``: keys and roles that somebody should look at."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from lightwell.cli import flags
from lightwell.errors import ConfigurationError

_PLACES = ("data", "database_url", "allow_other_user", "region", "account_id", "oidc_issuer")


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="find keys that are unused, unlimited or without an end, policies that allow everything, and "
        "roles that nobody can take; exit 1 if there are any",
        allow_abbrev=False,
    )
    check.add_argument(
        "--unused-days",
        metavar="N",
        type=int,
        default=90,
        help="after how many days without use a key counts as unused; 90 unless given",
    )
    check.add_argument("--json", action="store_true", help="print a JSON array")
    flags.add(check, _PLACES)


def run(args: argparse.Namespace) -> int:
    from lightwell.auth.administration.review import Place, review
    from lightwell.cli.store_session import database_session
    from lightwell.cli.wording import print_table
    from lightwell.clock import Clock
    from lightwell.stores.account import principals, roles

    if args.unused_days < 1:
        raise ConfigurationError("--unused-days must be 1 or more")
    settings = flags.settings(args)
    with database_session(settings) as db, db.read() as conn:
        keys, found_roles = principals.page(conn), roles.page(conn)
    place = Place(settings.account_id, settings.region, settings.oidc_issuer)
    found = review(keys, found_roles, Clock().now(), place, unused_days=args.unused_days)
    if args.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        print_table(
            ("FINDING", "KEY OR ROLE", "NAME", "WHAT AND WHAT TO DO"),
            [(each.kind, each.subject, each.name, each.says) for each in found],
            nothing="Nothing was found",
        )
    return 1 if found else 0
