"""Rewriting an SQLite database so that nothing deleted is left in its free pages or its write-ahead log."""

from __future__ import annotations

import sqlite3
import time
from enum import Enum
from pathlib import Path

from lightwell.stores.db import drivers
from lightwell.stores.db.database import Database
from lightwell.stores.db.errors import check_log, explain
from lightwell.stores.page_checksums import vfs
from lightwell.stores.page_checksums.temporary_files import use_files

_SECONDS = 60.0
_IN_MEMORY = 256 << 20


class Purged(Enum):
    """How the rewriting of a database ended."""

    DONE = "done"
    NOT_SQLITE = "not SQLite"
    BUSY = "others kept using it too long"
    FULL = "a disk is full"

    @property
    def is_done(self) -> bool:
        return self is Purged.DONE


def purge(db: Database, spool: Path) -> Purged:
    """Rewrite the database and empty its log.

    Readers go on meanwhile, writers wait. It takes as much room again as the database has, and for a large
    one as much in the folder ``spool``, for its copy. If it is not done, the database is what it was.
    Raises `StorageError` if the database fails, `DamagedError` for a log that is not as it was written.
    """
    if db.dialect != "sqlite":
        return Purged.NOT_SQLITE
    path = drivers.sqlite_path(db.url)
    check_log(path)
    vfs.why_unavailable()  # loads it: what is written must have checksums, if the file has any
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    try:
        if path.stat().st_size > _IN_MEMORY:
            use_files(connection, spool)
        else:
            connection.execute("PRAGMA temp_store=MEMORY")
        return _rewrite(connection, time.monotonic() + _SECONDS)
    except sqlite3.Error as error:
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_FULL:
            return Purged.FULL
        raise explain(error, db.address) from error
    finally:
        connection.close()


def _rewrite(connection: sqlite3.Connection, deadline: float) -> Purged:
    while not _vacuum(connection):
        if time.monotonic() > deadline:
            return Purged.BUSY
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > deadline:
            return Purged.BUSY
        time.sleep(0.1)
    return Purged.DONE


def _vacuum(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return False
        raise
    return True
