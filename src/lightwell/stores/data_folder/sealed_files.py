"""Sealed files outside the storage: of the spool, and those that the console takes for an import job.

The key of a file of the spool is made with it and stands nowhere but in the memory of the processes that use
it: what a crash leaves behind can be opened by nobody. That of an uploaded file comes of its data store's key
and its name (`stores.keys.uploaded_files`), and the file begins with `HEAD` bytes, of which the first are
`UPLOADED`. A file is cut into segments as packs are (`sealing.segments`), as one item.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from lightwell.errors import DamagedError
from lightwell.sealing.errors import SealError

_STEP = 512 << 10
"""Segments end at multiples of this: `sealing.segments.STEP`, which is not loaded before it is needed."""
_PIECE = 8 * _STEP
UPLOADED = b"LWU1"
HEAD = len(UPLOADED) + 8


_MOST_AROUND, _TAG = 160, 16
"""Bytes around the segments: `HEAD`, the head of `sealing.segments`, lengths; and behind each of them."""


def largest_object(size: int) -> int:
    """At most so many bytes has an object of `UPLOADED`, of whose file there are ``size``."""
    return size + _MOST_AROUND + _TAG * (size // _STEP + 2)


class SpooledFileDamagedError(DamagedError):
    """A sealed file of the spool is not what was written."""


@dataclass(frozen=True, slots=True)
class FileKey:
    """What opens one sealed file, and nothing else. ``start``: where in the file it begins."""

    grant: bytes
    seal: bytes
    start: int = 0


@dataclass(frozen=True, slots=True)
class FileGrant:
    """What seals one file, which begins with ``head``."""

    grant: bytes
    head: bytes


class FileSealer:
    """Encrypts a file while it is written; ``out`` gets its bytes.

    Without what is ``granted`` the key is in the memory of this process only.
    """

    def __init__(self, out: Callable[[bytes], Any], granted: FileGrant | None = None) -> None:
        from lightwell.sealing.segments import Sealer, new_grant

        self._granted = FileGrant(new_grant(), b"") if granted is None else granted
        if self._granted.head:
            out(self._granted.head)
        self._sealer = Sealer(self._granted.grant, out)

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self._sealer.write(data)

    def finish(self) -> FileKey:
        """End the file; nothing can be written afterwards."""
        seal, granted = self._sealer.finish(), self._granted
        return FileKey(granted.grant, seal, len(granted.head))


class FileOpener:
    """Reads a sealed file, for one thread. ``size`` are its plain bytes.

    Raises `SpooledFileDamagedError` where the file is not the one that the key was made with.
    """

    def __init__(self, key: FileKey) -> None:
        from lightwell.sealing.segments import PackCipher

        try:
            self._cipher = PackCipher(key.grant, key.seal)
        except SealError:
            raise _damaged() from None
        self.size = self._cipher.size
        self._start = key.start
        self._window, self._window_at = b"", 0

    def read(self, fd: int, offset: int, length: int) -> bytes:
        """Plain bytes of the file; fewer only at its end. Raises `OSError`, too."""
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        if end - offset > _STEP:
            return self._long(fd, offset, end)
        # Most reads go on where the one before ended, and a segment is opened as a whole.
        if offset < self._window_at or end > self._window_at + len(self._window):
            first = offset - offset % _STEP
            self._window = self._open(fd, first, min(-(-end // _STEP) * _STEP, self.size))
            self._window_at = first
        return self._window[offset - self._window_at : end - self._window_at]

    def open_whole(self, data: bytes) -> bytes:
        """The plain bytes of a file whose bytes are ``data``."""
        if not self.size:
            return b""
        place, count = self._cipher.range_of(0, self.size)
        whole = memoryview(data)[self._start + place :][:count]
        try:
            if len(whole) == count:
                return self._cipher.open(whole, 0, self.size)
        except SealError:
            pass
        raise _damaged()

    def _long(self, fd: int, offset: int, end: int) -> bytes:
        """Little more memory than the bytes take."""
        found = BytesIO()
        while offset < end:
            stop = min((offset // _PIECE + 1) * _PIECE, end)
            found.write(self._open(fd, offset, stop))
            offset = stop
        return found.getvalue()

    def _open(self, fd: int, offset: int, end: int) -> bytes:
        place, count = self._cipher.range_of(offset, end - offset)
        place += self._start
        data = os.pread(fd, count, place)
        while len(data) < count:
            more = os.pread(fd, count - len(data), place + len(data))
            if not more:
                raise _damaged()
            data += more
        try:
            return self._cipher.open(data, offset, end - offset)
        except SealError:
            raise _damaged() from None


def _damaged() -> SpooledFileDamagedError:
    return SpooledFileDamagedError(
        "The encrypted copy of the file, in DATA/spool or among what the console took, was damaged before "
        "it was read: check the disk, and send or import the file again"
    )
