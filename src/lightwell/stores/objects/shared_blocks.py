"""Memory in which the processes of a server hand blocks of S3 to one another before they are on the disk.

Made before they are forked. Nothing is locked: who reads a block copies it out, and compares it with the
CRC-32 in its head, which is seeded with its name and place, so that what another process is just writing
there, or has written over it, counts as not there.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Iterator

from isal import isal_zlib

BLOCK = 1 << 18
"""The most bytes of a block."""

_WAYS = 4  # places that a block may have
_NAME = struct.Struct("<4s64sI")  # magic, object, block
_REST = struct.Struct("<IIQI")  # length, CRC-32 of the block, when it was written, CRC-32 of all of these
_HEAD = 128
_MAGIC = b"lws1"
_NOTHING = bytes(_HEAD)


class SharedBlocks:
    """``size`` bytes, which are taken from the system when they are first written."""

    def __init__(self, size: int = 64 << 20) -> None:
        self._sets = max(1, size // (BLOCK * _WAYS))
        count = self._sets * _WAYS
        self._map = mmap.mmap(-1, count * (_HEAD + BLOCK))
        self._view = memoryview(self._map)
        self._data = count * _HEAD

    def put(self, key: str, block: int, data: bytes, checksum: int) -> None:
        """``checksum`` is `checksum` of these three. A name that is too long is not kept."""
        if len(key) > 64 or len(data) > BLOCK:
            return
        name = _name(key, block)
        oldest, place = 1 << 64, -1
        for index in self._places(key, block):
            head = self._head(index)
            found = _read(head)
            if found is not None and head.startswith(name):
                return
            stamp = -1 if found is None else found[2]
            if stamp < oldest:
                oldest, place = stamp, index
        self._write_head(place, _NOTHING)
        start = self._data + place * BLOCK
        self._view[start : start + len(data)] = data
        head = name + _REST.pack(len(data), checksum, time.monotonic_ns(), 0)[:-4]
        self._write_head(place, head + isal_zlib.crc32(head).to_bytes(4, "little"))

    def get(self, key: str, block: int) -> bytes | None:
        """The block, if it is here, whole and undamaged."""
        for head, index in self._found(key, block):
            found = _read(head)
            if found is not None:
                length, proof, _ = found
                start = self._data + index * BLOCK
                data = bytes(self._view[start : start + length])
                if checksum(key, block, data) == proof:
                    return data
                if self._head(index) == head:
                    # Two processes have written here at once: otherwise it would seem to be here for long.
                    self._write_head(index, _NOTHING)
        return None

    def has(self, key: str, block: int) -> bool:
        """Whether the block is likely to be here."""
        return any(_read(head) is not None for head, _ in self._found(key, block))

    def drop(self, key: str) -> None:
        """Overwrite every block of an object."""
        for index in range(self._sets * _WAYS):
            if _key(self._head(index)) == key:
                self._write_head(index, _NOTHING)
                start = self._data + index * BLOCK
                self._view[start : start + BLOCK] = bytes(BLOCK)

    def keys(self) -> set[str]:
        """The objects of which blocks are here."""
        found = {_key(self._head(index)) for index in range(self._sets * _WAYS)}
        return {key for key in found if key is not None}

    def _places(self, key: str, block: int) -> range:
        begin = (isal_zlib.crc32(key.encode()) + block) % self._sets * _WAYS
        return range(begin, begin + _WAYS)

    def _found(self, key: str, block: int) -> Iterator[tuple[bytes, int]]:
        if len(key) > 64:
            return
        name = _name(key, block)
        for index in self._places(key, block):
            head = self._head(index)
            if head.startswith(name):
                yield head, index

    def _head(self, index: int) -> bytes:
        return self._map[index * _HEAD : index * _HEAD + _NAME.size + _REST.size]

    def _write_head(self, index: int, head: bytes) -> None:
        self._map[index * _HEAD : index * _HEAD + len(head)] = head


def checksum(key: str, block: int, data: bytes) -> int:
    """CRC-32 of a block, seeded with its name and place."""
    return isal_zlib.crc32(data, isal_zlib.crc32(b"%s:%d" % (key.encode(), block)))


def _name(key: str, block: int) -> bytes:
    return _NAME.pack(_MAGIC, key.encode(), block)


def _read(head: bytes) -> tuple[int, int, int] | None:
    """Length, CRC-32 and time of the block; None if there is none."""
    length, proof, stamp, of_head = _REST.unpack_from(head, _NAME.size)
    if not 0 < length <= BLOCK or isal_zlib.crc32(head[:-4]) != of_head:
        return None
    return length, proof, stamp


def _key(head: bytes) -> str | None:
    if _read(head) is None:
        return None
    return bytes(_NAME.unpack_from(head)[1]).rstrip(b"\0").decode()
