"""Copies one pack, comparing it with its checksum on the way, or reads it again."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, cast

from isal import isal_zlib

from lightwell.domain.integrity import PackToVerify
from lightwell.errors import DamagedError, StorageError, StorageUnavailableError
from lightwell.stores.backup.unsynced import UnsyncedObjects
from lightwell.stores.objects.interface import MissingObjectError, Objects
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import pack_name

_BLOCK, _CACHED = 4 << 20, 256 << 10

_Read = Callable[[str, int, int], bytes]


def copy_pack(old: Objects, new: Objects, pack: PackToVerify) -> str | None:
    """Copy a pack; what is wrong with it in ``old``, where it then is not copied, or None.

    Raises `StorageError` if one of them fails, the error of ``old`` as it is.
    """
    name = pack_name(pack.key)
    size = old.size(name)
    if size is None:
        return f"{old.address} does not have it"
    if size != pack.size:
        return f"it has {size} bytes in {old.address}, and should have {pack.size}"
    if isinstance(old, LocalObjects) and isinstance(new, UnsyncedObjects):
        source = _CheckedBlocks(old, pack)
        return _copied(source, old, new, pack, lambda: new.put_blocks(name, source.read()))
    # obstore, while it sends what it reads here, cannot fetch anything in the same thread.
    with ThreadPoolExecutor(1, thread_name_prefix="pack") as reader:
        raw = _CheckedPack(old.read if isinstance(old, LocalObjects) else _through(reader, old), pack)
        stream = cast("IO[bytes]", io.BufferedReader(raw, _BLOCK))
        return _copied(raw, old, new, pack, lambda: new.put_stream(name, stream, pack.size))


def _copied(
    source: _CheckedPack | _CheckedBlocks,
    old: Objects,
    new: Objects,
    pack: PackToVerify,
    put: Callable[[], None],
) -> str | None:
    try:
        put()
    except Exception as error:
        if source.fault is None or isinstance(source.fault, StorageUnavailableError):
            raise source.fault or error from error
        with suppress(StorageError):
            new.delete(pack_name(pack.key))
        return f"{source.fault} ({old.address})"
    return None


def _through(reader: ThreadPoolExecutor, objects: Objects) -> _Read:
    return lambda name, offset, length: reader.submit(objects.read, name, offset, length).result()


def pack_fault(objects: Objects, pack: PackToVerify) -> str | None:
    """What is wrong with a pack that is read again; None if all of it is as it was written."""
    name, place, found = pack_name(pack.key), 0, 0
    try:
        size = objects.size(name)
        if size != pack.size:
            return f"it has {size} bytes in {objects.address}, and should have {pack.size}"
        while place < pack.size:
            data = objects.read(name, place, min(_BLOCK, pack.size - place))
            found = isal_zlib.crc32(data, found)
            place += len(data)
    except MissingObjectError:
        return f"{objects.address} does not have it"
    if found != pack.checksum:
        return f"its checksum differs in {objects.address}"
    return None


class _CheckedPack(io.RawIOBase):
    """A pack of the old storage as a file whose last byte is given only if all are what was stored."""

    def __init__(self, read: _Read, pack: PackToVerify) -> None:
        self._read = read
        self._name = pack_name(pack.key)
        self._pack = pack
        self._place = self._summed = self._sum = 0
        self.fault: StorageError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._pack.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        length = min(len(view), self._pack.size - self._place)
        if length <= 0:
            return 0
        try:
            data = self._read(self._name, self._place, length)
            self._add(data)
        except StorageError as error:
            self.fault = error
            raise OSError(str(error)) from error
        view[:length] = data
        self._place += length
        return length

    def _add(self, data: bytes) -> None:
        new = data[self._summed - self._place :] if self._place <= self._summed else b""
        self._sum = isal_zlib.crc32(new, self._sum)
        self._summed += len(new)
        if self._summed == self._pack.size and self._sum != self._pack.checksum:
            raise DamagedError("its bytes have changed: its checksum differs")


class _CheckedBlocks:
    """The same of a pack in a folder, for which no more memory is needed than stays in a core's cache."""

    def __init__(self, objects: LocalObjects, pack: PackToVerify) -> None:
        self._objects = objects
        self._pack = pack
        self.fault: StorageError | None = None

    def read(self) -> Iterator[memoryview]:
        found = size = 0
        try:
            for block in self._objects.blocks(pack_name(self._pack.key), memoryview(bytearray(_CACHED))):
                found = isal_zlib.crc32(block, found)
                size += len(block)
                yield block
            if (size, found) != (self._pack.size, self._pack.checksum):
                raise DamagedError("its bytes have changed: its checksum differs")
        except StorageError as error:
            self.fault = error
            raise
