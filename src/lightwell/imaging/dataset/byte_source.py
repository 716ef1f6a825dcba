"""Random access to the bytes of one file, whole in memory or on disk."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

HEAD = 65_536

# A file inflated to this many bytes may take at most nine tenths of the free space.
_LARGE, _SHARE = 256 << 20, 9


def fills_disk(fd: int, size: int) -> bool:
    """Whether ``size`` bytes that were inflated into ``fd`` take nine tenths of the space that was free.

    A small file that inflates to more than the disk can hold would fill it at every attempt, and its job
    would wait for space forever. Below 256 MiB the cause is a full disk, not the file.
    """
    if size < _LARGE:
        return False
    disk = os.fstatvfs(fd)
    return size > _SHARE * disk.f_bavail * disk.f_frsize


class Source(Protocol):
    """The bytes of one file; ``read`` gives fewer than ``length`` bytes only at the end of the file."""

    size: int

    def read(self, offset: int, length: int) -> bytes: ...


class Scratch(Protocol):
    """A new file on disk that is encrypted while it is written."""

    def write(self, data: bytes) -> None: ...

    def source(self, fd: int) -> FileSource:
        """What was written, read from an open descriptor, which the source takes over also if this fails."""


class BytesSource:
    """A file in memory."""

    __slots__ = ("_data", "size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FileSource:
    """A file on disk, read by ``pread``; its first `HEAD` bytes are read once and buffered.

    ``size`` is that at opening: a file that grows is read up to there, reads of one that shrinks are short.
    """

    __slots__ = ("_fd", "_head", "_start", "size")

    def __init__(self, path: Path | str) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.size = os.fstat(self._fd).st_size
        self._head = b""
        self._start = 0

    @classmethod
    def part(cls, fd: int, start: int, length: int) -> Self:
        """A source over a range of an open file, as `adopt`; the range ends with the file."""
        self = cls.adopt(fd)
        self._start = start
        self.size = max(0, min(length, self.size - start))
        return self

    @classmethod
    def adopt(cls, fd: int) -> Self:
        """A source over an open file descriptor, which it takes over and closes."""
        self = cls.__new__(cls)
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._head = b""
        self._start = 0
        return self

    def read(self, offset: int, length: int) -> bytes:
        end = offset + length
        if end <= HEAD:
            if not self._head:
                self._head = self._pread(0, HEAD)
            return self._head[offset:end]
        return self._pread(offset, length)

    def _pread(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        return self._read_at(self._start + offset, length)

    def _read_at(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        while len(data) < length:  # pread stops at 2 GiB
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
