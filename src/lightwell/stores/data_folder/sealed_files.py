"""Files of the spool that are sealed, each with a key of its own.

The key is made with the file and stands nowhere but in the memory of the processes that use it: what a crash
leaves behind can be opened by nobody. A file is cut into segments as packs are (`sealing.segments`), as one
item.
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


class SpooledFileDamagedError(DamagedError):
    """A sealed file of the spool is not what was written."""


@dataclass(frozen=True, slots=True)
class FileKey:
    """What opens one sealed file, and nothing else."""

    grant: bytes
    seal: bytes


class FileSealer:
    """Encrypts a file while it is written; ``out`` gets its bytes."""

    def __init__(self, out: Callable[[bytes], Any]) -> None:
        from lightwell.sealing.segments import Sealer, new_grant

        self._grant = new_grant()
        self._sealer = Sealer(self._grant, out)

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self._sealer.write(data)

    def finish(self) -> FileKey:
        """End the file; nothing can be written afterwards."""
        return FileKey(self._grant, self._sealer.finish())


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
        "The copy of the file in DATA/spool was damaged before it was read: check the disk of this server, "
        "and send or import the file again"
    )
