"""``lightwell key``: access keys, with the server up or down."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.cli import flags
from lightwell.errors import ConfigurationError, LightwellError

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores.account.principals import AccessKey
    from lightwell.stores.db.database import Database

_MOST_SESSIONS = 1_000
_PLACES = ("data", "database_url", "allow_other_user", "root_access_key_id")


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
    _add_expires(create, "when the key ends by itself, such as 90d or 2027-01-31; never unless given")
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
    disable = actions.add_parser(
        "disable",
        help="refuse a key and its sessions until it is enabled again; takes effect within a second",
        allow_abbrev=False,
    )
    disable.add_argument("id", metavar="ID", help="access key ID")
    enable = actions.add_parser("enable", help="accept a key again that was disabled", allow_abbrev=False)
    enable.add_argument("id", metavar="ID", help="access key ID")
    put = actions.add_parser(
        "put-policy",
        help="replace what a key may do, for its sessions, too; takes effect within a second",
        allow_abbrev=False,
    )
    put.add_argument("id", metavar="ID", help="access key ID")
    put.add_argument(
        "--policy",
        metavar="FILE",
        type=Path,
        action="append",
        help="IAM policy (JSON) that says what the key may do from now on; repeatable",
    )
    put.add_argument("--admin", action="store_true", help="let the key do everything, instead of --policy")
    put.add_argument(
        "--if-revision",
        metavar="N",
        type=int,
        help="only if the key still has this revision, as `key list --json` shows it",
    )
    rotate = actions.add_parser(
        "rotate",
        help="make a second key of the same user and print it as JSON; the old one ends by itself",
        allow_abbrev=False,
    )
    rotate.add_argument("id", metavar="ID", help="access key ID of the old key")
    rotate.add_argument(
        "--overlap", metavar="TIME", default="24h", help="for how long both keys are good, such as 24h or 7d"
    )
    _add_expires(rotate, "when the new key ends; unless given, it lives as long as the old one was to")
    again = actions.add_parser(
        "reencrypt",
        help="encrypt the secrets of all keys and sessions under the newest secret key",
        allow_abbrev=False,
    )
    again.add_argument("--json", action="store_true", help="print one JSON object")
    for action in (create, listing, revoke, disable, enable, put, rotate, again):
        flags.add(action, _PLACES)


def _add_expires(parser: argparse.ArgumentParser, says: str) -> None:
    parser.add_argument("--expires", metavar="WHEN", help=says)


def run(args: argparse.Namespace) -> int:
    from lightwell.cli.access.key_lists import print_keys, print_sessions
    from lightwell.cli.store_session import database_session

    settings = flags.settings(args)
    changes = args.action in ("create", "put-policy")
    policies = _policies(args.policy, is_admin=args.admin) if changes else None
    with database_session(settings) as db:
        if args.action == "create":
            return _create(settings, db, args, policies)
        if args.action == "put-policy":
            return _put_policies(db, args, policies)
        if args.action == "reencrypt":
            return _reencrypt(settings, db, as_json=args.json)
        if args.action == "rotate":
            return _rotate(settings, db, args)
        if args.action == "list" and args.sessions:
            return print_sessions(db, as_json=args.json)
        if args.action == "list":
            return print_keys(db, as_json=args.json)
        if args.action == "revoke":
            return _revoke(settings, db, args.id)
        return _set_enabled(settings, db, args.id, is_enabled=args.action == "enable")


def _policies(files: list[Path] | None, *, is_admin: bool) -> list[str] | None:
    """The policies of a new key; None means everything, which must be asked for with ``--admin``."""
    from lightwell.cli.access.policy_files import read_policies

    if (files is not None) == is_admin:
        raise ConfigurationError(
            "Choose what the key may do: --policy FILE for what a policy allows, or --admin for everything"
            + (", not both" if is_admin else "")
        )
    return None if files is None else read_policies(files)


def _create(settings: Settings, db: Database, args: argparse.Namespace, policies: list[str] | None) -> int:
    from lightwell.auth.principals import create_key, ensure_secret_box
    from lightwell.cli import command_trail
    from lightwell.cli.access.spans import end
    from lightwell.clock import Clock

    now = Clock().now()
    expires = None if args.expires is None else end(args.expires, "--expires", now)
    secret_box = ensure_secret_box(db, settings.read_secret_key(), settings.data)
    made = create_key(db, secret_box, args.name, now, policies, expires)
    key = _key(db, made.access_key_id)
    _tell("access key made", made.access_key_id, key, None, _rights(key))
    _tell_ends((made.access_key_id, None, expires))
    if (command := command_trail.current()) is not None:
        command.note.key = made.access_key_id
    print(json.dumps({"accessKeyId": made.access_key_id, "secretAccessKey": made.secret_access_key}))
    return 0


def _put_policies(db: Database, args: argparse.Namespace, policies: list[str] | None) -> int:
    from lightwell.auth.administration.key_changes import put_policies
    from lightwell.clock import Clock

    before = _key(db, args.id)
    put_policies(db, args.id, policies, Clock().now(), seen=args.if_revision)
    key = _key(db, args.id)
    _tell("access key given other policies", args.id, key, _rights(before), _rights(key))
    return 0


def _rotate(settings: Settings, db: Database, args: argparse.Namespace) -> int:
    from lightwell.auth.administration.key_rotation import Ends, rotate
    from lightwell.auth.credentials import read_credentials, write_credentials
    from lightwell.auth.principals import ensure_secret_box, is_made_here
    from lightwell.cli.access.key_lists import iso
    from lightwell.cli.access.spans import end, span
    from lightwell.clock import Clock

    if settings.root_access_key_id is not None and args.id == settings.root_access_key_id:
        raise ConfigurationError(
            f"{args.id} is the root key from the settings; to replace it, change the settings and restart "
            "the servers. The old one ends at once then: use it for nothing but administration"
        )
    now = Clock().now()
    expires = None if args.expires is None else end(args.expires, "--expires", now)
    secret_box = ensure_secret_box(db, settings.read_secret_key(), settings.data)
    last = now + span(args.overlap, "--overlap") * 1000
    old = _key(db, args.id)
    made = rotate(db, secret_box, args.id, now, Ends(last, expires), root=is_made_here(args.id))
    new = made.credentials.access_key_id
    _tell(f"access key rotated to {new}", args.id, old)
    ended = None if old is None else old.expires_at
    _tell_ends((args.id, ended, made.old_ends_at), (new, None, made.expires_at))
    kept = read_credentials(settings.data)
    if kept is not None and kept.access_key_id == args.id:
        write_credentials(settings.data, made.credentials)
    shown = {
        "accessKeyId": made.credentials.access_key_id,
        "secretAccessKey": made.credentials.secret_access_key,
        "expiresAt": iso(made.expires_at),
        "oldEndsAt": iso(made.old_ends_at),
    }
    print(json.dumps(shown))
    return 0


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
    key = _key(db, id)
    _tell("access key revoked", id, key, _rights(key))
    _tell_of_roles(settings, db, key)
    return 0


def _set_enabled(settings: Settings, db: Database, id: str, *, is_enabled: bool) -> int:
    from lightwell.auth.administration.key_changes import set_enabled
    from lightwell.clock import Clock

    set_enabled(db, id, Clock().now(), is_enabled=is_enabled)
    key = _key(db, id)
    _tell(f"access key {'enabled' if is_enabled else 'disabled'}", id, key)
    if not is_enabled:
        _tell_of_roles(settings, db, key)
    return 0


def _key(db: Database, id: str) -> AccessKey | None:
    """A key, revoked or not."""
    from lightwell.stores.account import principals

    with db.read() as conn:
        return principals.get(conn, id)


def _rights(key: AccessKey | None) -> str | None:
    """A digest of what a key may do."""
    from lightwell.auth.policies.policy import rights

    return None if key is None else rights(key.policies)


def _tell(
    done: str, id: str, key: AccessKey | None, before: str | None = None, after: str | None = None
) -> None:
    """Put on record what was done to a key, as the console does."""
    from lightwell.auth.administration import key_record
    from lightwell.cli import command_trail

    command_trail.changed(key_record.what(done, id, "nobody" if key is None else key.name), before, after)


def _tell_ends(*keys: tuple[str, int | None, int | None]) -> None:
    from lightwell.auth.administration import key_record
    from lightwell.cli import command_trail

    for each in key_record.ends(*keys):
        command_trail.changed(*each)


def _tell_of_roles(settings: Settings, db: Database, key: AccessKey | None) -> None:
    """Say which sessions go on although a key was ended: those of roles that its user took."""
    from lightwell.cli.wording import counted
    from lightwell.clock import Clock
    from lightwell.domain.arn import user_arn
    from lightwell.stores.account import principals

    if key is None or key.session_token is not None:
        return
    with db.read() as conn:
        found = principals.sessions(conn, Clock().now(), _MOST_SESSIONS)
    user = user_arn(settings.account_id, key.name)
    taken = [each for each in found if each.role is not None and each.taken_by == user]
    if taken:
        print(
            f"lightwell: {counted(len(taken), 'session')} of roles that {user} took last until they end; "
            "`lightwell key list --sessions` shows them, `lightwell key revoke` ends one",
            file=sys.stderr,
        )


def _reencrypt(settings: Settings, db: Database, *, as_json: bool) -> int:
    from lightwell.auth.administration.reencryption import count, reencrypt
    from lightwell.auth.secret_box import open_secret_box
    from lightwell.cli import command_trail
    from lightwell.cli.wording import counted

    secret_box = open_secret_box(settings.read_secret_key(), settings.data)
    done = reencrypt(db, secret_box)
    command_trail.changed(f"keys and sessions encrypted under secret key {secret_box.names[0]}: {done}")
    with db.read() as conn:
        counts = count(conn, secret_box)
    names = secret_box.names
    if as_json:
        keys = [{"name": name, "rows": counts.by_key[place]} for place, name in enumerate(names)]
        print(json.dumps({"reencrypted": done, "keys": keys, "unreadable": counts.unreadable}, indent=2))
    else:
        print(
            f"encrypted {counted(done, 'row')} anew; {counts.by_key[0]:,} are under the secret key {names[0]}"
        )
    if counts.unreadable:
        raise LightwellError(
            f"{counted(len(counts.unreadable), 'key')} cannot be decrypted by any of the secret keys: add "
            "the one that they were encrypted under, or revoke them: " + ", ".join(counts.unreadable[:20])
        )
    if counts.old:
        raise LightwellError(
            f"{counted(counts.old, 'row')} are under an older secret key again, since a server still "
            "encrypts under it: put the new one first for all servers, restart them, and run this again"
        )
    return 0
