"""Reads every page of an SQLite file and compares it with its checksum."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lightwell.stores.page_checksums.kept_files import descriptor
from lightwell.stores.page_checksums.vfs import PAGE, RESERVED, why_unavailable

_AT_ONCE = 1024
# A page that a checkpoint is writing just now is looked at again.
_TRIES, _PAUSE_SECONDS = 4, 0.05
_RESERVED_AT = 20


@dataclass(frozen=True, slots=True)
class PagesRead:
    """``read`` pages were compared, the last of which has the number ``end``; ``damaged`` are numbers."""

    read: int
    end: int
    damaged: list[int]


def damaged_pages(path: Path) -> Iterator[PagesRead]:
    """The whole file, part by part. Raises `OSError`."""
    end = 0
    while (part := read_pages(path, end)) is not None:
        yield part
        end = part.end


def has_checksums(path: Path) -> bool:
    """Whether the pages of a file have checksums, and these can be compared here. Raises `OSError`."""
    return why_unavailable() is None and os.pread(descriptor(path), _RESERVED_AT + 1, 0)[-1:] == bytes(
        (RESERVED,)
    )


def read_pages(path: Path, after: int) -> PagesRead | None:
    """Compare the next `_AT_ONCE` pages behind the one numbered ``after`` (0 to begin); None behind the last.

    Pages are numbered from 1. Of a file without checksums nothing is read. No transaction and no lock is
    held: a page that changes meanwhile is looked at again. The write-ahead log is not looked at: SQLite
    compares that with checksums of its own when it takes over what a crash has left. Raises `OSError`.
    """
    if not has_checksums(path):
        return None
    fd = descriptor(path)
    data = os.pread(fd, _AT_ONCE * PAGE, after * PAGE)
    count = len(data) // PAGE
    if not count:
        return None
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as judge:
        pages = {after + 1 + place: data[place * PAGE : (place + 1) * PAGE] for place in range(count)}
        damaged = [number for number, page in pages.items() if not _is_right(judge, page)]
        for _ in range(_TRIES):
            if not damaged:
                break
            time.sleep(_PAUSE_SECONDS)
            damaged = [number for number in damaged if not _is_right(judge, _page(fd, number))]
    return PagesRead(count, after + count, damaged)


def _page(fd: int, number: int) -> bytes:
    """Empty where the file has become shorter."""
    page = os.pread(fd, PAGE, (number - 1) * PAGE)
    return page if len(page) == PAGE else b""


def _is_right(judge: sqlite3.Connection, page: bytes) -> bool:
    return not page or bool(judge.execute("SELECT verify_checksum(?)", (page,)).fetchone()[0])
