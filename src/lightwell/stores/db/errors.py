"""The database's own errors, explained: one `StorageError` with a sentence for a person each."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import exc

from lightwell.errors import CommitUnknownError, DamagedError, StorageError, StorageUnavailableError
from lightwell.observe import metrics
from lightwell.observe.logs import event
from lightwell.stores.page_checksums import log_keeping

_log = logging.getLogger(__name__)

#: raised when the data violates a constraint of the database
BROKEN_RULES: tuple[type[Exception], ...] = (exc.IntegrityError, exc.DataError)

# SQLSTATEs after which the same transaction, run again, may well succeed (PostgreSQL, appendix A).
_SERIALIZATION, _DEADLOCK = "40001", "40P01"
_READ_ONLY, _LOCK_TIMEOUT = "25006", "55P03"

# What the database itself finds damaged. PostgreSQL: data_corrupted, index_corrupted. SQLite: by its result
# codes; SQLITE_IOERR_DATA is a page whose checksum is wrong, and its text only says "disk I/O error".
_DAMAGED_STATES = ("XX001", "XX002")
_SQLITE_IOERR_DATA, _SQLITE_IOERR_CORRUPTFS = 10 | 32 << 8, 10 | 33 << 8

_SQLITE: tuple[tuple[str, str], ...] = (
    ("no such table", "its schema is missing or behind: run `lightwell data migrate`"),
    ("no such column", "its schema is behind: run `lightwell data migrate`"),
    ("unable to open", "check that its folder exists and that this user may read and write in it"),
    (
        "readonly",
        "it cannot be written: is its file system mounted read-only? Else check the owner and the mode of "
        "the file and its folder",
    ),
    ("database or disk is full", "the disk is full: make room, nothing was lost"),
    ("locked", "another process has locked it for too long: is a backup or a shell open on it?"),
    ("not a database", "the file is not an SQLite database: check LIGHTWELL_DATABASE_URL"),
    ("disk i/o error", "the disk failed: look at the system's log"),
)
_POSTGRESQL: tuple[tuple[str, str], ...] = (
    ("42P01", "its schema is missing or behind: run `lightwell data migrate`"),
    ("42703", "its schema is behind: run `lightwell data migrate`"),
    ("3D000", "create the database first, or check the name in LIGHTWELL_DATABASE_URL"),
    ("28", "check user and password in LIGHTWELL_DATABASE_URL, and pg_hba.conf"),
    ("53100", "its disk is full: make room, nothing was lost"),
    ("53300", "it has no connection left: raise max_connections or run fewer processes"),
    ("57014", "a statement exceeded the time limit"),
    ("55P03", "another transaction held a lock for too long"),
    ("25006", "it is read-only, perhaps a replica: check LIGHTWELL_DATABASE_URL"),
    ("25P03", "the transaction stood still for too long, was ended by PostgreSQL, and changed nothing"),
    ("25P04", "the transaction exceeded a time limit of PostgreSQL, and changed nothing"),
    ("40001", "other transactions got in its way again and again, and it changed nothing"),
    ("40P01", "other transactions got in its way again and again, and it changed nothing"),
    ("58030", "its disk failed: look at PostgreSQL's log and the system's"),
)


# Characters of what a driver says, which may repeat what it was given.
_LONGEST = 500

# What only an administrator can fix: the schema, or the file itself. Everything else may pass.
_LASTING = ("no such table", "no such column", "not a database")
_PASSING = ("08", "53", "57", "55P03", "25006", "25P03", "25P04", "40001", "40P01", "58030")


def driver_error(error: BaseException) -> BaseException:
    """The driver's own exception in what SQLAlchemy wrapped around it."""
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error


def may_retry(error: BaseException) -> bool:
    """Whether the transaction failed because of other ones and may be run again."""
    cause = driver_error(error)
    if isinstance(cause, sqlite3.OperationalError):
        # Not SQLITE_FULL or SQLITE_IOERR; the low byte is the primary code.
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(cause, "sqlstate", None) in (_SERIALIZATION, _DEADLOCK)


def is_connection_lost(error: BaseException) -> bool:
    """Whether a connection that was open has been lost, so that another one may do."""
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def is_read_only(error: BaseException) -> bool:
    """Whether the database has become a replica since it was connected to, or always was one.

    Of SQLite: whether it was opened while its file could only be read, which holds for that connection.
    """
    cause = driver_error(error)
    if isinstance(cause, sqlite3.OperationalError):
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_READONLY
    return getattr(cause, "sqlstate", None) == _READ_ONLY


def is_lock_timeout(error: BaseException) -> bool:
    """Whether a lock was not to be had in time; ``error`` may be what `explain` made of it."""
    cause = error.__cause__ if isinstance(error, StorageError) and error.__cause__ is not None else error
    return getattr(driver_error(cause), "sqlstate", None) == _LOCK_TIMEOUT


def is_failure(error: BaseException) -> bool:
    """Whether ``error`` means that the database failed, not that the data violates a constraint."""
    if isinstance(error, BROKEN_RULES):
        return False
    if isinstance(
        error, exc.DBAPIError | exc.TimeoutError | sqlite3.OperationalError | sqlite3.DatabaseError
    ):
        return not isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError)
    return _is_psycopg_failure(error)


def _is_psycopg_failure(error: BaseException) -> bool:
    if not type(error).__module__.startswith("psycopg"):
        return False
    import psycopg

    return isinstance(error, psycopg.OperationalError | psycopg.InternalError | psycopg.InterfaceError) or (
        isinstance(error, psycopg.ProgrammingError) and error.sqlstate is not None
    )


def _is_damage(cause: BaseException) -> bool:
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0)
        # While it reads its schema, SQLite leaves out what kind of SQLITE_IOERR (10) it was. That of a disk
        # that fails is rather met elsewhere, where it has its number.
        return (code & 0xFF) == sqlite3.SQLITE_CORRUPT or code in (
            10,
            _SQLITE_IOERR_DATA,
            _SQLITE_IOERR_CORRUPTFS,
        )
    return getattr(cause, "sqlstate", None) in _DAMAGED_STATES


def damaged_database(text: str) -> DamagedError:
    """What to raise for rows or pages that are not what was written; the metrics count it.

    ``text`` says what is damaged, without a full stop.
    """
    metrics.count("lightwell_damaged_reads_total", "database")
    return DamagedError(
        f"{text}; nothing of it is served. Run `lightwell data verify`, and restore what is damaged from "
        "a backup."
    )


_listeners: list[Callable[[int, str], None]] = []


def tell(listener: Callable[[int, str], None] | None) -> None:
    """Have ``listener`` told of each image set that names what is another's: its key, and what that is.

    It must neither wait nor raise; it may be called on an event loop.
    """
    _listeners[:] = [] if listener is None else [listener]


def misplaced(image_set: int, what: str) -> DamagedError:
    """What to raise where the rows of an image set, by its key, name ``what``, which is another's."""
    for listener in _listeners:
        listener(image_set, what)
    return damaged_database(f"An image set names {what}")


def damaged_log(path: Path, reason: str) -> DamagedError:
    """What to raise where SQLite would serve or drop what was committed, because its log is damaged."""
    metrics.count("lightwell_damaged_reads_total", "database")
    return DamagedError(
        f"The write-ahead log {path}-wal of the database is damaged: {reason}. SQLite would serve that, or "
        f"drop what was committed there, and say nothing, so the database is not opened. Keep {path}, "
        f"{path}-wal and {path}-shm as they are; docs/howto/integrity.md says how to go on, under "
        '"A damaged log".'
    )


def refuse_damaged_log(path: Path | None) -> None:
    """Raises `DamagedError` where this process has found a database's log to be damaged."""
    if path is not None and (reason := log_keeping.damage(path)) is not None:
        raise damaged_log(path, reason)


def check_log(path: Path) -> None:
    """Raises `DamagedError` where what is to be copied of a log is not as it was written."""
    log_keeping.check(path)
    refuse_damaged_log(path)


def explain(error: BaseException, address: str) -> StorageError:
    """A sentence for a person: which database, what happened, what to do. Never a bound value.

    A `StorageUnavailableError` if trying again may help, a `DamagedError` where the database found that its
    own pages are not what was written.
    """
    if isinstance(error, exc.TimeoutError):
        return StorageUnavailableError(
            f"The database {address} is busy: every connection of this process was in use for 30 seconds."
        )
    cause = driver_error(error)
    text = masked(str(cause).strip().split("\n")[0])[:_LONGEST]
    if _is_damage(cause):
        event(_log, logging.ERROR, "damaged_database", database=address, reason=text)
        return damaged_database(f"The database is damaged: {text}")
    if isinstance(cause, sqlite3.Error):
        low = text.lower()
        advice = next((advice for mark, advice in _SQLITE if mark in low), None)
        lasts = advice is None or any(mark in low for mark in _LASTING)
        kind = StorageError if lasts else StorageUnavailableError
        return kind(f"The database {address} failed: {text}{'; ' + advice if advice else ''}.")
    state = getattr(cause, "sqlstate", None) or ""
    kind = StorageUnavailableError if not state or state.startswith(_PASSING) else StorageError
    if advice := next((advice for mark, advice in _POSTGRESQL if state and state.startswith(mark)), None):
        return kind(f"The database {address} failed: {text}; {advice}.")
    if state and not state.startswith(("08", "57P")):
        return kind(f"The database {address} failed: {text}.")
    for mark, advice in (
        (
            "unsupported startup parameter",
            "a pooler stands before it: set LIGHTWELL_DATABASE_POOLER=transaction",
        ),
        ("password", _POSTGRESQL[3][1]),
        ("does not exist", _POSTGRESQL[2][1]),
    ):
        if mark in text:
            return kind(f"The database {address} cannot be used: {text}; {advice}.")
    return kind(
        f"The database {address} cannot be reached: {text}; check that it runs and that host and port in "
        "LIGHTWELL_DATABASE_URL are right."
    )


def commit_unknown(error: BaseException, address: str) -> CommitUnknownError:
    """A sentence for a person about a connection that was lost in a commit."""
    return CommitUnknownError(
        f"The connection to the database {address} was lost while it committed, so nobody knows whether it "
        f"did: {masked(str(driver_error(error)).strip().split(chr(10))[0])[:_LONGEST]}."
    )


def masked(text: str) -> str:
    """A message with passwords in URLs and connection strings replaced by stars, rather too much than not."""
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:********@", text)
    return re.sub(r"(password=)('[^']*'|[^&\s]*)", r"\1********", text, flags=re.IGNORECASE)
