"""``lightwell role put|list|delete``: roles, assumed through an authorizer or AssumeRole."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.cli import flags
from lightwell.cli.access.policy_files import read_policies, read_trust_policy
from lightwell.cli.access.spans import span
from lightwell.errors import LightwellError

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores.db.database import Database

_PLACES = ("data", "database_url", "allow_other_user", "account_id")


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    put = actions.add_parser(
        "put", help="create a role or replace its policies, and print its ARN", allow_abbrev=False
    )
    put.add_argument("name", metavar="NAME", help="role name")
    put.add_argument(
        "--trust-policy",
        metavar="FILE",
        type=Path,
        required=True,
        help="IAM trust policy (JSON) that says who may assume the role",
    )
    put.add_argument(
        "--policy",
        metavar="FILE",
        type=Path,
        action="append",
        required=True,
        help="IAM policy (JSON) that says what the role may do; repeatable",
    )
    put.add_argument(
        "--max-session",
        metavar="TIME",
        help="how long a session of the role may last, such as 4h; at most 12h. Unless given it stays as it "
        "is, at first 12h",
    )
    put.add_argument(
        "--emergency",
        action=argparse.BooleanOptionalAction,
        help="the role is for emergencies: it is taken with a reason only, each session makes an event, and "
        "all that is done with it is flagged in the audit trail. Unless given it stays as it is",
    )
    listing = actions.add_parser("list", help="list the roles", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="print a JSON array, including the policies")
    delete = actions.add_parser(
        "delete", help="delete a role; its sessions end within seconds", allow_abbrev=False
    )
    delete.add_argument("name", metavar="NAME", help="role name")
    for action in (put, listing, delete):
        flags.add(action, _PLACES)


def run(args: argparse.Namespace) -> int:
    from lightwell.auth.roles import check_max_session, check_name
    from lightwell.cli.store_session import database_session
    from lightwell.clock import Clock
    from lightwell.domain.arn import role_arn
    from lightwell.stores.account import roles

    settings = flags.settings(args)
    if args.action == "put":
        trust, policies = read_trust_policy(args.trust_policy), read_policies(args.policy)
        longest = None if args.max_session is None else span(args.max_session, "--max-session")
    with database_session(settings) as db:
        if args.action == "put":
            check_name(args.name)
            check_max_session(longest)
            put_role = partial(roles.put, max_session=longest, emergency=args.emergency)
            now = Clock().now()
            with _changed(db, args.name):
                db.write(lambda conn: put_role(conn, args.name, trust, policies, now))
            print(role_arn(settings.account_id, args.name))
            return 0
        if args.action == "list":
            return _list(settings, db, as_json=args.json)
        return _delete(db, args.name)


def _list(settings: Settings, db: Database, *, as_json: bool) -> int:
    from lightwell.auth.roles import LONGEST_SESSION
    from lightwell.cli.wording import duration, moment, print_table
    from lightwell.domain.arn import role_arn
    from lightwell.stores.account import roles

    with db.read() as conn:
        found = roles.page(conn)
    if not as_json:
        print_table(
            ("ARN", "UPDATED", "LONGEST SESSION", "FOR EMERGENCIES"),
            [
                (
                    role_arn(settings.account_id, role.name),
                    moment(role.updated_at),
                    duration(role.max_session_seconds or LONGEST_SESSION),
                    "yes" if role.is_for_emergencies else None,
                )
                for role in found
            ],
            nothing="There are no roles; `lightwell role put` makes one",
        )
        return 0
    rows = [
        {
            "name": role.name,
            "arn": role_arn(settings.account_id, role.name),
            "createdAt": _time(role.created_at),
            "updatedAt": _time(role.updated_at),
            "maxSessionSeconds": role.max_session_seconds or LONGEST_SESSION,
            "emergency": role.is_for_emergencies,
            "trustPolicy": json.loads(role.trust_policy),
            "policies": [json.loads(policy) for policy in role.policies],
        }
        for role in found
    ]
    print(json.dumps(rows, indent=2))
    return 0


def _delete(db: Database, name: str) -> int:
    from lightwell.stores.account import roles

    with _changed(db, name):
        if not db.write(lambda conn: roles.remove(conn, name)):
            raise LightwellError(f"There is no role {name}; `lightwell role list` shows the roles")
    return 0


@contextmanager
def _changed(db: Database, name: str) -> Iterator[None]:
    """Put digests of the role before and after on record, as the console's API does."""
    from lightwell.auth.roles import rights_of
    from lightwell.cli import command_trail
    from lightwell.stores.account import roles

    def digest() -> str | None:
        with db.read() as conn:
            return rights_of(roles.get(conn, name))

    before = digest()
    yield
    if (command := command_trail.current()) is not None:
        command.note.changed(f"role {name}", before, digest())


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")
