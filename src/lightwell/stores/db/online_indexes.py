"""Indexes of big tables that are built on PostgreSQL while everybody goes on reading and writing.

A migration is one transaction, and an index that is built in one keeps writers out for as long as the table
is large. So a migration makes these only where the table is empty; where it is not, `build` does afterwards,
outside of transactions, as often as it takes: what a killed build has left is no index, and is removed first.
Nothing depends on them but speed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from lightwell.stores.db.database import Database
from lightwell.stores.db.errors import explain, is_failure

_ADVISORY_LOCK = 0x6C696778  # "ligx"
_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{}')"


@dataclass(frozen=True, slots=True)
class OnlineIndex:
    """``definition`` is what follows the name in CREATE INDEX."""

    name: str
    definition: str


UNCHECKED_FRAMES = OnlineIndex(
    "frame_table_unchecked", "ON frame_table (pixels, first_frame) WHERE checks IS NULL"
)

STUDY_ORDERS = (
    OnlineIndex("study_by_moment", "ON study (listed_in, study_day, study_clock, key)"),
    OnlineIndex("study_by_name", "ON study (listed_in, patient_name_folded, key)"),
)


def is_there(db: Database, index: OnlineIndex) -> bool:
    """Whether it is whole. On SQLite it always is."""
    if db.dialect == "sqlite":
        return True
    with db.read() as conn:
        return bool(conn.execute(text(_VALID.format(index.name))).scalar())


def build(db: Database, index: OnlineIndex, stopping: threading.Event) -> bool | None:
    """Build it, unless another process does: False then, and None behind a pooler, where nobody can.

    Takes as long as it takes; ends with a `StorageError` soon after ``stopping`` is set, and if the database
    fails.
    """
    try:
        connection = db.listener()
        if connection is None:
            return None
        with closing(connection), _cancelled(connection, stopping):
            connection.execute("SET statement_timeout = 0")
            connection.execute("SET lock_timeout = 0")
            # Of this session: whoever dies lets others build.
            if not _value(connection, f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})"):
                return False
            is_valid = _value(connection, _VALID.format(index.name))
            if is_valid is False:
                connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}")
            if not is_valid:
                connection.execute(f"CREATE INDEX CONCURRENTLY {index.name} {index.definition}")
            return True
    except Exception as error:
        if is_failure(error):
            raise explain(error, db.address) from error
        raise


def _value(connection: Any, sql: str) -> Any:
    row = connection.execute(sql).fetchone()
    return None if row is None else row[0]


@contextmanager
def _cancelled(connection: Any, stopping: threading.Event) -> Iterator[None]:
    """Cancel what the connection does when ``stopping`` is set."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.1):
            if stopping.is_set():
                connection.cancel()

    watcher = threading.Thread(target=watch, name="cancel", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
