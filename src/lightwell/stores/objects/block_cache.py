"""A cache on local disk of what was read from S3, in blocks of 256 KiB. Several processes may share it.

A file ``KEY/NUMBER`` below the root holds up to 32 blocks of one object at their own places, 8 MiB in all,
and behind them a table: length and CRC-32 of each block, seeded with its name and place. The table's entry is
written after the block, without an fsync; what does not match its entry was cut short by a crash, or is
damaged, and counts as not there. A process compares a block once, before it first reads it. Objects never
change, so blocks leave only when their object does, or when the cache is full: least recently read files
first.

Without a usable disk, blocks stay in a small memory cache. Nothing here raises because of the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from isal import isal_zlib

from lightwell.stores.objects.block_memory import BlockMemory
from lightwell.stores.objects.interface import is_key
from lightwell.stores.objects.shared_blocks import BLOCK as BLOCK
from lightwell.stores.objects.shared_blocks import SharedBlocks
from lightwell.stores.objects.shared_blocks import checksum as _checksum

BLOCKS = 32
"""Blocks in a file."""

_FILE = BLOCK * BLOCKS
_ENTRY = struct.Struct("<4sIII")  # magic, length, CRC-32 of the block, CRC-32 of these three
_MAGIC = b"lwb1"
_TABLE = _ENTRY.size * BLOCKS
_OPEN_FILES = 128
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_TOUCH_SECONDS = 60.0  # how old the note of the last reading may be
_PAUSE_SECONDS = 10.0  # without a disk that cannot be written to
# The cache leaves this much of the disk free: a twentieth, at most a gigabyte.
_FREE_SHARE, _FREE_MOST = 20, 1 << 30


class _File:
    """An open file of blocks. ``known``: a bit for each block that was compared; ``end``: what follows is
    not in the object, as far as is known."""

    __slots__ = ("end", "fd", "known", "read_at")

    def __init__(self, path: str, *, create: bool) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        self.fd = os.open(path, flags, 0o600)
        self.known = 0
        self.end = _FILE
        self.read_at = 0.0

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)

    @property
    def is_gone(self) -> bool:
        return not os.fstat(self.fd).st_nlink


class BlockCache:
    """``root`` is made on the first write. ``limit`` and ``memory`` are bytes; a limit of 0 uses no disk.

    ``shared`` is the memory of all processes of a server, if there is any.
    """

    def __init__(
        self, root: Path, limit: int, memory: int = 32 << 20, shared: SharedBlocks | None = None
    ) -> None:
        self.root = root.absolute()
        self.limit = limit
        self.on_mark: Callable[[str, int], None] = lambda key, block: None
        self.on_load: Callable[[int], None] = lambda length: None
        self._files: OrderedDict[tuple[str, int], _File] = OrderedDict()
        self.memory = BlockMemory(memory, shared)
        self._marks: dict[str, int] = {}
        self._lock = threading.Lock()
        self._added = limit  # so that the first write looks at what is there
        self._not_before = 0.0
        self._claims: int | None = None

    # Reading --------------------------------------------------------------------------------------------

    def read_warm(self, key: str, offset: int, length: int) -> bytes | None:
        """These bytes if they can be had without waiting for a disk or a network, else None."""
        mark = self._marks.get(key)
        if mark is not None and offset + length > mark:
            self._marks.pop(key, None)
            self.on_mark(key, (offset + length - 1) // BLOCK)
        number, start = divmod(offset, _FILE)
        if start + length > _FILE:
            first = self.read_warm(key, offset, _FILE - start)
            rest = None if first is None else self.read_warm(key, offset + len(first), length - len(first))
            return None if first is None or rest is None else first + rest
        with self._lock:
            file = self._files.get((key, number))
            if file is not None:
                self._files.move_to_end((key, number))
        if file is not None:
            data = self._pread(file, key, offset, length)
            if data is not None:
                return data
        return self._from_memory(key, offset, length)

    def _pread(self, file: _File, key: str, offset: int, length: int) -> bytes | None:
        start = offset % _FILE
        end = start + length
        need = (2 << (end - 1) // BLOCK) - (1 << start // BLOCK)
        if file.known & need != need:
            # What another process has just written is compared here; it is in the page cache.
            for block in range(offset // BLOCK, (offset + length - 1) // BLOCK + 1):
                is_known = file.known >> block % BLOCKS & 1
                if not is_known and self._checked(file, key, block, waits=False) is None:
                    return None
        if end > file.end or file.is_gone:
            return None
        try:
            if not _is_in_memory(file, start, length):
                return None
            data = os.pread(file.fd, length, start)
            now = time.monotonic()
            if now - file.read_at > _TOUCH_SECONDS:
                file.read_at = now
                os.utime(file.fd)  # eviction goes by it
        except OSError:
            return None
        return data if len(data) == length else None

    def _from_memory(self, key: str, offset: int, length: int) -> bytes | None:
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        found: list[bytes] = []
        for block in range(first, last + 1):
            whole = self.memory.get(key, block)
            if whole is None:
                return None
            found.append(whole)
        data = cut(found, offset - first * BLOCK, length)
        return data if len(data) == length else None

    def load(self, key: str, blocks: Sequence[int], *, waits: bool = True) -> dict[int, bytes]:
        """Those of these blocks that are on the disk, whole and undamaged; with ``waits`` False, only those
        that need not be waited for."""
        found: dict[int, bytes] = {}
        for block in blocks:
            file = self._file(key, block // BLOCKS)
            data = None if file is None else self._checked(file, key, block, waits=waits)
            if data is not None:
                found[block] = data
        return found

    def has(self, key: str, block: int) -> bool:
        """Whether some process has written this block to the disk, as far as its table says."""
        return bool(self.written(key, block, block + 1))

    def written(self, key: str, first: int, end: int) -> set[int]:
        """Those of the blocks from ``first`` to ``end`` of which `has` is true."""
        found: set[int] = set()
        for number in range(first // BLOCKS, (end - 1) // BLOCKS + 1):
            file = self._file(key, number)
            if file is None:
                continue
            begin = number * BLOCKS
            some = range(max(first, begin) - begin, min(end - begin, BLOCKS))
            known = {index for index in some if file.known >> index & 1}
            if len(known) < len(some):
                size, start = _ENTRY.size, some.start
                with contextlib.suppress(OSError):
                    table = os.pread(file.fd, len(some) * size, _FILE + start * size)
                    known |= {
                        index
                        for index in some
                        if _read_entry(table[(index - start) * size : (index - start + 1) * size]) is not None
                    }
            found.update(begin + index for index in known)
        return found

    def _checked(self, file: _File, key: str, block: int, *, waits: bool) -> bytes | None:
        index = block % BLOCKS
        entry = self._entry(file, index)
        if entry is None:
            return None
        length, checksum = entry
        try:
            if not waits and not _is_in_memory(file, index * BLOCK, length):
                return None
            data = os.pread(file.fd, length, index * BLOCK)
        except OSError:
            return None
        if len(data) != length or _checksum(key, block, data) != checksum:
            return None
        self._know(file, index, length)
        self.on_load(length)
        return data

    def _entry(self, file: _File, index: int) -> tuple[int, int] | None:
        try:
            raw = os.pread(file.fd, _ENTRY.size, _FILE + index * _ENTRY.size)
        except OSError:
            return None
        return _read_entry(raw)

    def _know(self, file: _File, index: int, length: int) -> None:
        with self._lock:
            if length < BLOCK:
                file.end = index * BLOCK + length
            file.known |= 1 << index

    def _file(self, key: str, number: int, *, create: bool = False) -> _File | None:
        if not self.limit:
            return None
        with self._lock:
            file = self._files.get((key, number))
        if file is not None:
            if not file.is_gone:
                return file
            self._close(key, number, file)
        path = f"{self._folder(key)}/{number}"
        for _ in range(3):
            try:
                file = _File(path, create=create)
                break
            except FileNotFoundError:
                if not create:
                    return None
                # Another process may remove an empty folder at any time.
                Path(path).parent.mkdir(0o700, parents=True, exist_ok=True)
            except OSError:
                if create:
                    raise
                return None
        else:
            return None
        with self._lock:
            self._files[key, number] = file
            while len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)
        return file

    def _close(self, key: str, number: int, file: _File) -> None:
        with self._lock:
            if self._files.get((key, number)) is file:
                del self._files[key, number]

    # Writing --------------------------------------------------------------------------------------------

    def mark(self, key: str, offset: int) -> None:
        """Call `on_mark` when bytes behind ``offset`` are first read, with the block of the last of them."""
        if len(self._marks) > 4096:
            self._marks.clear()
        self._marks[key] = offset

    def store(self, key: str, block: int, data: bytes) -> bool:
        """Write a block to the disk; False if that is not possible now."""
        if not self.writes:
            return False
        index = block % BLOCKS
        checksum = _checksum(key, block, data)
        head = _MAGIC + len(data).to_bytes(4, "little") + checksum.to_bytes(4, "little")
        try:
            file = self._file(key, block // BLOCKS, create=True)
            if file is None:
                return False
            if os.pwrite(file.fd, data, index * BLOCK) != len(data):
                raise OSError("short write")
            entry = head + isal_zlib.crc32(head).to_bytes(4, "little")
            os.pwrite(file.fd, entry, _FILE + index * _ENTRY.size)
        except OSError:
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            return False
        self._know(file, index, len(data))
        with self._lock:
            self._added += len(data)
            is_due = self._added >= min(self.limit // 16, 64 << 20)
            if is_due:
                self._added = 0
        if is_due:
            self.evict()
        return True

    @property
    def writes(self) -> bool:
        """Whether blocks are written to the disk now."""
        return self.limit > 0 and time.monotonic() >= self._not_before

    def evict(self) -> None:
        """Come down to nine tenths of the limit if it is exceeded, or as far as the disk needs it; nothing if
        another process is at it."""
        with contextlib.suppress(OSError), (self.root / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = [(status.st_mtime_ns, 512 * status.st_blocks, path) for path, status in self._stored()]
            total = sum(size for _, size, _ in found)
            disk = os.statvfs(self.root)
            reserve = min(disk.f_frsize * disk.f_blocks // _FREE_SHARE, _FREE_MOST)
            lacking = reserve - disk.f_frsize * disk.f_bavail
            limit = self.limit if lacking <= 0 else min(self.limit, max(0, total - lacking))
            if lacking > 0:
                self._not_before = time.monotonic() + _PAUSE_SECONDS
            if total <= limit:
                return
            for _, size, path in sorted(found, key=lambda each: each[0]):
                if total <= limit // 10 * 9:
                    return
                path.unlink(missing_ok=True)
                total -= size
                with contextlib.suppress(OSError):
                    path.parent.rmdir()

    # Claims: which process fetches a block ----------------------------------------------------------------

    def claim(self, key: str, first: int, count: int) -> bool:
        """Whether no other process fetches any of these blocks; then the others see that this one does,
        until `release` or its end. Always true without a disk."""
        if not self.writes:
            return True
        try:
            if self._claims is None:
                self.root.mkdir(0o700, parents=True, exist_ok=True)
                self._claims = os.open(
                    self.root / ".claims", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, count, _claim_at(key, first))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True  # no locks here: two processes may fetch the same
        return True

    def release(self, key: str, first: int, count: int) -> None:
        """Give up a claim."""
        if self._claims is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._claims, fcntl.LOCK_UN, count, _claim_at(key, first))

    # Removing -------------------------------------------------------------------------------------------

    def drop(self, key: str) -> None:
        """Drop every block of an object on this machine; other processes notice when they next read one."""
        with self._lock:
            for place in [place for place in self._files if place[0] == key]:
                del self._files[place]
            self._marks.pop(key, None)
        self.memory.drop(key)
        folder = Path(self._folder(key))
        with contextlib.suppress(OSError):
            for path in list(folder.iterdir()):
                path.unlink(missing_ok=True)
            folder.rmdir()

    def keys(self) -> set[str]:
        """The objects that have blocks in the cache, on the disk or in this process's memory."""
        with self._lock:
            found = {key for key, _ in self._files} | self.memory.keys()
        return found.union(str(path.parent.relative_to(self.root)) for path, _ in self._stored())

    def forget_removed(self) -> None:
        """Close files that another process has removed, so that their bytes leave the disk."""
        with self._lock:
            places = list(self._files.items())
        for (key, number), file in places:
            if file.is_gone:
                self._close(key, number, file)
                self.memory.drop(key)

    def size(self) -> int:
        """Bytes that the cache takes on the disk."""
        return sum(512 * status.st_blocks for _, status in self._stored())

    def close(self) -> None:
        """Close its files. The next use opens them again."""
        with self._lock:
            self._files.clear()
            self.memory.clear()
            claims, self._claims = self._claims, None
        if claims is not None:
            os.close(claims)

    def _stored(self) -> Iterator[tuple[Path, os.stat_result]]:
        yield from _files_below(str(self.root))

    def _folder(self, key: str) -> str:
        if not is_key(key):
            raise ValueError(f"{key!r} is not a key of an object")
        return f"{self.root}/{key}"


def _read_entry(raw: bytes) -> tuple[int, int] | None:
    """Length and CRC-32 of a block; None if it was not written."""
    if not raw.startswith(_MAGIC) or len(raw) != _ENTRY.size:
        return None
    _, length, checksum, proof = _ENTRY.unpack(raw)
    return (length, checksum) if proof == isal_zlib.crc32(raw[:12]) and 0 < length <= BLOCK else None


def _is_in_memory(file: _File, start: int, length: int) -> bool:
    """If both ends are in the page cache, so is almost certainly what lies between them. Raises OSError."""
    probe = bytearray(1)
    return all(os.preadv(file.fd, [probe], place, _NOWAIT) == 1 for place in (start, start + length - 1))


def cut(blocks: Sequence[bytes], start: int, length: int) -> bytes:
    """``length`` bytes from ``start`` on of blocks that follow one another; fewer where they end."""
    if len(blocks) == 1:
        return blocks[0][start : start + length]
    end = start + length - BLOCK * (len(blocks) - 1)
    return b"".join((memoryview(blocks[0])[start:], *blocks[1:-1], memoryview(blocks[-1])[:end]))


def _claim_at(key: str, block: int) -> int:
    # A collision of two objects only makes one process wait for another.
    return (isal_zlib.crc32(key.encode()) << 24) + block


def _files_below(folder: str) -> Iterator[tuple[Path, os.stat_result]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    yield from _files_below(entry.path)
                elif entry.name.isdigit():
                    yield Path(entry.path), entry.stat(follow_symlinks=False)
