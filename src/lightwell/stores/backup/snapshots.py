"""One state of the database, to be read and copied while others go on writing.

SQLite: a copy of the file by its own backup, in the spool, complete in one step. PostgreSQL: a transaction
that only reads, whose snapshot pg_dump shares; past any pooler, without the time limits of lightwell.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from sqlalchemy import Connection, create_engine, pool, text

from lightwell.errors import ConfigurationError, DamagedError, StorageError, StorageUnavailableError
from lightwell.stores.backup.pieces import PIECE
from lightwell.stores.backup.postgresql_tools import connection_options, failure
from lightwell.stores.db.database import Database
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.db.errors import explain, is_failure, masked
from lightwell.stores.db.now import read_now
from lightwell.stores.objects.local import storage_error
from lightwell.stores.page_checksums import vfs


class Snapshot(Protocol):
    """One state of a database."""

    @property
    def conn(self) -> Connection:
        """A connection that sees it; for reading."""

    @property
    def taken_at(self) -> int:
        """When it was taken, ms since the epoch by the database's clock: no commit before it is missing."""

    def blocks(self) -> Iterator[bytes]:
        """All of it, in blocks of `PIECE` bytes: an SQLite file, or an archive of pg_dump."""


@contextmanager
def snapshot(db: Database, spool: Path) -> Iterator[Snapshot]:
    """Take one. Raises `StorageError` if it cannot be taken, `DamagedError` if the database is damaged."""
    with (_of_sqlite if db.dialect == "sqlite" else _of_postgresql)(db, spool) as taken:
        yield taken


def revision(conn: Connection) -> str:
    """The version of the schema that a snapshot has."""
    return str(conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


# SQLite -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _SqliteCopy:
    conn: Connection
    taken_at: int
    path: Path

    def blocks(self) -> Iterator[bytes]:
        with self.path.open("rb", buffering=0) as file:
            yield from _pieces(file)


@contextmanager
def _of_sqlite(db: Database, spool: Path) -> Iterator[_SqliteCopy]:
    source = sqlite_path(db.url)
    _check_room(source, spool)
    handle, name = tempfile.mkstemp(prefix="backup-", suffix=".db", dir=spool)
    os.close(handle)
    path = Path(name)
    try:
        taken_at = _copy(db, path)
        copy = Database(f"sqlite:///{path}")
        try:
            with copy.read() as conn:
                _check_pages(conn, source)
                yield _SqliteCopy(conn, taken_at, path)
        finally:
            copy.close()
    finally:
        for end in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + end).unlink(missing_ok=True)


def _copy(db: Database, path: Path) -> int:
    with db.read() as conn:
        taken_at = read_now(conn)
    raw = db.raw()
    if raw.compares_pages:
        # Else what is written before the first page, which says so, would get no checksums of its own, and
        # pages that are in the write-ahead log yet have none.
        path.unlink()
        vfs.create(path)
    target = sqlite3.connect(path)
    try:
        # It is read here, and never again if this process is killed.
        target.execute("PRAGMA synchronous=OFF")
        # In one step: in several, each write of another process would begin it anew.
        raw.backup(target, pages=-1)
    except sqlite3.Error as error:
        if is_failure(error):
            raise explain(error, db.address) from error
        raise
    finally:
        target.close()
    return taken_at


def _check_pages(conn: Connection, source: Path) -> None:
    try:
        found = str(conn.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    except Exception as error:
        if not is_failure(error):
            raise
        found = masked(str(getattr(error, "orig", error)))
    if found != "ok":
        raise DamagedError(
            f"The database {source} is damaged ({found}), so this is no backup, and earlier runs stay: stop "
            "the servers, keep the file, and restore the newest run (`lightwell data restore`)"
        )


def _check_room(source: Path, spool: Path) -> None:
    needed = source.stat().st_size
    if shutil.disk_usage(spool).free < needed:
        raise StorageUnavailableError(
            f"{spool} has no room for a copy of the database ({needed} bytes), as a backup needs it for a "
            "while: make room"
        )


# PostgreSQL -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _PostgresqlSnapshot:
    conn: Connection
    taken_at: int
    id: str
    url: str
    spool: Path

    def blocks(self) -> Iterator[bytes]:
        with (
            connection_options(self.url, self.spool) as options,
            tempfile.TemporaryFile(dir=self.spool) as said,
        ):
            # Without the version of the schema nobody uses a restored database before all else is there.
            command = [
                *("pg_dump", "--format=custom", "--compress=0", "--no-owner", "--no-privileges"),
                *(f"--snapshot={self.id}", "--exclude-table=*.alembic_version", f"--dbname={options}"),
            ]
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
                )
            except FileNotFoundError:
                raise ConfigurationError(
                    "There is no pg_dump here: install the client programs of PostgreSQL, of the version of "
                    "the database server or a newer one"
                ) from None
            out = process.stdout
            assert out is not None
            try:
                yield from _pieces(out)
                if process.wait():
                    raise StorageError(failure("pg_dump", said))
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
                out.close()


@contextmanager
def _of_postgresql(db: Database, spool: Path) -> Iterator[_PostgresqlSnapshot]:
    url, raw = db.direct_url, db.listener()
    if url is None or raw is None:
        raise ConfigurationError(
            "A backup needs a connection of its own for longer than a transaction of a pooler: set "
            "LIGHTWELL_DATABASE_DIRECT_URL to the database past the pooler"
        )
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: raw,
        poolclass=pool.StaticPool,
        isolation_level="REPEATABLE READ",
        hide_parameters=True,
    )
    try:
        raw.execute("SET statement_timeout = 0")
        raw.execute("SET idle_in_transaction_session_timeout = 0")
        with db.read() as conn:
            taken_at = read_now(conn)
        with engine.connect() as conn:
            conn.exec_driver_sql("SET TRANSACTION READ ONLY")
            id = str(conn.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())
            yield _PostgresqlSnapshot(conn, taken_at, id, url, spool)
    except Exception as error:
        if is_failure(error):
            raise explain(error, db.address) from error
        raise
    finally:
        with contextlib.suppress(Exception):
            engine.dispose()
        raw.close()


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """What a file or a pipe has, in blocks of `PIECE` bytes; the last may be shorter."""
    while True:
        block = bytearray()
        try:
            while len(block) < PIECE and (more := stream.read(PIECE - len(block))):
                block += more
        except OSError as error:
            raise storage_error(error, "The copy of the database cannot be read") from error
        if block:
            yield bytes(block)
        if len(block) < PIECE:
            return
