"""The database that a restore fills: empty at first, of no use to anybody while it is filled, then whole.

Meanwhile the version of its schema is `RESTORING`, which every server and command refuses, and the table
``lightwell_restore`` says which run it is, so that the same command goes on. An SQLite database is filled
beside its place, where such an empty one stands until then, and renamed in the end.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, delete, text, update

from lightwell.domain.states import JobPhase
from lightwell.errors import ConfigurationError, StorageError
from lightwell.stores.background.installation import set_id
from lightwell.stores.backup.postgresql_tools import connection_options, failure
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.db.database import Database
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.db.errors import explain, is_failure
from lightwell.stores.db.job_tables import import_job
from lightwell.stores.db.schema import RESTORING
from lightwell.stores.db.server_tables import installation, integrity_fault, integrity_run, server
from lightwell.stores.objects.local import storage_error, sync_folder

_VERSION = """
CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
)
"""
_MARK = "CREATE TABLE lightwell_restore (run TEXT NOT NULL, storage TEXT NOT NULL)"
_UNDER_WAY = "SELECT run, storage FROM lightwell_restore"
_TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A restore that has begun: its run, and the id that the storage gets."""

    run: str
    storage: str


class Target(Protocol):
    """A database to be filled. All methods raise `StorageError` if that fails."""

    dialect: str
    address: str

    def under_way(self) -> UnderWay | None:
        """The restore into it that has begun and not ended."""

    def check_empty(self) -> None:
        """Raises `ConfigurationError` if there is anything in it."""

    def begin(self, begun: UnderWay) -> None:
        """Mark it, which must be empty, as one that is being filled."""

    def load(self, blocks: Iterator[bytes]) -> None:
        """Fill it with what a snapshot has given; what is there already stays."""

    def opened(self) -> Any:
        """A context manager: the `Database` that was filled."""

    def finish(self) -> None:
        """Make it the one that servers find."""


def target(url: str, direct_url: str | None, spool: Path) -> Target:
    """The database with this URL."""
    if url.startswith("sqlite:///"):
        return _SqliteTarget(sqlite_path(url))
    return _PostgresqlTarget(direct_url or url, spool)


def is_settled(conn: Connection) -> bool:
    """Whether `settle` was called."""
    return conn.execute(text("SELECT version_num FROM alembic_version")).scalar() not in (None, RESTORING)


def settle(conn: Connection, begun: UnderWay, revision: str) -> None:
    """Take out of a filled database what was true of the place that it comes from, and name its storage."""
    conn.execute(delete(server))
    conn.execute(delete(installation).where(installation.c.name == "backup"))
    set_id(conn, begun.storage)
    conn.execute(
        text("UPDATE alembic_version SET version_num = :revision WHERE version_num = :mark"),
        {"revision": revision, "mark": RESTORING},
    )


def forget_old_place(conn: Connection) -> None:
    """Take out what else was true of the place that it comes from; of a database of this schema.

    What `lightwell data verify` had found there, and whose folders the buckets of open jobs are in: nobody
    with that data folder will come to go on with them.
    """
    conn.execute(delete(integrity_fault))
    conn.execute(delete(integrity_run))
    for node in (import_job.c.input_node, import_job.c.output_node):
        conn.execute(
            update(import_job)
            .where(import_job.c.phase != JobPhase.DONE, node != NOBODY)
            .values({node.name: None})
        )


# SQLite -----------------------------------------------------------------------------------------------------


def _is_filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


class _SqliteTarget:
    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._filled = self._path.with_name(self._path.name + ".restoring")
        self.address = str(self._path)

    def under_way(self) -> UnderWay | None:
        if not self._path.exists() or not self._path.stat().st_size:
            return None
        try:
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as connection:
                found = connection.execute(_UNDER_WAY).fetchone()
        except sqlite3.Error:
            return None  # any other database, or none
        return None if found is None else UnderWay(*found)

    def check_empty(self) -> None:
        if self._path.exists() and self._path.stat().st_size:
            raise ConfigurationError(
                f"There is a database already, {self._path}: a restore needs an empty place. Give another "
                "folder with --data; what is in this one would be lost"
            )

    def begin(self, begun: UnderWay) -> None:
        # It has its place with all that is in it, or not at all: half of it would look like a database that
        # is in use.
        draft = self._path.with_name(self._path.name + ".marking")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for end in ("", "-journal"):
                draft.with_name(draft.name + end).unlink(missing_ok=True)
            os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_VERSION)
                connection.execute("INSERT INTO alembic_version VALUES (?)", (RESTORING,))
                connection.execute(_MARK)
                connection.execute("INSERT INTO lightwell_restore VALUES (?, ?)", (begun.run, begun.storage))
                connection.execute("COMMIT")
            draft.replace(self._path)
            sync_folder(self._path.parent)
        except sqlite3.Error as error:
            raise explain(error, self.address) from error
        except OSError as error:
            raise storage_error(error, f"{self._path} cannot be written") from error

    def load(self, blocks: Iterator[bytes]) -> None:
        for end in ("", "-wal", "-shm"):
            self._filled.with_name(self._filled.name + end).unlink(missing_ok=True)
        try:
            handle = os.open(self._filled, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # With a buffer, since that goes on where the system has written a part.
            with os.fdopen(handle, "wb") as file:
                for block in blocks:
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, f"{self._filled} cannot be written") from error

    @contextmanager
    def opened(self) -> Iterator[Database]:
        db = Database(f"sqlite:///{self._filled}")
        try:
            yield db
        finally:
            db.close()  # which empties its write-ahead log

    def finish(self) -> None:
        wal = self._filled.with_name(self._filled.name + "-wal")
        if _is_filled(wal):
            # The disk was full, or failed, when it was closed.
            with self.opened() as db:
                db.write(lambda conn: None)
        if _is_filled(wal):
            raise StorageError(
                f"{wal} is in use: stop what reads {self._filled}, and run the same command again"
            )
        try:
            # A server that was started too early may have left one beside the empty database.
            for end in ("-wal", "-shm", "-journal"):
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)
            self._filled.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise storage_error(error, f"{self._path} cannot be written") from error
        for end in ("-wal", "-shm", ".lock"):
            self._filled.with_name(self._filled.name + end).unlink(missing_ok=True)


# PostgreSQL -------------------------------------------------------------------------------------------------


class _PostgresqlTarget:
    dialect = "postgresql"

    def __init__(self, url: str, spool: Path) -> None:
        self._url = url
        self._spool = spool
        self.address = Database(url).address

    def under_way(self) -> UnderWay | None:
        with self._connected() as connection:
            if not _has(connection, "lightwell_restore"):
                return None
            found = connection.execute(_UNDER_WAY).fetchone()
            return None if found is None else UnderWay(*found)

    def check_empty(self) -> None:
        with self._connected() as connection:
            found = connection.execute(_TABLES).fetchone()
        if found is not None:
            raise ConfigurationError(
                f"The database {self.address} is not empty, it has {found[0]}: a restore needs an empty "
                "one, as `createdb` makes it"
            )

    def begin(self, begun: UnderWay) -> None:
        with self._connected() as connection, connection.transaction():
            connection.execute(_VERSION)
            connection.execute("INSERT INTO alembic_version VALUES (%s)", (RESTORING,))
            connection.execute(_MARK)
            connection.execute("INSERT INTO lightwell_restore VALUES (%s, %s)", (begun.run, begun.storage))

    def load(self, blocks: Iterator[bytes]) -> None:
        with self._connected() as connection:
            if _has(connection, "pack"):
                return  # all of it, since it is one transaction
        with (
            connection_options(self._url, self._spool) as options,
            tempfile.TemporaryFile(dir=self._spool) as said,
        ):
            command = ["pg_restore", "--no-owner", "--no-privileges", "--exit-on-error"]
            command += ["--single-transaction", f"--dbname={options}"]
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said
                )
            except FileNotFoundError:
                raise ConfigurationError(
                    "There is no pg_restore here: install the client programs of PostgreSQL, of the version "
                    "of the database server or a newer one"
                ) from None
            try:
                _feed(process, blocks)
                if process.wait():
                    raise StorageError(failure("pg_restore", said))
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    @contextmanager
    def opened(self) -> Iterator[Database]:
        db = Database(self._url)
        try:
            yield db
        finally:
            db.close()

    def finish(self) -> None:
        with self._connected() as connection:
            connection.execute("DROP TABLE lightwell_restore")

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        connection = Database(self._url).listener()
        assert connection is not None, "a direct URL"
        try:
            yield connection
        except Exception as error:
            if is_failure(error):
                raise explain(error, self.address) from error
            raise
        finally:
            connection.close()


def _feed(process: subprocess.Popen[bytes], blocks: Iterator[bytes]) -> None:
    """Give a program all blocks; what is wrong if it takes no more, it tells itself."""
    stream = process.stdin
    assert stream is not None
    try:
        for block in blocks:
            stream.write(block)
        stream.close()
    except BrokenPipeError:
        pass
    except BaseException:
        process.kill()  # before it finds that the archive ends here, and may take it for whole
        raise
    finally:
        with suppress(BrokenPipeError):
            stream.close()


def _has(connection: Any, table: str) -> bool:
    return connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()[0] is not None
