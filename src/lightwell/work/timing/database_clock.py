"""The time as the database has it, so that no machine whose clock is ahead removes anything too early."""

from __future__ import annotations

from lightwell.clock import Clock
from lightwell.stores.db.database import Database
from lightwell.stores.db.now import Skew


class DatabaseClock(Clock):
    """``clock``, which is the machine's but for tests, put right by the database's. Not inside a transaction.

    Raises `StorageError` where the database cannot be asked.
    """

    def __init__(self, clock: Clock, db: Database) -> None:
        self._clock = clock
        self._db = db
        self._skew = Skew(Clock().now)

    def now(self) -> int:
        if not self._skew.is_known(self._db.dialect):
            with self._db.read() as conn:
                self._skew.of(conn)
        return self._clock.now() + self._skew.of(None)
