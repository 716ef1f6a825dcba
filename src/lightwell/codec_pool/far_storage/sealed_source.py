"""Sealed files of the spool, as a codec worker reads and writes them."""

from __future__ import annotations

import os
from typing import Self

from lightwell.imaging.dataset.byte_source import BytesSource, FileSource
from lightwell.stores.data_folder.sealed_files import FileKey, FileOpener, FileSealer


class SealedSource(FileSource):
    """A file that is opened segment by segment as it is read.

    Reading raises `SpooledFileDamagedError` instead of giving bytes that nobody wrote.
    """

    __slots__ = ("_opener",)

    _opener: FileOpener

    @classmethod
    def of(cls, fd: int, opener: FileOpener, start: int = 0, length: int | None = None) -> Self:
        """A source over a range of an open file, as `FileSource.part`; ``start`` counts plain bytes."""
        self = cls.adopt(fd)
        self._opener = opener
        self._start = start
        rest = max(0, opener.size - start)
        self.size = rest if length is None else min(length, rest)
        return self

    def _read_at(self, offset: int, length: int) -> bytes:
        return self._opener.read(self._fd, offset, length)


def source_of(fd: int, key: FileKey | None) -> FileSource:
    """A source over an open file, sealed or not, which it takes over and closes, also if it fails."""
    if key is None:
        return FileSource.adopt(fd)
    try:
        return SealedSource.of(fd, FileOpener(key))
    except BaseException:
        os.close(fd)
        raise


def bytes_of(data: bytes, key: FileKey | None) -> BytesSource:
    """A source over a file in memory, sealed or not."""
    return BytesSource(data if key is None else FileOpener(key).open_whole(data))


class SealedScratch:
    """A new file of this worker, sealed: an `imaging.dataset.byte_source.Scratch`. Its key is here only."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sealer = FileSealer(self._out)

    def write(self, data: bytes) -> None:
        self._sealer.write(data)

    def source(self, fd: int) -> FileSource:
        return source_of(fd, self._sealer.finish())

    def _out(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
