"""Changes of a key that is there: disabled, enabled, given other policies.

Every process looks a key up again within `recent.FRESH_MS`, so a change is in force within a second on all
servers of the database. Nothing here asks whether the caller may do it; whoever calls has done so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.errors import ConfigurationError, ConflictError, NotFoundError
from lightwell.stores.account import principals as table

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from lightwell.stores.account.principals import AccessKey
    from lightwell.stores.db.database import Database


def set_enabled(
    db: Database, id: str, now: int, *, is_enabled: bool, asking: Collection[str | None] = ()
) -> None:
    """Refuse a key and its sessions until it is enabled again, or accept it again; as it is already is fine.

    ``asking`` are the IDs of the key that the caller uses. Raises `NotFoundError`, and `ConflictError` for
    root's key, a session's and the caller's own.
    """

    def work(conn: Connection) -> None:
        key = valid_key(conn, id, "disabled or enabled")
        if not is_enabled and id in asking:
            raise ConflictError(
                f"{id} is the key that this request is made with: disable it with another, so that nobody "
                "locks themselves out."
            )
        if is_enabled != (key.disabled_at is None):
            table.set_disabled(conn, id, None if is_enabled else now)

    db.write(work)


def put_policies(
    db: Database, id: str, policies: Sequence[str] | None, now: int, *, seen: int | None = None
) -> None:
    """Replace a key's policies by these valid ones, or by the right to do everything with None.

    Its sessions follow. ``seen``: only if this is the `revision` of the key. Raises `NotFoundError`,
    `ConfigurationError` for no policies at all, and `ConflictError` for root's key, a session's, and one that
    is not as it was seen.
    """
    if policies is not None and not policies:
        raise ConfigurationError("A key without policies may do nothing: give at least one, or disable it.")

    def work(conn: Connection) -> None:
        key = valid_key(conn, id, "given policies")
        if seen is not None and seen != revision(key):
            raise ConflictError(
                f"The key {id} has been changed meanwhile. Look at it again, then decide anew."
            )
        # Each change has a time of its own, by which it is known.
        table.set_policies(conn, id, policies, max(now, revision(key) + 1))

    db.write(work)


def revision(key: AccessKey) -> int:
    """By what a key's policies are known: when they were last changed, ms since the epoch."""
    return key.created_at if key.updated_at is None else key.updated_at


def valid_key(conn: Connection, id: str, how: str, *, root: bool = False) -> AccessKey:
    """The key, locked until the transaction ends; with ``root`` it may be root's.

    ``how``: what else cannot be done to it. Raises `NotFoundError`, or `ConflictError`.
    """
    key = table.get(conn, id, lock=True)
    if key is None or key.revoked_at is not None:
        raise NotFoundError(
            f"There is no valid access key {id[:128]}; `lightwell key list` shows the valid keys"
        )
    if key.session_token is not None:
        raise ConflictError(
            f"{id} are temporary credentials, which cannot be {how}: end them with "
            f"`lightwell key revoke {id}`, or change the key or the role that they are of."
        )
    if key.is_root and not root:
        raise ConflictError(f"{id} is the root key, which cannot be {how}.")
    return key
