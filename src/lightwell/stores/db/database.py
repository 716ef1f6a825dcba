"""The database: short read transactions, and writes that are one transaction each.

SQLite (WAL, ``synchronous=FULL``) and PostgreSQL (psycopg 3) behind the same two calls. On SQLite all
writes of a process go through one thread, since SQLite's own back-off between writers is unfair: some wait
for most of a second while others pass. On PostgreSQL they run in the calling thread.

Nothing is opened before it is used, and what was opened before a fork is left to the parent.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine

from lightwell.errors import CommitUnknownError, ConfigurationError, LightwellError
from lightwell.setting_urls import masked_url
from lightwell.stores.db import drivers
from lightwell.stores.db.bulk import insert_many, insert_missing
from lightwell.stores.db.drivers import PostgresqlOptions
from lightwell.stores.db.errors import (
    commit_unknown,
    explain,
    is_connection_lost,
    is_failure,
    is_read_only,
    may_retry,
    refuse_damaged_log,
)
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.replica import ReplicaLag
from lightwell.stores.page_checksums import log_keeping
from lightwell.stores.transactions import after_commit
from lightwell.stores.transactions.outside import Tries

__all__ = ["Database", "Replica", "insert_many", "insert_missing"]

if TYPE_CHECKING:
    from lightwell.stores.db.pipeline import Pipeline

T = TypeVar("T")

# How often, and for how many seconds, a transaction that conflicts with others is tried.
_ATTEMPTS, _RETRY_SECONDS = 6, 10.0
# How often one that has lost its connection is.
_CONNECTIONS = 2
# How many connections for reading SQLite a process keeps.
_SQLITE_POOL = 8

CARRIED = "lightwell_carried"
"""The execution option of each connection with what `Database.carry` was given."""


class _Opened:
    """What one process has open; created on first use, dropped by `close` and after a fork."""

    def __init__(
        self, url: str, options: PostgresqlOptions, replica: Replica | None, carried: object
    ) -> None:
        self.pid = os.getpid()
        self.file = drivers.sqlite_path(url) if url.startswith("sqlite:") else None
        self.reader: Engine
        self.writer: Engine
        self.single: Engine
        self.thread: ThreadPoolExecutor | None = None
        self.raw = threading.local()
        self.pipeline: Pipeline | None = None
        self.raws: list[tuple[threading.Thread, Any]] = []
        if url.startswith("sqlite:"):
            self.reader, self.writer = drivers.sqlite_engines(url, _SQLITE_POOL)
            self.thread = ThreadPoolExecutor(1, thread_name_prefix="lightwell-writer")
        else:
            self.reader, self.writer = drivers.postgresql_engines(url, options)
        for engine in (self.reader, self.writer):
            engine.update_execution_options(**{CARRIED: carried})
        if self.thread is None:
            self.single = self.writer.execution_options(isolation_level="AUTOCOMMIT")
        self.replica: Engine | None = None
        self.lag: ReplicaLag | None = None
        if replica is not None:
            of_replica = replace(options, is_pooled=False)
            self.replica = drivers.postgresql_engines(replica.url, of_replica)[0]
            self.replica.update_execution_options(**{CARRIED: carried})
            self.lag = ReplicaLag(
                lambda: drivers.connect_raw(url, options),
                lambda: drivers.connect_raw(replica.url, of_replica),
                replica.lag_seconds,
            )

    def close(self) -> None:
        if self.thread is not None:
            self.thread.shutdown(wait=True)
        if self.file is not None:
            log_keeping.before_close(self.file)
        if self.lag is not None and self.replica is not None:
            self.lag.close()
            self.replica.dispose()
        self.reader.dispose()
        self.writer.dispose()
        for _, connection in self.raws:
            connection.close()
        if self.pipeline is not None:
            self.pipeline.close()

    def keep_raw(self, connection: Any) -> None:
        """Register a connection to be closed in the end, and close those whose threads have ended."""
        ended = [raw for thread, raw in self.raws if not thread.is_alive()]
        self.raws = [(thread, raw) for thread, raw in self.raws if thread.is_alive()]
        self.raws.append((threading.current_thread(), connection))
        for raw in ended:
            raw.close()


@dataclass(frozen=True, slots=True)
class Replica:
    """A read replica, and how many seconds it may be behind."""

    url: str
    lag_seconds: float


SelectAtOnce = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""`Database.select_at_once`."""

# Keeps connections that came through a fork from being finalised, and so closed, in the child.
_abandoned: list[_Opened | None] = []


class Database:
    """One database, usable from many threads.

    ``url`` is ``sqlite:///PATH`` (``sqlite:////abs/path`` for an absolute one) or ``postgresql://…`` as libpq
    takes it. ``direct_url`` leads to the same PostgreSQL without a pooler, if ``options`` names one;
    ``replica`` is for `read_behind`.
    """

    def __init__(
        self,
        url: str,
        options: PostgresqlOptions | None = None,
        *,
        direct_url: str | None = None,
        replica: Replica | None = None,
    ) -> None:
        if url.startswith("sqlite:///"):
            self.dialect = "sqlite"
        elif url.startswith(("postgresql://", "postgres://")):
            self.dialect = "postgresql"
        else:
            raise ConfigurationError(
                "The database is of an unknown kind: LIGHTWELL_DATABASE_URL takes sqlite:///PATH or "
                "postgresql://USER@HOST/NAME."
            )
        self.url = url
        self.address = masked_url(url)
        self._options = options or PostgresqlOptions()
        self._replica = None if self.dialect == "sqlite" else replica
        self._direct_url = direct_url or (None if self._options.is_pooled else url)
        self._carried: object = None
        self._state: _Opened | None = None
        self._lock = threading.Lock()
        self._inside = threading.local()

    @property
    def direct_url(self) -> str | None:
        """The URL of a PostgreSQL database past any pooler, with its password; None if none is known."""
        return None if self.dialect == "sqlite" else self._direct_url

    def carry(self, what: object) -> None:
        """Have all connections carry ``what`` from now on; before anything is opened."""
        self._carried = what

    def __repr__(self) -> str:
        return f"Database({self.address!r})"

    def read(self) -> AbstractContextManager[Connection]:
        """A read transaction that sees one state of the database throughout; keep it short.

        Writing in it fails. Raises `StorageError` if the database fails. Must not be opened inside `write`,
        where it would not see what the transaction has written (RuntimeError).
        """
        return self._reading()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._refuse_nested("read")
        try:
            with self._open().reader.connect() as connection:
                yield connection
                drivers.end_read(connection)
        except Exception as error:
            if is_failure(error):
                raise explain(error, self.address) from error
            raise

    @contextmanager
    def read_singly(self) -> Iterator[Connection]:
        """As `read`, but each statement is a transaction of its own on PostgreSQL: one round trip each.

        So each sees its own state, and nothing keeps it from writing.
        """
        if self.dialect == "sqlite" or self._options.is_pooled:
            # A pooler would lose the time limits of a statement outside a transaction.
            with self._reading() as connection:
                yield connection
            return
        self._refuse_nested("read")
        try:
            with self._open().single.connect() as connection:
                yield connection
        except Exception as error:
            if is_failure(error):
                raise explain(error, self.address) from error
            raise

    def read_behind(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a read transaction that may see a state some seconds old: that of a replica.

        For searches and lists only. Of the primary if there is no replica, if the replica is further behind
        than allowed, and once more if ``work`` fails or raises an error for people on the replica: what it
        misses may be on the primary. So ``work`` must change nothing.
        """
        state = self._open()
        if state.replica is not None and state.lag is not None and state.lag.is_fresh():
            self._refuse_nested("read")
            try:
                with state.replica.connect() as connection:
                    result = work(connection)
                    drivers.end_read(connection)
                    return result
            except LightwellError:
                pass
            except Exception as error:
                if not is_failure(error):
                    raise
                state.lag.distrust()
        with self.read() as connection:
            return work(connection)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in one transaction: committed and on disk when this returns, undone if it raises.

        ``work`` may run more than once if it conflicts with other transactions, loses its connection or needs
        a key that is not in memory (`transactions.outside`), so it must change nothing but the database. No
        I/O and no codec work inside it. Integrity errors pass as SQLAlchemy raises them, other failures as
        `StorageError`: as `CommitUnknownError` if the connection was lost once the commit had been sent, and
        then ``work`` is not run again.
        """
        self._refuse_nested("write")
        state = self._open()
        tries, thread = Tries(partial(self._attempts, state, work)), state.thread
        if thread is None:
            return tries.run(tries.attempt)
        return tries.run(lambda: thread.submit(tries.attempt).result())

    def _attempts(self, state: _Opened, work: Callable[[Connection], T]) -> T:
        self._inside.write = True
        deadline = time.monotonic() + _RETRY_SECONDS
        lost = 0
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    result = self._transaction(state, work)
                    if state.file is not None:
                        log_keeping.keep_short(state.file, state.writer.raw_connection)
                    return result
                except CommitUnknownError:
                    raise
                except Exception as error:
                    if not is_failure(error):
                        raise
                    lost += is_connection_lost(error) or is_read_only(error)
                    last = attempt == _ATTEMPTS or lost == _CONNECTIONS or time.monotonic() > deadline
                    if last or not (lost or may_retry(error)):
                        raise explain(error, self.address) from error
                time.sleep(random.uniform(0.5, 1) * 0.005 * 2**attempt)
            raise AssertionError("unreachable")
        finally:
            self._inside.write = False

    def _transaction(self, state: _Opened, work: Callable[[Connection], T]) -> T:
        is_committing = False
        with state.writer.connect() as connection:
            try:
                after_commit.take(connection)  # of a transaction that failed
                with connection.begin():
                    result = work(connection)
                    is_committing = True
                for call in after_commit.take(connection):
                    call()
                return result
            except Exception as error:
                if is_committing and is_connection_lost(error):
                    raise commit_unknown(error, self.address) from error
                if is_read_only(error):
                    # The primary has become a replica, and another connection may lead to the new primary; or
                    # it was opened on a disk that was read-only, and may be no longer.
                    connection.invalidate()
                raise

    def listener(self) -> Any | None:
        """A new psycopg connection in autocommit, past any pooler, which the caller closes.

        For LISTEN, and for what needs a session.
        None if there can be none, on SQLite and behind a pooler without ``direct_url``: then ask again and
        again. Raises `StorageError` if the database cannot be reached.
        """
        if self.dialect == "sqlite" or self._direct_url is None:
            return None
        try:
            return drivers.connect_listener(self._direct_url)
        except Exception as error:
            if is_failure(error):
                raise explain(error, self.address) from error
            raise

    def raw(self) -> Any:
        """This thread's own driver connection (`sqlite3.Connection` or `psycopg.Connection`), for reading.

        It is in autocommit mode: each statement is a transaction of its own. For `look_up`.
        """
        state = self._open()
        connection = getattr(state.raw, "connection", None)
        is_sqlite = self.dialect == "sqlite"
        if connection is None or (not is_sqlite and connection.closed):
            try:
                connection = drivers.connect_raw(self.url, self._options)
            except Exception as error:
                if is_failure(error):
                    raise explain(error, self.address) from error
                raise
            state.raw.connection = connection
            with self._lock:
                state.keep_raw(connection)
        elif is_sqlite:
            connection.still_compares()
        return connection

    def look_up(self, statement: LookUp, parameters: Sequence[object]) -> tuple[Any, ...] | None:
        """The first row of a SELECT or None, bypassing SQLAlchemy (0.01 ms where Core costs 0.1 ms)."""
        if self.dialect == "sqlite":
            try:
                row: tuple[Any, ...] | None = self.raw().execute(statement.sqlite, parameters).fetchone()
                return row
            except Exception as error:
                if is_failure(error):
                    raise explain(error, self.address) from error
                raise
        rows = self.select_at_once(statement.postgresql, parameters)
        return rows[0] if rows else None

    @property
    def selects_at_once(self) -> bool:
        """Whether `select_at_once` can be called: not on SQLite, not behind a pooler, which would lose the
        time limits of a statement outside a transaction, and not where searches may go to a replica."""
        return self.dialect == "postgresql" and not self._options.is_pooled and self._replica is None

    def select_at_once(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """All rows of one SELECT on PostgreSQL, which is a read transaction of its own and one round trip.

        When it has run a few times, its plan is kept for any values: so it must be one that reads few rows by
        indexes, whatever the values are. Raises `StorageError` if the database fails.
        """
        for last in (False, True):
            connection = self.raw()
            try:
                rows: list[tuple[Any, ...]] = connection.execute(sql, parameters).fetchall()
                return rows
            except Exception as error:
                # Only now is it known that the server has closed the connection.
                if connection.closed and not last:
                    continue
                if is_failure(error):
                    raise explain(error, self.address) from error
                raise
        raise AssertionError("unreachable")

    async def look_up_here(self, statement: LookUp, parameters: Sequence[object]) -> tuple[Any, ...] | None:
        """`look_up` on an event loop, which waits for nothing else meanwhile only on SQLite."""
        if self.dialect == "sqlite":
            return self.look_up(statement, parameters)
        # Imported here because most commands have no event loop.
        from asyncio import get_running_loop

        state = self._open()
        pipeline = state.pipeline
        if pipeline is None or pipeline.loop is not get_running_loop():
            from lightwell.stores.db.pipeline import Pipeline

            if pipeline is not None:
                pipeline.close()
            pipeline = state.pipeline = Pipeline(
                lambda: drivers.connect_raw(self.url, self._options),
                lambda error: explain(error, self.address),
                prepares=self._options.prepares,
            )
        return await pipeline.look_up(statement, parameters)

    def shorten_log(self) -> None:
        """Have SQLite copy its write-ahead log into the file, whose pages have checksums; best now and then.

        Does nothing while others are busy, nor on PostgreSQL. Raises `StorageError`.
        """
        if self.dialect == "sqlite":
            try:
                drivers.shorten_log(self.url)
            except Exception as error:
                if is_failure(error):
                    raise explain(error, self.address) from error
                raise

    def close(self) -> None:
        """Close everything that this process has open. The next use reopens it. Call it before a fork."""
        with self._lock:
            state, self._state = self._state, None
        if state is not None and state.pid == os.getpid():
            state.close()

    def _open(self) -> _Opened:
        state = self._state
        if state is not None and state.pid == os.getpid():
            refuse_damaged_log(state.file)
            return state
        with self._lock:
            if self._state is None or self._state.pid != os.getpid():
                # What came through a fork is not closed: its sockets and locks belong to the parent.
                _abandoned.append(self._state)
                self._state = _Opened(self.url, self._options, self._replica, self._carried)
            return self._state

    def _refuse_nested(self, call: str) -> None:
        if getattr(self._inside, "write", False):
            raise RuntimeError(
                f"Database.{call} inside Database.write: use the connection of the transaction"
            )
