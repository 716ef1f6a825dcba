"""What is done once a write transaction is committed."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

_NAME = "lightwell_after_commit"


def after_commit(conn: Connection, call: Callable[[], None]) -> None:
    """Have ``call`` called once the transaction of `Database.write` is committed; not if that is unknown.

    ``call`` must not raise, nor use the database.
    """
    conn.info.setdefault(_NAME, []).append(call)


def take(conn: Connection) -> list[Callable[[], None]]:
    """What was to be called, which is then forgotten."""
    calls: list[Callable[[], None]] = conn.info.pop(_NAME, [])
    return calls
