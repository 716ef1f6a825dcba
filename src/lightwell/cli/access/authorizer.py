"""``lightwell authorizer put|list|delete``: the targets that answer for data stores' Lambda functions."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lightwell.cli import flags
from lightwell.errors import ConfigurationError, LightwellError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.settings import Settings
    from lightwell.stores.db.database import Database

# Not imported from `authorizer_arn`, so that `--help` loads nothing.
BUILTIN = "builtin"
_PLACES = ("data", "database_url", "allow_other_user", "region", "account_id")


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    put = actions.add_parser(
        "put", help="set the target of a Lambda function, or reload its code", allow_abbrev=False
    )
    put.add_argument(
        "arn", metavar="ARN", help="ARN of the Lambda function, as in the lambdaAuthorizerArn of data stores"
    )
    put.add_argument(
        "target",
        metavar="TARGET",
        help="http(s)://… (a Lambda Invoke API) or python:PACKAGE.MODULE:FUNCTION",
    )
    listing = actions.add_parser("list", help="list Lambda functions and their targets", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    delete = actions.add_parser("delete", help="remove the target of a Lambda function", allow_abbrev=False)
    delete.add_argument("arn", metavar="ARN", help="ARN of the Lambda function")
    for action in (put, listing, delete):
        flags.add(action, _PLACES)


def run(args: argparse.Namespace) -> int:
    from lightwell.cli.store_session import database_session

    settings = flags.settings(args)
    if args.action == "put":
        _check(settings, args.arn, args.target)
    with database_session(settings) as db:
        if args.action == "put":
            return _put(db, args.arn, args.target)
        if args.action == "list":
            return _list(settings, db, as_json=args.json)
        return _delete(db, args.arn)


def _check(settings: Settings, arn: str, target: str) -> None:
    from lightwell.auth.lambda_authorizer import parse_target
    from lightwell.cli.authorizer_arn import NONE, authorizer_arn, is_builtin
    from lightwell.web.authorizers.target_hosts import check_target

    if arn in (BUILTIN, NONE) or is_builtin(settings, authorizer_arn(settings, arn)):
        raise ConfigurationError(
            f"{arn} cannot have a target: the built-in authorizer is part of the server. "
            "`lightwell datastore set-authorizer` gives it to a data store, or takes it away"
        )
    check_target(settings.authorizer_hosts, parse_target(target))


def _put(db: Database, arn: str, target: str) -> int:
    from lightwell.auth.policies.policy import digest
    from lightwell.cli import command_trail
    from lightwell.clock import Clock
    from lightwell.stores.account import authorizers

    now = Clock().now()

    def work(conn: Connection) -> str | None:
        known = authorizers.get(conn, arn)
        authorizers.put(conn, arn, target, now)
        return None if known is None else digest(known.target)

    command_trail.changed(f"authorizer {arn}", db.write(work), digest(target))
    return 0


def _list(settings: Settings, db: Database, *, as_json: bool) -> int:
    from lightwell.cli.wording import print_table
    from lightwell.domain.arn import builtin_authorizer_arn
    from lightwell.stores.account import authorizers

    with db.read() as conn:
        found = authorizers.page(conn)
    builtin = builtin_authorizer_arn(settings.region, settings.account_id)
    rows: list[dict[str, str | None]] = [
        {
            "arn": one.arn,
            "target": one.target,
            "createdAt": datetime.fromtimestamp(one.created_at / 1000, UTC).isoformat(timespec="seconds"),
            "updatedAt": datetime.fromtimestamp(one.updated_at / 1000, UTC).isoformat(timespec="seconds"),
        }
        for one in found
    ]
    if all(row["arn"] != builtin for row in rows):
        rows.append({"arn": builtin, "target": BUILTIN, "createdAt": None, "updatedAt": None})
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(
            ("LAMBDA FUNCTION", "TARGET"),
            [(row["arn"], row["target"]) for row in rows],
            nothing="",
        )
    return 0


def _delete(db: Database, arn: str) -> int:
    from lightwell.auth.policies.policy import digest
    from lightwell.cli import command_trail
    from lightwell.stores.account import authorizers

    target = db.write(lambda conn: authorizers.remove(conn, arn))
    if target is None:
        raise LightwellError(
            f"{arn} has no target; `lightwell authorizer list` shows the functions that have one"
        )
    command_trail.changed(f"authorizer {arn}", digest(target))
    return 0
