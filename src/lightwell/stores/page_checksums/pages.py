"""Reads every page of an SQLite file and compares it with its checksum."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lightwell.stores.page_checksums.vfs import PAGE, RESERVED, why_unavailable

_AT_ONCE = 256
# A page that a checkpoint is writing just now is looked at again.
_TRIES, _PAUSE_SECONDS = 4, 0.05
_RESERVED_AT = 20

_kept: dict[tuple[int, int], int] = {}
_lock = threading.Lock()


def damaged_pages(path: Path) -> Iterator[tuple[int, list[int]]]:
    """(how many pages were read so far, the numbers of damaged ones among the last) for the whole file.

    Pages are numbered from 1. Of a file without checksums nothing is read. Its write-ahead log is not looked
    at: SQLite compares that with checksums of its own when it takes over what a crash has left.
    Raises `OSError`.
    """
    fd = _descriptor(path)
    if why_unavailable() is not None or os.pread(fd, _RESERVED_AT + 1, 0)[-1:] != bytes((RESERVED,)):
        return
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as judge:
        number = 0
        while data := os.pread(fd, _AT_ONCE * PAGE, number * PAGE):
            damaged = []
            for start in range(0, len(data) - PAGE + 1, PAGE):
                number += 1
                if not _is_right(judge, data[start : start + PAGE]) and not _is_right_later(
                    judge, fd, number
                ):
                    damaged.append(number)
            yield number, damaged
            if len(data) % PAGE:
                return


def _is_right(judge: sqlite3.Connection, page: bytes) -> bool:
    return bool(judge.execute("SELECT verify_checksum(?)", (page,)).fetchone()[0])


def _is_right_later(judge: sqlite3.Connection, fd: int, number: int) -> bool:
    for _ in range(_TRIES):
        time.sleep(_PAUSE_SECONDS)
        page = os.pread(fd, PAGE, (number - 1) * PAGE)
        if len(page) < PAGE or _is_right(judge, page):
            return True
    return False


def _descriptor(path: Path) -> int:
    """Of the file, for reading. It stays open: closing any would release the locks of all connections that
    this process has to the file (https://sqlite.org/howtocorrupt.html, 2.2)."""
    status = path.stat()
    place = status.st_dev, status.st_ino
    with _lock:
        if place not in _kept:
            _kept[place] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return _kept[place]
