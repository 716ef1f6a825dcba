"""Rewriting an SQLite database so that nothing deleted is left in its free pages or its write-ahead log."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from lightwell.stores.db import drivers
from lightwell.stores.db.database import Database
from lightwell.stores.db.errors import check_log
from lightwell.stores.page_checksums import vfs
from lightwell.stores.page_checksums.temporary_files import use_files

_SECONDS = 60.0
_IN_MEMORY = 256 << 20


def purge(db: Database, spool: Path) -> bool:
    """Rewrite the database and empty its log; False on PostgreSQL, or if others kept using it too long.

    Readers go on meanwhile, writers wait. It takes as much room again as the database has, and for a large
    one as much in the folder ``spool``, for its copy.
    Raises `DamagedError` for a log that is not as it was written.
    """
    if db.dialect != "sqlite":
        return False
    path = drivers.sqlite_path(db.url)
    check_log(path)
    deadline = time.monotonic() + _SECONDS
    vfs.why_unavailable()  # loads it: what is written must have checksums, if the file has any
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    try:
        if path.stat().st_size > _IN_MEMORY:
            use_files(connection, spool)
        else:
            connection.execute("PRAGMA temp_store=MEMORY")
        while not _vacuum(connection):
            if time.monotonic() > deadline:
                return False
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True
    finally:
        connection.close()


def _vacuum(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return False
        raise
    return True
