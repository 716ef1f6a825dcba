"""Changes of a key that is there: disabled and enabled.

Every process looks a key up again within `recent.FRESH_MS`, so a change is in force within a second on all
servers of the database. Nothing here asks whether the caller may do it; whoever calls has done so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.errors import ConflictError, NotFoundError
from lightwell.stores.account import principals as table

if TYPE_CHECKING:
    from collections.abc import Collection

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
        key = _changeable(conn, id, "disabled or enabled")
        if not is_enabled and id in asking:
            raise ConflictError(
                f"{id} is the key that this request is made with: disable it with another, so that nobody "
                "locks themselves out."
            )
        if is_enabled != (key.disabled_at is None):
            table.set_disabled(conn, id, None if is_enabled else now)

    db.write(work)


def _changeable(conn: Connection, id: str, how: str) -> AccessKey:
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
    if key.is_root:
        raise ConflictError(f"{id} is the root key, which cannot be {how}.")
    return key
