"""Whether SQLite would find all of its write-ahead log again, before it looks.

What a crash leaves in ``-wal`` is taken over by whoever opens the database next, up to the first frame whose
checksum is wrong. SQLite takes that for the transaction that was being written, and says nothing. If a disk
has changed a bit further in front, everything committed behind it would vanish; and where a part had been
copied into the file already, older pages of the log would stand before newer ones of the file. Two things
tell the one from the other:

- a frame that continues the checksum of a commit was written after that transaction was on the disk, so the
  transaction was not the last one;
- ``-shm``, which outlives a killed process, says how many frames were committed, and on the disk.

Only where a power failure has taken ``-shm`` along and the last transaction alone is damaged, can nobody
tell. The files are described in https://sqlite.org/fileformat2.html, 4, and https://sqlite.org/walformat.html.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lightwell.stores.page_checksums.frame_judge import FrameJudge
from lightwell.stores.page_checksums.frame_sums import FrameSums, plain_sum
from lightwell.stores.page_checksums.kept_files import descriptor

_HEAD = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = 0x377F0682  # with 1 in the last bit where checksums are of big-endian numbers
_INDEX_HEAD = struct.Struct("=3IBBH8I")
_COPIED_AT = 2 * _INDEX_HEAD.size
_PAGES = {1 << shift for shift in range(9, 17)}
# The byte of -shm that each process has locked for as long as it has the database open.
_IN_USE_AT = 128
# What is being written just now is looked at again.
_TRIES, _PAUSE_SECONDS = 4, 0.1

# Of so many frames in a row, each may have been changed, or the checksum that it ends with.
_SEEDS = 16


@dataclass(frozen=True, slots=True)
class _Index:
    """What ``-shm`` says: so many ``frames`` are committed, of which so many are ``copied`` into the file."""

    salts: tuple[int, int]
    frames: int
    copied: int


@dataclass(frozen=True, slots=True)
class _Log:
    """``frames`` can be read up to the last commit; behind them ``broken`` is the first that is not as it was
    written, None if it may never have been written whole."""

    salts: tuple[int, int]
    frames: int
    broken: int | None


def what_is_lost(path: Path) -> str | None:
    """What would be lost if the database were opened now; None if nothing is, or somebody has it open.

    Call it before the first connection. On Linux only. Raises `OSError`.
    """
    path, reason = path.resolve(), None  # as SQLite does
    if sys.platform != "linux":
        return None
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        reason = None if _is_open(path) else _judged(path)
        if reason is None:
            return None
    return reason


def waiting(path: Path) -> int:
    """How many frames are committed and not copied into the file; 0 where that cannot be told.

    Raises `OSError`.
    """
    index = _index(path.resolve()) if sys.platform == "linux" else None
    return 0 if index is None else max(0, index.frames - index.copied)


def is_told(path: Path) -> bool:
    """Whether `waiting` can be told now: not for a moment while somebody else commits. Raises `OSError`."""
    return sys.platform == "linux" and _index(path.resolve()) is not None


def damaged_frame(path: Path, *, behind_copied: bool = False) -> int | None:
    """The first frame of a log in use that is not as it was written; None if there is none.

    More exactly: the first behind the last commit that can be read. ``behind_copied``: of those that are not
    in the file yet. Frames have numbers from 1. Raises `OSError`.
    """
    path, found = path.resolve(), None
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        index = _index(path)
        start = index.copied if index is not None and behind_copied else 0
        log = _log(path, until_broken=True, start=start)
        if index is None or not index.frames or (log is not None and log.salts != index.salts):
            return None
        readable = 0 if log is None else log.frames
        if readable >= index.frames or (log is None and index.copied >= index.frames):
            return None
        found = readable + 1
    return found


def _judged(path: Path) -> str | None:
    index = _index(path)
    try:
        log = _log(path)
    except ValueError as error:
        return str(error)
    if log is None:
        if index is not None and index.copied < index.frames:
            return f"its {index.frames} frames are gone"
        return None
    if index is not None and index.salts == log.salts and log.frames < index.frames:
        return f"{index.frames} frames were committed, and only {log.frames} of them can be read"
    if log.broken is not None:
        return f"frame {log.broken} is not as it was written, and later transactions stand behind it"
    return None


def _index(path: Path) -> _Index | None:
    """What ``-shm`` says; None if there is none, or none that is whole."""
    try:
        fd = _index_descriptor(path)
    except FileNotFoundError:
        return None
    data = os.pread(fd, _COPIED_AT + 4, 0)
    size = _INDEX_HEAD.size
    head = data[:size]
    if len(data) < _COPIED_AT + 4 or head != data[size : 2 * size]:
        return None
    fields = _INDEX_HEAD.unpack(head)
    if not fields[3] or struct.pack("=II", *plain_sum(head[:-8], 0, 0, "=")) != head[-8:]:
        return None
    (copied,) = struct.unpack_from("=I", data, _COPIED_AT)
    salts = struct.unpack(">II", head[32:40])
    return _Index((salts[0], salts[1]), fields[6], copied)


def _log(path: Path, *, until_broken: bool = False, start: int = 0) -> _Log | None:
    """What can be read of ``-wal``, ``start`` frames being taken as read; None if it is not there, or empty.

    ValueError if it has no valid head.
    """
    try:
        file = path.with_name(path.name + "-wal").open("rb")
    except FileNotFoundError:
        return None
    with closing(file):
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        magic, _, page_size, _, first, second, *checksum = _HEAD.unpack(head)
        order = ">" if magic & 1 else "<"
        is_head = magic | 1 == _MAGIC | 1 and page_size in _PAGES
        if not is_head or plain_sum(head[:24], 0, 0, order) != (checksum[0], checksum[1]):
            # It is on the disk before the first frame is written.
            if os.fstat(file.fileno()).st_size <= _HEAD.size or until_broken:
                return None
            raise ValueError("its head is not as it was written")
        seed = checksum[0], checksum[1]
        if start:
            file.seek(_HEAD.size + (start - 1) * (_FRAME.size + page_size))
            last = file.read(_FRAME.size + page_size)
            if len(last) < _FRAME.size + page_size:
                return None
            seed = _FRAME.unpack_from(last)[4:6]
        if until_broken:
            return _in_use(file, page_size, (first, second), seed, order, start)
        return _walked(file, page_size, (first, second), seed, order)


def _in_use(
    file: BinaryIO, page_size: int, salts: tuple[int, int], seed: tuple[int, int], order: str, start: int
) -> _Log:
    """Up to the first frame that is broken; ``file`` stands behind so many."""
    committed = start
    with closing(FrameJudge(page_size, order)) as judge:
        for number, frame in enumerate(_frames(file, page_size), start + 1):
            _, pages, one, other, first, second = _FRAME.unpack_from(frame)
            if (one, other) != salts or not judge.continues(frame, seed, (first, second)):
                break
            committed = number if pages else committed
            seed = first, second
    return _Log(salts, committed, None)


def _walked(
    file: BinaryIO, page_size: int, salts: tuple[int, int], seed: tuple[int, int], order: str
) -> _Log:
    committed, broken = 0, None
    seeds, is_after_commit, sums = [seed], False, None
    for number, frame in enumerate(_frames(file, page_size), 1):
        _, pages, one, other, first, second = _FRAME.unpack_from(frame)
        made: list[tuple[int, int]] = []
        # Behind what is broken, most frames are of an earlier log.
        if broken is None or (one, other) == salts:
            sums = sums or FrameSums(page_size, order)
            made = sums.of(frame, seeds)
        continues = (one, other) == salts and (first, second) in made
        if broken is None and continues:
            committed = number if pages else committed
        elif broken is None:
            broken = number
        elif continues and is_after_commit:
            return _Log(salts, committed, broken)
        # Either the frame was changed, or the checksum that it ends with.
        seeds = [(first, second)] if continues else [(first, second), *made][:_SEEDS]
        is_after_commit = bool(pages)
    return _Log(salts, committed, None)


def _frames(file: BinaryIO, page_size: int) -> Iterator[bytes]:
    size = _FRAME.size + page_size
    while len(frame := file.read(size)) == size:
        yield frame


def _is_open(path: Path) -> bool:
    """Whether any process has the database open, which then has found all of its log."""
    try:
        fd = _index_descriptor(path)
    except FileNotFoundError:
        return False
    asked = struct.pack("hhlli4x", fcntl.F_WRLCK, os.SEEK_SET, _IN_USE_AT, 1, 0)
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def _index_descriptor(path: Path) -> int:
    return descriptor(path.with_name(path.name + "-shm"))
