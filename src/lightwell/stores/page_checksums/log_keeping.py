"""Copies SQLite's write-ahead log into the file, once what is to be copied was compared with its checksums.

SQLite compares the log only when it takes over what a crash has left. What it copies later gets a checksum in
the file, so a bit that had changed in the log would count as whole ever after. SQLite's own copying, after a
commit, is turned off therefore (``wal_autocheckpoint``), and done here at the same length.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from lightwell.observe.logs import event
from lightwell.stores.page_checksums import write_ahead_log

LONG = 1000
"""Frames that make a log long enough to be copied, as SQLite itself does by default."""

_UNTOLD = 100
"""Commits in a row after which the log is copied as it is, if nobody can tell how long it is."""

_log = logging.getLogger(__name__)
_tried: dict[Path, int] = {}
_untold: dict[Path, int] = {}
_said: set[Path] = set()
_written: set[Path] = set()
_damage: dict[Path, str] = {}


def damage(path: Path) -> str | None:
    """What this process has found wrong with the log of a database; it is not to be read any more."""
    return _damage.get(path)


def check(path: Path) -> str | None:
    """What is wrong with the part of the log that is not in the file yet; None if nothing is.

    On Linux only. Takes 25 µs a frame. Raises `OSError`.
    """
    if write_ahead_log.waiting(path):
        frame = write_ahead_log.damaged_frame(path, behind_copied=True)
        if frame is not None:
            _damage[path] = f"frame {frame} is not as it was written"
    return damage(path)


def keep_short(path: Path, connect: Callable[[], Any]) -> None:
    """Copy the log if it is long, as far as readers let it; nothing of one that is damaged: see `damage`.

    Called after each commit: 0.03 ms where there is nothing to do. ``connect`` gives a connection for writing
    that is closed afterwards.
    """
    _written.add(path)
    # What keeps it from being copied is no fault of the transaction before; it is tried again.
    with suppress(Exception):
        frames = write_ahead_log.waiting(path)
        if frames:
            _untold.pop(path, None)
        if (_is_due(path, frames) and check(path) is None) or (not frames and _is_long_untold(path)):
            with closing(connect()) as connection:
                connection.driver_connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def before_close(path: Path) -> None:
    """Before the connections of a process are closed, since the last one to be closed copies the log."""
    if path in _written:
        with suppress(OSError):
            check(path)


def may_close(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether to close a connection: one that may, copies nothing of a damaged log if it is the last one."""
    if damage(path) is None:
        return True
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        return True
    else:
        leave_open(connection)
        return False


def leave_open(connection: sqlite3.Connection) -> None:
    """Do not close a connection to a database whose log is damaged, not even when the process exits.

    For Python 3.11, which cannot tell SQLite to leave the log when the last connection is closed: by an
    interpreter that exits, too, as long as something counts its references.
    """
    import ctypes

    with suppress(sqlite3.Error):
        connection.rollback()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _is_due(path: Path, frames: int) -> bool:
    """Whether the log is long; where it could not be copied, whether it has become much longer since.

    All of it is compared right before it is copied, also what was compared before a reader let none of it be
    copied: it may have changed since. So that this does not take ever longer of each commit, it is tried
    again only once the log is half as long again.
    """
    if frames < LONG:
        _tried.pop(path, None)
        return False
    tried = _tried.get(path)
    if tried is not None and 0 <= frames - tried < max(LONG, tried // 2):
        return False
    _tried[path] = frames
    return True


def _is_long_untold(path: Path) -> bool:
    """Whether nobody could tell for many commits in a row how long the log is: it must not grow for ever, but
    how much of it should be there nobody knows."""
    if sys.platform != "linux" or write_ahead_log.is_told(path):
        _untold.pop(path, None)
        return False
    commits = _untold[path] = _untold.get(path, 0) + 1
    if commits % _UNTOLD or damage(path) is not None:
        return False
    if path not in _said:
        _said.add(path)
        reason = f"{path.name}-shm cannot be understood, so SQLite copies the log without its being compared"
        event(_log, logging.WARNING, "write_ahead_log_not_compared", reason=reason)
    return True
