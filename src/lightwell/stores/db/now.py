"""The database's clock, which all servers share, whatever their own clocks say."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import BigInteger, ColumnElement, Connection, literal_column, select

_SQLITE = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
_SURE_MS = 1000
_POSTGRESQL = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


def now(conn: Connection) -> ColumnElement[int]:
    """Milliseconds since the epoch by the database's clock."""
    return now_by(conn.dialect.name)


def now_by(dialect: str) -> ColumnElement[int]:
    """`now` for statements that are made once: ``sqlite`` or ``postgresql``."""
    return literal_column(_SQLITE if dialect == "sqlite" else _POSTGRESQL, BigInteger)


def read_now(conn: Connection) -> int:
    """`now`, asked for."""
    return int(conn.execute(select(now(conn))).scalar_one())


class Skew:
    """How far the database's clock is ahead of this machine's, looked at once a minute; 0 below a second.

    ``system_now`` is the machine's clock, ms since the epoch. For threads.
    """

    def __init__(self, system_now: Callable[[], int], seconds: float = 60.0) -> None:
        self._system_now = system_now
        self._seconds = seconds
        self._known: tuple[float, int] | None = None

    def is_known(self, dialect: str) -> bool:
        """Whether `of` would ask nothing."""
        return dialect == "sqlite" or (self._known is not None and time.monotonic() < self._known[0])

    def of(self, conn: Connection | None) -> int:
        """Milliseconds; 0 on SQLite, whose clock is the machine's. ``conn`` may be None if it `is_known`."""
        if conn is not None and not self.is_known(conn.dialect.name):
            before = self._system_now()
            theirs = read_now(conn)
            after = self._system_now()
            skew = theirs - (before + after) // 2
            # Less may be due to how long the answer took.
            is_sure = abs(skew) > max(_SURE_MS, after - before)
            self._known = time.monotonic() + self._seconds, skew if is_sure else 0
        return 0 if self._known is None else self._known[1]
