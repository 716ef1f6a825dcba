"""How connections are opened: SQLite with its pragmas, PostgreSQL with its time limits."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.pool import QueuePool

from lightwell.errors import ConfigurationError
from lightwell.stores.db.errors import check_log, damaged_database, damaged_log, may_retry
from lightwell.stores.page_checksums import log_keeping, vfs, write_ahead_log
from lightwell.stores.page_checksums.state import CHECKSUMS, PAGES

_BUSY_SECONDS = 10.0
# A connection is asked this often whether it still compares pages with their checksums.
_PAGES_SECONDS = 1.0

# Milliseconds. A statement that runs for a minute has a bad plan; a lock held that long, a stuck process.
_TIME_LIMITS = {
    "statement_timeout": 60_000,
    "lock_timeout": 30_000,
    "idle_in_transaction_session_timeout": 120_000,
}
_PG_OPTIONS = " ".join(
    [
        *(f"-c {name}={value}" for name, value in _TIME_LIMITS.items()),
        "-c default_transaction_isolation=read\\ committed -c timezone=UTC",
    ]
)
# Statements that have often run are parsed once, and planned for their values each time: a plan for any
# values that was made while a table was empty goes on reading all of it once it is large.
_OWN_PLANS = "-c plan_cache_mode=force_custom_plan"
# Statements in autocommit find a few rows by indexes, and planning them takes longer than running them. So
# they are planned once for any values; not to read all of a table, which may be large later, or hold many
# rows that meet a condition. As this makes costs seem high, plans are not compiled, which is done by costs.
_ONE_STATEMENT = " ".join(
    (
        "-c plan_cache_mode=force_generic_plan",
        "-c enable_seqscan=off",
        "-c jit=off",
    )
)
# A pooler gives each transaction some connection, so nothing may be set for longer than a transaction.
_LIMIT_TRANSACTION = "SELECT " + ", ".join(
    f"set_config('{name}', '{value}', true)" for name, value in _TIME_LIMITS.items()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresqlOptions:
    """How PostgreSQL is connected to.

    ``pool`` connections are kept, as many again are opened under load. ``is_pooled``: a pooler in transaction
    mode stands between, such as PgBouncer, so that a connection has no state beyond a transaction.
    ``prepares``: statements are prepared once they have run five times on a connection, and stay so until
    a transaction of it is rolled back.
    """

    pool: int = 8
    is_pooled: bool = False
    prepares: bool = True


def sqlite_path(url: str) -> Path:
    """The file of an ``sqlite:///PATH`` URL, taken literally: no escapes, no parameters."""
    return Path(url.removeprefix("sqlite:///"))


class SqliteConnection(sqlite3.Connection):
    """A connection that says whether it compares the pages that it reads with their checksums."""

    compares_pages = False
    asked_at = 0.0
    file: Path | None = None

    def close(self) -> None:
        if self.file is None or log_keeping.may_close(self, self.file):
            super().close()

    def begin_comparing(self) -> None:
        """Raises `DamagedError` where a database with checksums is not known as one any more,
        `ConfigurationError` where this Python cannot compare them."""
        must = self._must_compare()  # which reads the file's header, if nothing else has yet
        row = self.execute("PRAGMA checksum_verification").fetchone()
        self.compares_pages = row is not None and str(row[0]) == "1"
        self.asked_at = time.monotonic()
        if must and not self.compares_pages:
            if (reason := vfs.why_unavailable()) is None:
                raise _unprotected()
            raise ConfigurationError(
                f"The pages of this database have checksums, which cannot be kept here: {reason}. Use the "
                "Python environment that the database was made with, or install apsw in this one"
            )

    def _must_compare(self) -> bool:
        """Whether the database itself says that its pages have checksums."""
        try:
            found = self.execute("SELECT value FROM installation WHERE name = ?", (PAGES,)).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return False
            raise
        return bool(found == (CHECKSUMS,))

    def still_compares(self) -> None:
        """Raises `DamagedError` if it compared pages, and does so no more.

        The VFS goes by a byte of the file's header, which no checksum covers while that byte says so.
        """
        now = time.monotonic()
        if self.compares_pages and now - self.asked_at > _PAGES_SECONDS:
            if str(self.execute("PRAGMA checksum_verification").fetchone()[0]) != "1":
                raise _unprotected()
            self.asked_at = now


def _unprotected() -> Exception:
    return damaged_database(
        "The database is damaged: its header no longer says that its pages have checksums"
    )


def _connect_sqlite(path: Path, *, create: bool) -> SqliteConnection:
    vfs.why_unavailable()  # so that it is there, if it can be
    if path.exists() and not os.access(path, os.W_OK):
        # SQLite would open it to be read, and its -shm file with it, once for all connections of this
        # process: none of them could write once the disk is no longer read-only.
        raise sqlite3.OperationalError("attempt to write a readonly database")
    connection = sqlite3.connect(
        path.absolute().as_uri() + ("?mode=rwc" if create else "?mode=rw"),
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        factory=SqliteConnection,
    )
    connection.file = path
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


def _sqlite_reader(path: Path) -> SqliteConnection:
    connection = _connect_sqlite(path, create=False)
    try:
        connection.execute("PRAGMA query_only=1")
        connection.begin_comparing()
    except BaseException:
        connection.close()
        raise
    return connection


def _sqlite_writer(path: Path) -> SqliteConnection:
    path.absolute().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite would create it as the umask says, and -wal, -shm and -journal with its mode. Never opened if
    # it exists: closing it would release the locks that this process has on it.
    with contextlib.suppress(OSError):
        if vfs.why_unavailable() is None:
            vfs.create(path)
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = _connect_sqlite(path, create=True)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        _switch_to_wal(connection)
        if sys.platform == "linux":
            connection.execute("PRAGMA wal_autocheckpoint=0")  # `page_checksums.log_keeping` does it
        connection.begin_comparing()
    except BaseException:
        connection.close()
        raise
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # Several processes may create the file at once, and this pragma ignores the busy timeout.
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def sqlite_engines(url: str, pool: int) -> tuple[Engine, Engine]:
    """``(reader, writer)``; neither has a connection yet.

    Raises `DamagedError` where opening the database would lose what was committed.
    """
    path = sqlite_path(url)
    with contextlib.suppress(OSError):  # which SQLite meets, too, and says
        if (reason := write_ahead_log.what_is_lost(path)) is not None:
            raise damaged_log(path, reason)
    options: dict[str, Any] = {
        "poolclass": QueuePool,
        "hide_parameters": True,  # values are patients' names; they do not belong in an error's text
        "execution_options": {"preserve_rowcount": True},
    }
    reader = create_engine(
        "sqlite://",
        creator=lambda: _sqlite_reader(path),
        pool_size=pool,
        max_overflow=64,
        pool_use_lifo=True,
        **options,
    )
    writer = create_engine(
        "sqlite://", creator=lambda: _sqlite_writer(path), pool_size=1, max_overflow=0, **options
    )

    for engine in (reader, writer):

        @event.listens_for(engine, "checkout")
        def look_again(connection: Any, record: object, proxy: object) -> None:
            connection.still_compares()

    # sqlite3 itself would begin a transaction only at the first write, and then without the lock.
    @event.listens_for(reader, "begin")
    def begin_read(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    @event.listens_for(writer, "begin")
    def begin_write(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return reader, writer


def shorten_log(url: str) -> None:
    """Copy SQLite's write-ahead log into the file and empty it, if nobody is reading or writing just now."""
    check_log(sqlite_path(url))
    connection = _connect_sqlite(sqlite_path(url), create=False)
    try:
        connection.execute("PRAGMA busy_timeout=0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        if not may_retry(error):
            raise
    finally:
        connection.close()


def postgresql_engines(url: str, options: PostgresqlOptions) -> tuple[Engine, Engine]:
    """``(reader, writer)`` over one pool; neither has a connection yet."""
    writer = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _connect_postgresql(url, options, _OWN_PLANS),
        pool_size=options.pool,
        max_overflow=options.pool,
        pool_timeout=30,
        pool_use_lifo=True,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        execution_options={"preserve_rowcount": True},
    )

    # A ping would cost each transaction a round trip.
    @event.listens_for(writer, "checkout")
    def check_open(connection: Any, record: object, proxy: object) -> None:
        if is_broken(connection):
            raise exc.DisconnectionError

    if options.is_pooled:

        @event.listens_for(writer, "begin")
        def limit_transaction(connection: Connection) -> None:
            connection.exec_driver_sql(_LIMIT_TRANSACTION)

    # One snapshot for all statements of a read, as SQLite gives it.
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return reader, writer


def end_read(connection: Connection) -> None:
    """End the transaction of a read that has succeeded.

    On PostgreSQL by COMMIT, since psycopg drops all prepared statements of a connection with every ROLLBACK.
    """
    if connection.dialect.name == "postgresql":
        # What was read is valid whatever happens now; a connection that is lost is noticed by its next user.
        with contextlib.suppress(exc.DBAPIError):
            connection.commit()


def is_broken(connection: Any) -> bool:
    """Whether an idle psycopg connection has been closed by the other side, as far as this machine knows.

    An idle connection is sent nothing, except a word before it is closed; so one with input is given up, too.
    """
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


# A statement that has brought nothing for so long is left to the server's own limits as long as that answers
# others: another connection, and a SELECT on it, within `_PROBE_SECONDS` each.
_SILENT_SECONDS, _PROBE_SECONDS = 10.0, 5.0


class _Probes:
    """Whether servers answer, as all threads of this process find out together; by their parameters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, str | None]] = {}

    def fault(self, key: str, ask: Callable[[], str | None]) -> str | None:
        """Why a server does not answer, None if it does. What is known is used for `_PROBE_SECONDS`."""
        with self._lock:
            until, fault = self._found.get(key, (0.0, None))
            if time.monotonic() >= until:
                fault = ask()
                self._found = {key: (time.monotonic() + _PROBE_SECONDS, fault)}
        return fault


_probes = _Probes()


def _watched(gen: Any, seconds: float, when_silent: Callable[[], None]) -> Any:
    """A generator of psycopg's, with ``when_silent`` called whenever nothing has come for so long."""
    try:
        wanted = next(gen)
        silent_at = time.monotonic() + seconds
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= silent_at:
                when_silent()
            if ready or time.monotonic() >= silent_at:
                silent_at = time.monotonic() + seconds
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


@functools.cache
def _watched_connection() -> Any:
    """A class of connections that end a statement where the server has fallen silent altogether.

    Where a machine stands still, or something in between swallows what is sent, TCP notices nothing, and the
    server's own limits do not help. psycopg is imported here because most commands do not need it.
    """
    import psycopg

    class Probe(psycopg.Connection[Any]):
        def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
            return super().wait(_watched(gen, _PROBE_SECONDS, self._give_up), *arguments, **named)

        def _give_up(self) -> None:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {_PROBE_SECONDS:.0f} s")

    class WatchedConnection(psycopg.Connection[Any]):
        def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
            return super().wait(_watched(gen, _SILENT_SECONDS, self._must_answer), *arguments, **named)

        def _must_answer(self) -> None:
            if fault := _probes.fault(f"{self.info.host} {self.info.port}", self._probe):
                self.pgconn.finish()
                raise psycopg.OperationalError(f"it does not answer any more: {fault}")

        def _probe(self) -> str | None:
            place: dict[str, Any] = {"host": self.info.host, "port": self.info.port}
            if self.info.hostaddr:
                place["hostaddr"] = self.info.hostaddr
            try:
                with Probe.connect(
                    self.info.dsn,
                    **place,
                    target_session_attrs="any",
                    password=self.info.password,
                    connect_timeout=int(_PROBE_SECONDS),
                    autocommit=True,
                ) as other:
                    other.execute("SELECT 1")
            except psycopg.OperationalError as error:
                # It answers, if only that it is full or starting.
                return None if "FATAL" in str(error) else str(error).strip().split("\n")[0]
            return None

    return WatchedConnection


def _connect_postgresql(url: str, options: PostgresqlOptions, own: str = "", **more: Any) -> Any:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        # What libpq says repeats what it could not read, which may be a part of the password.
        raise ConfigurationError(
            "LIGHTWELL_DATABASE_URL cannot be read as a PostgreSQL URL: check its options, and "
            "percent-encode what is special in the password"
        ) from None
    defaults: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": "lightwell",
        "client_encoding": "UTF8",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        # Milliseconds for which the other machine may be silent before what was sent to it is given up.
        "tcp_user_timeout": 20_000,
    }
    if not options.is_pooled:
        given["options"] = f"{_PG_OPTIONS} {own} {given.get('options') or ''}".strip()
    more["prepare_threshold"] = 5 if options.prepares else None
    return _watched_connection().connect(**{**defaults, **given}, **more)


def connect_raw(url: str, options: PostgresqlOptions) -> Any:
    """A driver connection for reading, in autocommit.

    Behind a pooler PostgreSQL plans its statements as it likes.
    """
    if url.startswith("sqlite:"):
        return _sqlite_reader(sqlite_path(url))
    connection = _connect_postgresql(url, options, _ONE_STATEMENT, autocommit=True)
    if not options.is_pooled:
        # Not among the options: libpq would take any server for a standby, and leave it, where the URL says
        # ``target_session_attrs=read-write``.
        connection.execute("SET default_transaction_read_only = on")
    return connection


def connect_listener(url: str) -> Any:
    """A psycopg connection of its own in autocommit, for LISTEN; ``url`` must not lead through a pooler."""
    return _connect_postgresql(url, PostgresqlOptions(), autocommit=True)
