"""The cache of assembled documents: files that may be dropped at any time, and that a GET may write.

A document is ``ab/SET/VERSION-MARK-FORMAT`` below the root, written without an fsync: it begins with its
length and CRC-32, and a file that does not match them is ignored. MARK tells versions of one number apart
that were made before and after the database had gone back (`stores.image_sets.lookups.MARK`). The cache keeps
to ``limit`` bytes, and leaves some of the disk free (`free_space`), by dropping first what is not the latest
version of its image set, then what was read least recently. Several processes may share it; each looks at all
of it only after it has itself added a sixteenth of the limit. Those of encrypted data stores are sealed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from isal import isal_zlib

from lightwell.stores.data_folder.free_space import is_scarce

_HEAD = struct.Struct("<4sIQ")
_MAGIC = b"lwd1"
_PAUSE_SECONDS = 60.0  # between two looks at a disk that is nearly full
_OLD = 0o400  # the mode of a version that was not the latest when it was written


@dataclass(slots=True)
class _Entry:
    path: Path
    set_key: int
    version: int
    format: str
    size: int
    read_at: int
    old: bool


def _body(data: bytes) -> bytes | None:
    """The document in a file; None where it is not as it was written."""
    if len(data) < _HEAD.size:
        return None
    magic, checksum, length = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or length != len(body) or checksum != isal_zlib.crc32(body):
        return None
    return body


class Seals(Protocol):
    """What seals documents; `stores.keys.documents.SealedDocuments`. ``name`` is theirs below the root."""

    def seal(self, set_key: int, name: str, data: bytes) -> bytes | None:
        """What to keep of a document; None to keep nothing."""

    def open(self, name: str, kept: bytes) -> bytes | None:
        """The document, None if it cannot be opened."""


class DocumentCache:
    """``root`` is made on the first write; ``limit`` is bytes, 0 keeps nothing."""

    def __init__(self, root: Path, limit: int = 2 << 30, seals: Seals | None = None) -> None:
        self._seals = seals
        self.root = root.absolute()
        self.limit = limit
        self._added = limit  # so that the first write looks at what is there
        self._lock = threading.Lock()
        self._not_before = 0.0

    def get(self, set_key: int, version: int, mark: int, format: str) -> bytes | None:
        """The document, None if it is not cached. ``format`` is letters, digits and dots."""
        path = self._path(set_key, version, mark, format)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        body = _body(data)
        if body is not None and self._seals is not None:
            body = self._seals.open(str(path.relative_to(self.root)), body)
        if body is None:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # read now: eviction goes by it
        return body

    def put(
        self, set_key: int, version: int, mark: int, format: str, data: bytes, *, is_latest: bool = True
    ) -> None:
        """Cache a document; nothing is raised if that fails. The document of a version never changes."""
        size = _HEAD.size + len(data)
        if size > self.limit // 4:
            return
        path = self._path(set_key, version, mark, format)
        if self._seals is not None:
            sealed = self._seals.seal(set_key, str(path.relative_to(self.root)), data)
            if sealed is None:
                return
            data = sealed
            size = _HEAD.size + len(data)
        temporary: Path | None = None
        try:
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
            if is_scarce(path.parent, size):
                self._make_room()
                return
            fd, name = tempfile.mkstemp(prefix=".", dir=path.parent)
            temporary = Path(name)
            with os.fdopen(fd, "wb") as stream:
                stream.write(_HEAD.pack(_MAGIC, isal_zlib.crc32(data), len(data)))
                stream.write(data)
            if not is_latest:
                temporary.chmod(_OLD)
            temporary.rename(path)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink()
            return
        with self._lock:
            self._added += size
            if self._added < self.limit // 16:
                return
            self._added = 0
        self.evict()

    def _make_room(self) -> None:
        """What is stored needs the disk more than this cache does: give it back all of it, now and then."""
        with self._lock:
            if time.monotonic() < self._not_before:
                return
            self._not_before = time.monotonic() + _PAUSE_SECONDS
        self.evict(limit=0)

    def drop(self, set_key: int) -> None:
        """Drop every document of an image set on this host; other hosts drop theirs by `sweep`."""
        folder = self._folder(set_key)
        with contextlib.suppress(OSError):
            for path in list(folder.iterdir()):
                path.unlink(missing_ok=True)
            folder.rmdir()

    def sweep(self, is_active: Callable[[int], bool]) -> int:
        """Drop the documents of image sets that are no longer active. Returns the number of sets."""
        dropped = 0
        for set_key, _ in self._folders():
            if not is_active(set_key):
                self.drop(set_key)
                dropped += 1
        return dropped

    def check(self) -> Iterator[tuple[str, bool]]:
        """Each document and whether it is as it was written; what is not is dropped."""
        for entry in list(self._entries()):
            if entry.path.name.startswith("."):
                continue  # another process is writing it, or was killed then; nobody reads it
            name = str(entry.path.relative_to(self.root))
            try:
                data = entry.path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError:
                with contextlib.suppress(OSError):
                    entry.path.unlink()
                yield name, False  # it lies on sectors that cannot be read
                continue
            is_whole = _body(data) is not None
            if not is_whole:
                entry.path.unlink(missing_ok=True)
            yield name, is_whole

    def size(self) -> int:
        """Bytes that the cache takes now."""
        return sum(entry.size for entry in self._entries())

    def evict(self, limit: int | None = None) -> None:
        """Come down to nine tenths of the limit if it is exceeded; nothing if another process is at it."""
        limit = self.limit if limit is None else limit
        with contextlib.suppress(OSError), (self.root / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entries = list(self._entries())
            total = sum(entry.size for entry in entries)
            if total <= limit:
                return
            newest: dict[tuple[int, str], int] = {}
            for entry in entries:
                known = (entry.set_key, entry.format)
                newest[known] = max(newest.get(known, 0), entry.version)
            for entry in entries:
                entry.old = entry.old or entry.version < newest[entry.set_key, entry.format]
            entries.sort(key=lambda entry: (not entry.old, entry.read_at))
            for entry in entries:
                if total <= limit // 10 * 9:
                    return
                entry.path.unlink(missing_ok=True)
                total -= entry.size
                with contextlib.suppress(OSError):
                    entry.path.parent.rmdir()

    def _entries(self) -> Iterator[_Entry]:
        for set_key, folder in self._folders():
            try:
                paths = list(os.scandir(folder))
            except OSError:
                continue
            for found in paths:
                version, _, format = found.name.partition("-")
                _, is_marked, format = format.partition("-")
                with contextlib.suppress(OSError):
                    status = found.stat(follow_symlinks=False)
                    # A name without a number was left by a crash or is just being written, one without a mark
                    # by an earlier release: they count as old.
                    number = int(version) if version.isdigit() and is_marked else 0
                    old = number == 0 or status.st_mode & 0o777 == _OLD
                    read_at = status.st_mtime_ns
                    yield _Entry(Path(found.path), set_key, number, format, status.st_size, read_at, old)

    def _folders(self) -> Iterator[tuple[int, Path]]:
        with contextlib.suppress(OSError):
            for outer in sorted(self.root.iterdir()):
                if outer.name.startswith("."):
                    continue
                with contextlib.suppress(OSError, ValueError):
                    for inner in list(outer.iterdir()):
                        yield int(inner.name, 16), inner

    def _folder(self, set_key: int) -> Path:
        return self.root / f"{set_key & 0xFF:02x}" / f"{set_key:016x}"

    def _path(self, set_key: int, version: int, mark: int, format: str) -> Path:
        if not format.replace(".", "").isalnum() or format.startswith("."):
            raise ValueError(f"{format!r} is not a format of a document")
        return self._folder(set_key) / f"{version}-{mark:x}-{format}"
