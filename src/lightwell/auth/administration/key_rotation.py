"""A key's successor: another key of the same user, who has both for a while, as AWS rotates keys.

One ID with two secrets would save nobody anything: clients are given the ID and the secret together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from lightwell.auth.administration.key_changes import valid_key
from lightwell.auth.principals import Credentials, check_secret_key, encrypted_key, new_credentials
from lightwell.errors import ConflictError
from lightwell.stores.account import principals as table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.auth.secret_box import SecretBox
    from lightwell.stores.db.database import Database


_LAST = 253_402_300_799_000
"""The last second of the year 9999, after which a moment cannot be written down."""


class Ends(NamedTuple):
    """When the old key ends, and the new one, None for what `rotate` says. Times are milliseconds."""

    old: int
    new: int | None = None


@dataclass(frozen=True, slots=True)
class Rotated:
    """The new key, when it ends, and when the old one does. Times are milliseconds, None for never."""

    credentials: Credentials
    expires_at: int | None
    old_ends_at: int


def rotate(
    db: Database,
    secret_box: SecretBox,
    id: str,
    now: int,
    ends: Ends,
    *,
    root: bool = False,
    emergency: bool = False,
) -> Rotated:
    """Make a key of the same user and policies, and let the old one and its sessions end at ``ends.old``.

    The old key does not last longer than it would have. One whose successor was revoked may be rotated again,
    without a longer overlap. The new one ends at ``ends.new``; if that is None,
    after as long a life as the old key was given, or never. Root's key is rotated only if ``root`` says so.
    ``emergency``: a session for an emergency does it (`principals.create_key`).
    Raises `NotFoundError` or `ConflictError` for a key that cannot be rotated, and `ConfigurationError` if
    keys are encrypted under another secret key.
    """
    made, (end, expires_at) = new_credentials(), ends

    def work(conn: Connection) -> Rotated:
        table.lock_all(conn)
        old = valid_key(conn, id, "rotated", root=root)
        before = None if old.replaced_by is None else table.get(conn, old.replaced_by)
        if before is not None and before.revoked_at is None:
            raise ConflictError(
                f"{id} was rotated already: its successor is {before.id}. If nobody has the secret of that, "
                "revoke it, and rotate again."
            )
        if old.is_root and expires_at is not None:
            raise ConflictError(
                "The root key never ends, or nobody could sign in as root: leave out --expires."
            )
        if old.disabled_at is not None:
            raise ConflictError(
                f"{id} is disabled, and its successor would not be: enable or revoke it first."
            )
        if old.expires_at is not None and old.expires_at <= now:
            raise ConflictError(f"{id} has expired: make a new key instead.")
        check_secret_key(conn, secret_box)
        # Root's is the newest of root's.
        born = max(now, old.created_at + 1)
        # The end of one whose successor was lost says only when the overlap is over.
        like = old if before is None else before
        life = None if like.expires_at is None else min(born + like.expires_at - like.created_at, _LAST)
        new = replace(
            encrypted_key(secret_box, made, old.name, is_root=old.is_root, now=born),
            policies=old.policies,
            expires_at=life if expires_at is None else expires_at,
            emergency=emergency or old.emergency,
        )
        old_end = end if old.expires_at is None else min(end, old.expires_at)
        table.insert(conn, new)
        table.set_replaced(conn, id, new.id, old_end)
        return Rotated(made, new.expires_at, old_end)

    return db.write(work)
