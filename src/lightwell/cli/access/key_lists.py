"""What ``lightwell key list`` prints: the keys that are not revoked, and the sessions that are good."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightwell.stores.account.principals import AccessKey
    from lightwell.stores.db.database import Database

_MOST_SESSIONS = 1_000


def print_keys(db: Database, *, as_json: bool) -> int:
    from lightwell.cli.wording import print_table
    from lightwell.clock import Clock
    from lightwell.stores.account import principals

    now = Clock().now()
    with db.read() as conn:
        keys = principals.page(conn)
    if as_json:
        print(json.dumps([_key(key) for key in keys], indent=2))
        return 0
    print_table(
        ("ACCESS KEY ID", "CREATED", "ENDS", "LAST USED", "FROM", "MAY DO", "EMERGENCY", "NAME"),
        [
            (
                key.id,
                _shown(key.created_at),
                _shown(key.expires_at),
                _shown(key.last_used_at),
                key.last_used_from,
                _rights(key, now),
                _flag(key),
                key.name,
            )
            for key in keys
        ],
        nothing="There are no keys; `lightwell key create` makes one",
    )
    return 0


def _rights(key: AccessKey, now: int) -> str:
    if key.disabled_at is not None:
        return "nothing: disabled"
    if key.expires_at is not None and key.expires_at <= now:
        return "nothing: ended"
    return "everything" if key.policies is None else "by policy"


def _flag(key: AccessKey) -> str | None:
    """Whether a session for an emergency has made the key, or it is such a session."""
    return "yes" if key.emergency else None


def _key(key: AccessKey) -> dict[str, Any]:
    from lightwell.auth.administration.key_changes import revision

    return {
        "accessKeyId": key.id,
        "name": key.name,
        "isRoot": key.is_root,
        "status": "Active" if key.disabled_at is None else "Inactive",
        "createdAt": iso(key.created_at),
        "expiresAt": iso(key.expires_at),
        "lastUsedAt": iso(key.last_used_at),
        "lastUsedFrom": key.last_used_from,
        "revision": revision(key),
        "replacedBy": key.replaced_by,
        "emergency": bool(key.emergency),
        "policies": None if key.policies is None else [json.loads(policy) for policy in key.policies],
    }


def print_sessions(db: Database, *, as_json: bool) -> int:
    from lightwell.auth.key_sessions import kind_of
    from lightwell.cli.wording import print_table
    from lightwell.clock import Clock
    from lightwell.stores.account import principals

    with db.read() as conn:
        found = principals.sessions(conn, Clock().now(), _MOST_SESSIONS)
    if as_json:
        rows = [
            {
                "accessKeyId": key.id,
                "name": key.name,
                "kind": kind_of(key),
                "createdAt": iso(key.created_at),
                "expiresAt": iso(key.expires_at),
                "lastUsedAt": iso(key.last_used_at),
                "lastUsedFrom": key.last_used_from,
                "parent": key.parent,
                "provider": key.provider,
                "subject": key.subject,
                "takenBy": key.taken_by,
                "emergency": bool(key.emergency),
            }
            for key in found
        ]
        print(json.dumps(rows, indent=2))
        return 0
    print_table(
        ("ACCESS KEY ID", "CREATED", "ENDS", "LAST USED", "FROM", "EMERGENCY", "NAME", "OF"),
        [
            (
                key.id,
                _shown(key.created_at),
                _shown(key.expires_at),
                _shown(key.last_used_at),
                key.last_used_from,
                _flag(key),
                key.name,
                key.parent or key.subject or key.taken_by,
            )
            for key in found
        ],
        nothing="There are no sessions",
    )
    return 0


def _shown(milliseconds: int | None) -> str | None:
    from lightwell.cli.wording import moment

    return None if milliseconds is None else moment(milliseconds)


def iso(milliseconds: int | None) -> str | None:
    """A moment as JSON has it."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
