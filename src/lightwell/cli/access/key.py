"""``lightwell key create|list|revoke``: access keys, with the server up or down."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.cli import flags
from lightwell.errors import ConfigurationError, LightwellError

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores.db.database import Database

_PLACES = ("data", "database_url", "allow_other_user", "root_access_key_id")

_MOST_SESSIONS = 1_000


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        help="create an access key and print it as JSON; the secret is shown only once",
        allow_abbrev=False,
    )
    create.add_argument("--name", default="key", help="user name, as in the ARN of its principal")
    create.add_argument(
        "--policy",
        metavar="FILE",
        type=Path,
        action="append",
        help="IAM policy (JSON) that says what the key may do; repeatable",
    )
    create.add_argument("--admin", action="store_true", help="let the key do everything, instead of --policy")
    listing = actions.add_parser("list", help="list the keys that are not revoked", allow_abbrev=False)
    listing.add_argument(
        "--sessions",
        action="store_true",
        help="list temporary credentials instead, such as those of people signed in to the console; the 1000 "
        "newest",
    )
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    revoke = actions.add_parser(
        "revoke", help="revoke a key permanently; takes effect within seconds", allow_abbrev=False
    )
    revoke.add_argument("id", metavar="ID", help="access key ID")
    for action in (create, listing, revoke):
        flags.add(action, _PLACES)


def run(args: argparse.Namespace) -> int:
    from lightwell.cli.store_session import database_session

    settings = flags.settings(args)
    policies = _policies(args.policy, is_admin=args.admin) if args.action == "create" else None
    with database_session(settings) as db:
        if args.action == "create":
            return _create(settings, db, args.name, policies)
        if args.action == "list" and args.sessions:
            return _list_sessions(db, as_json=args.json)
        if args.action == "list":
            return _list(db, as_json=args.json)
        return _revoke(settings, db, args.id)


def _policies(files: list[Path] | None, *, is_admin: bool) -> list[str] | None:
    """The policies of a new key; None means everything, which must be asked for with ``--admin``."""
    from lightwell.cli.access.policy_files import read_policies

    if (files is not None) == is_admin:
        raise ConfigurationError(
            "Choose what the key may do: --policy FILE for what a policy allows, or --admin for everything"
            + (", not both" if is_admin else "")
        )
    return None if files is None else read_policies(files)


def _create(settings: Settings, db: Database, name: str, policies: list[str] | None) -> int:
    from lightwell.auth.principals import create_key, ensure_secret_box
    from lightwell.clock import Clock

    secret_box = ensure_secret_box(db, settings.read_secret_key(), settings.data)
    made = create_key(db, secret_box, name, Clock().now(), policies)
    print(json.dumps({"accessKeyId": made.access_key_id, "secretAccessKey": made.secret_access_key}))
    return 0


def _list(db: Database, *, as_json: bool) -> int:
    from lightwell.cli.wording import moment, print_table
    from lightwell.stores.account import principals

    with db.read() as conn:
        keys = principals.page(conn)
    rows = [
        {
            "accessKeyId": key.id,
            "name": key.name,
            "isRoot": key.is_root,
            "createdAt": _iso(key.created_at),
            "expiresAt": None if key.expires_at is None else _iso(key.expires_at),
            "policies": None if key.policies is None else [json.loads(policy) for policy in key.policies],
        }
        for key in keys
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(
            ("ACCESS KEY ID", "CREATED", "ENDS", "MAY DO", "NAME"),
            [
                (
                    key.id,
                    moment(key.created_at),
                    None if key.expires_at is None else moment(key.expires_at),
                    "everything" if key.policies is None else "by policy",
                    key.name,
                )
                for key in keys
            ],
            nothing="There are no keys; `lightwell key create` makes one",
        )
    return 0


def _list_sessions(db: Database, *, as_json: bool) -> int:
    from lightwell.cli.wording import moment, print_table
    from lightwell.clock import Clock
    from lightwell.stores.account import principals

    with db.read() as conn:
        found = principals.sessions(conn, Clock().now(), _MOST_SESSIONS)
    if as_json:
        rows = [
            {
                "accessKeyId": key.id,
                "name": key.name,
                "createdAt": _iso(key.created_at),
                "expiresAt": None if key.expires_at is None else _iso(key.expires_at),
                "parent": key.parent,
                "provider": key.provider,
                "subject": key.subject,
            }
            for key in found
        ]
        print(json.dumps(rows, indent=2))
        return 0
    print_table(
        ("ACCESS KEY ID", "CREATED", "ENDS", "NAME", "OF"),
        [
            (
                key.id,
                moment(key.created_at),
                "" if key.expires_at is None else moment(key.expires_at),
                key.name,
                key.parent or key.subject or "",
            )
            for key in found
        ],
        nothing="There are no sessions",
    )
    return 0


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _revoke(settings: Settings, db: Database, id: str) -> int:
    from lightwell.clock import Clock
    from lightwell.stores.account import principals

    if id == settings.root_access_key_id:
        raise ConfigurationError(
            f"{id} is the root key from the settings; to replace it, change the settings and restart the "
            "server"
        )
    now = Clock().now()
    if not db.write(lambda conn: principals.revoke(conn, id, now)):
        raise LightwellError(f"There is no valid access key {id}; `lightwell key list` shows the valid keys")
    return 0
