"""One writer's chain: appended to by one process at a time, block by block, each proved by the one before.

Nothing that was written is written again in its place. What a crash left behind the last seal stays as it is,
and the next segment says how much that was. After a failed fsync it is not known what the disk has kept, and
a second fsync of the same file would claim success: then the next segment has once more what was not durable.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EAGAIN, EEXIST
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep

from lightwell.observe.audit import segments
from lightwell.observe.audit.block import (
    FORMAT,
    START,
    Left,
    SegmentHead,
    before,
    blocks,
    decode_head,
    encode_head,
    seal,
    stated,
)
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import AnyRecord, encode_lines

# When the next segment is begun: bytes, and seconds after the first block.
ROTATE_BYTES = 64 << 20
ROTATE_SECONDS = 3_600.0
# A process that starts goes on in the last segment unless that was begun so long ago, in milliseconds.
RESUME_MS = 86_400_000
# A writer that was just killed may still hold its lock.
_LOCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ChainPlace:
    """Where a chain is and whose: ``root`` is ``DATA/audit``; ``now`` is the time in milliseconds.

    A chain of many short-lived processes is walked from the start of its last segment by each of them, which
    ``rotate_bytes`` keeps short.
    """

    root: Path
    node: str
    writer: str
    keys: AuditKeys
    now: Callable[[], int]
    rotate_bytes: int = ROTATE_BYTES

    @property
    def folder(self) -> Path:
        return self.root / self.writer


@dataclass(frozen=True, slots=True)
class ChainHead:
    """How far a chain has come: the number and the MAC of its last seal, and the segment in which it is."""

    segment: int = 0
    number: int = 0
    mac: bytes = START


class Chain:
    """An open chain, which nobody else can open before it is closed."""

    def __init__(self, place: ChainPlace, *, patience: float = _LOCK_SECONDS) -> None:
        """Raises `OSError`, such as `BlockingIOError` if another has it open for ``patience`` seconds."""
        self._place = place
        self._key = _seal_key(place)
        self._file: int | None = None
        self._size = 0
        self._began = 0.0
        self._head = self._durable = ChainHead()
        self._left: Left | None = None
        # Lines that were appended since the last sync.
        self._unsynced: list[bytes] = []
        # Before anything else is written: what may not be on the disk, again; or the end is found anew.
        self._must_repeat = self._must_recover = False
        segments.make_folder(place.folder)
        self._lock = _locked(place.folder / segments.LOCK, patience)
        try:
            self._recover()
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def durable(self) -> ChainHead:
        """How far the chain is on the disk."""
        return self._durable

    def append(self, records: Sequence[AnyRecord]) -> None:
        """Number the records and write them as one block, which `sync` makes durable.

        Raises `OSError`, and then the chain has none of them.
        """
        self._mend()
        if self._file is not None and self._is_full():
            self.sync()
            self._leave()
        first = self._head.number + 1
        for number, record in enumerate(records, first):
            record.number = number
        body = encode_lines(records)
        self._write(body, first + len(records) - 1)
        self._unsynced.append(body)

    def sync(self) -> None:
        """Make all that was appended durable. After an `OSError`, the next call writes it anew."""
        self._mend()
        if self._file is None:
            return
        try:
            os.fdatasync(self._file)
        except OSError:
            self._leave()
            self._must_repeat = True
            raise
        self._durable = self._head
        self._unsynced.clear()

    def close(self) -> None:
        """Let others open it."""
        if self._file is not None:
            self._leave()
        os.close(self._lock)

    def _mend(self) -> None:
        if self._must_repeat:
            self._repeat()
        elif self._must_recover:
            self._recover()

    def _is_full(self) -> bool:
        return self._size >= self._place.rotate_bytes or monotonic() - self._began >= ROTATE_SECONDS

    def _write(self, body: bytes, last: int) -> None:
        if self._file is None:
            self._begin(body, last)
            return
        line, mac = seal(self._key, self._head.mac, body, last, self._place.now())
        try:
            _write_all(self._file, body + line)
        except OSError:
            self._undo(self._file)
            raise
        self._size += len(body) + len(line)
        self._head = ChainHead(self._head.segment, last, mac)

    def _begin(self, body: bytes, last: int) -> None:
        """Begin the next segment with this block."""
        place, previous = self._place, self._head
        head = SegmentHead(
            audit=FORMAT,
            node=place.node,
            writer=place.writer,
            segment=previous.segment + 1,
            first=previous.number + 1,
            key=place.keys.newest,
            before="" if previous.mac == START else previous.mac.hex(),
            left=self._left,
        )
        body = encode_head(head) + body
        line, mac = seal(self._key, previous.mac, body, last, place.now())
        path = segments.segment_path(place.folder, head.segment)
        file = self._make(path)
        try:
            segments.give_away(file, place.folder)
            _write_all(file, body + line)
            segments.sync_folder(place.folder)
        except OSError:
            os.close(file)
            with suppress(OSError):
                path.unlink()
                # Then all is as it was, and on a full disk nothing is read again with each try.
                self._must_recover = False
            raise
        self._must_recover = False
        self._file, self._size, self._began, self._left = file, len(body) + len(line), monotonic(), None
        self._head = ChainHead(head.segment, last, mac)

    def _make(self, path: Path) -> int:
        """Whatever goes wrong behind this leaves a file that recovery takes for what a crash has left."""
        self._must_recover = True
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            self._must_recover = error.errno == EEXIST
            raise

    def _repeat(self) -> None:
        """Write what may not have reached the disk into a new segment, behind what has."""
        body = b"".join(self._unsynced)
        durable, present = self._durable, segments.segments(self._place.folder)
        self._head = ChainHead(present[-1].number if present else 0, durable.number, durable.mac)
        self._left = Left(again=durable.number + 1)
        if body:
            self._begin(body, durable.number + body.count(b"\n"))
        self._must_repeat = False

    def _undo(self, file: int) -> None:
        """Remove what was written of a block; where that fails, the next segment leaves it behind."""
        try:
            os.ftruncate(file, self._size)
        except OSError:
            self._leave()
            self._must_repeat, self._must_recover = bool(self._unsynced), True

    def _leave(self) -> None:
        assert self._file is not None
        file, self._file = self._file, None
        with suppress(OSError):
            os.close(file)

    def _recover(self) -> None:
        """Find the last seal, and what is behind it; go on in the same file if that is nothing."""
        place = self._place
        present = segments.segments(place.folder)
        self._head = ChainHead(segment=present[-1].number if present else 0)
        for index in reversed(range(len(present))):
            data = _read(present[index])
            end = self._find_end(data)
            if end is None:
                continue
            self._left = _left(data[end:], present[index + 1 :])
            if self._left is None and index == len(present) - 1 and not present[index].is_compressed:
                self._resume(present[index].path, data)
            break
        else:
            self._left = _left(b"", present)
        self._durable = self._head
        self._must_recover = False

    def _find_end(self, data: bytes) -> int | None:
        """Where the last block of a segment ends, which becomes the head; None if no block is proved.

        The end of one that another key sealed, which is not here, is its end, and the chain begins anew.
        """
        head = decode_head(data)
        if head is None:
            return None
        key = self._place.keys.seal_key(head.key, head.node, self._place.writer)
        if key is None:
            return len(data)
        proved = deque(blocks(data, key, before(head)), maxlen=1)
        if not proved:
            return None
        last = proved[0]
        self._head = ChainHead(self._head.segment, last.number, last.mac)
        return last.end

    def _resume(self, path: Path, data: bytes) -> None:
        """Append to the last segment, if it is of this node and sealed with the newest key."""
        head = decode_head(data)
        if head is None or head.node != self._place.node or head.key != self._place.keys.newest:
            return
        # Else a chain of short-lived processes would not get rid of what is old for years.
        if (first := stated(data, 0)) is not None and self._place.now() - first.at >= RESUME_MS:
            return
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            # It may have been written before the process died, and not have reached the disk.
            os.fsync(file)
        except OSError:
            os.close(file)
            raise
        self._file, self._size, self._began = file, len(data), monotonic()


@contextmanager
def closed(folder: Path) -> Iterator[bool]:
    """Whether nobody has the chain of a writer open; then nobody opens it meanwhile. Raises `OSError`."""
    try:
        lock = _locked(folder / segments.LOCK, 0.0)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(lock)


def _left(rest: bytes, behind: Sequence[segments.Segment]) -> Left | None:
    """What is behind the last seal, in its segment and in those behind, which have no seal."""
    size, digest = len(rest), sha256(rest)
    for segment in behind:
        data = _read(segment)
        size += len(data)
        digest.update(data)
    return Left(size, digest.hexdigest()) if size else None


def _read(segment: segments.Segment) -> bytes:
    """All lines of a segment, none if it cannot be decompressed."""
    try:
        return segment.read()
    except ValueError:
        return b""


def _seal_key(place: ChainPlace) -> bytes:
    key = place.keys.seal_key(place.keys.newest, place.node, place.writer)
    assert key is not None, "the newest key is there"
    return key


def _locked(path: Path, patience: float) -> int:
    file = _lock_file(path)
    until = monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= until:
                os.close(file)
                raise BlockingIOError(EAGAIN, f"another process has {path} locked") from None
            sleep(0.02)
        except OSError:
            os.close(file)
            raise
        else:
            return file


def _lock_file(path: Path) -> int:
    """Open it, or make it. Who owns the folder may have put a link there, which root must not follow."""
    flags = os.O_RDWR | os.O_NOFOLLOW
    with suppress(FileExistsError):
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            segments.give_away(file, path.parent)
        except OSError:
            os.close(file)
            raise
        return file
    return os.open(path, flags)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
