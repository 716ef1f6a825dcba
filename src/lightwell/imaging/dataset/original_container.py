"""The original of an instance: its file meta and data set without the pixel element, compressed.

A container that is written in one pass and read at any offset::

    "LWO1" · bytes of file meta (u32) · bytes in total (u64)        all little-endian
    zstd frames, each of 1 MiB of the original, the last of the remainder; each ends with the checksum of its
        content, which is compared whenever it is read (earlier releases left it out)
    a skippable frame of zstd (RFC 8878 §3.1.2) of 12 bytes: the CRC-32 of head and index (as before)
    length of each zstd frame (u32 each); that of the last includes the skippable frame

The number of frames follows from the bytes in total, so the lengths are found from the end. A large value can
be read on its own: only the frames that it touches are decompressed. The data set of a deflated file is
stored inflated.

Earlier releases read a container with the skippable frame as one without, since a decompressor ends with the
content of its frame; they may run beside this one during an upgrade.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import zstandard

from lightwell.errors import DamagedError
from lightwell.imaging.dataset.byte_source import Source

BLOCK = 1 << 20
_HEAD = struct.Struct("<4sIQ")
_MAGIC = b"LWO1"
# The CRC-32 of head and index, as a skippable frame of zstd whose content is 4 bytes long.
_SEAL = struct.Struct("<III")
_SKIPPABLE = 0x184D2A5A
_LEVEL = 3
_T = TypeVar("_T")
_compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)


def write_original(
    file_meta: bytes,
    source: Source,
    ranges: Iterable[tuple[int, int]],
    append: Callable[[bytes], int],
) -> tuple[int, int]:
    """Append the container and return its (offset, length); ``append`` returns the offset of each piece.

    ``ranges`` are the (offset, length) in ``source`` that make up the data set without the pixel element;
    they are clipped to the source. Uses about two MiB of memory.
    """
    clipped = _clipped(ranges, source.size)
    total = len(file_meta) + sum(length for _, length in clipped)
    head = _HEAD.pack(_MAGIC, len(file_meta), total)
    offset = append(head)
    end = offset + _HEAD.size
    lengths: list[int] = []
    for block in _blocks(file_meta, source, clipped):
        frame = _compressor.compress(block)
        append(frame)
        lengths.append(len(frame))
    if lengths:
        lengths[-1] += _SEAL.size
    index = struct.pack(f"<{len(lengths)}I", *lengths)
    if index:
        append(_SEAL.pack(_SKIPPABLE, 4, zlib.crc32(index, zlib.crc32(head))) + index)
    end += sum(lengths) + len(index)
    return offset, end - offset


def _clipped(ranges: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The parts of (offset, length) ranges that lie within ``size`` bytes."""
    return [(start, min(length, size - start)) for start, length in ranges if start < size]


def _blocks(file_meta: bytes, source: Source, ranges: list[tuple[int, int]]) -> Iterator[bytes]:
    pending = bytearray(file_meta)
    for start, length in ranges:
        done = 0
        while done < length:
            piece = source.read(start + done, min(BLOCK, length - done))
            if not piece:
                raise OSError("the file was truncated while it was read")
            pending += piece
            done += len(piece)
            while len(pending) >= BLOCK:
                yield bytes(pending[:BLOCK])
                del pending[:BLOCK]
    if pending:
        yield bytes(pending)


def has_same_original(
    stored: Original, file_meta: bytes, source: Source, ranges: Iterable[tuple[int, int]]
) -> bool:
    """Whether `write_original` of these would store the same bytes as ``stored`` has."""
    clipped = _clipped(ranges, source.size)
    total = len(file_meta) + sum(length for _, length in clipped)
    if (stored.meta_length, stored.size) != (len(file_meta), total):
        return False
    pairs = zip(stored.stream(), _blocks(file_meta, source, clipped), strict=True)
    return all(ours == theirs for ours, theirs in pairs)


class Original:
    """Random access to an original; a `Source` whose data set starts at ``meta_length``.

    ``read_pack(offset, length)`` reads from the object that has the container. What turns out to be damaged
    is read once more by ``read_again``, which no cache stands before, if there is one. Raises `DamagedError`
    if it is still damaged.
    """

    def __init__(
        self,
        read_pack: Callable[[int, int], bytes],
        offset: int,
        length: int,
        read_again: Callable[[int, int], bytes] | None = None,
    ) -> None:
        self._read_pack = read_pack
        self._read_again = read_again
        self.meta_length, self.size, self._frames = self._twice(lambda read: _head(read, offset, length))
        self._decompressor = zstandard.ZstdDecompressor()
        self._last: tuple[int, bytes] = (-1, b"")

    def _twice(self, look: Callable[[Callable[[int, int], bytes]], _T]) -> _T:
        try:
            return look(self._read_pack)
        except DamagedError:
            if self._read_again is None:
                raise
            return look(self._read_again)

    def _block(self, number: int) -> bytes:
        if self._last[0] != number:
            self._last = (number, self._twice(lambda read: self._decompressed(read, number)))
        return self._last[1]

    def _decompressed(self, read_pack: Callable[[int, int], bytes], number: int) -> bytes:
        try:
            block = self._decompressor.decompress(read_pack(*self._frames[number]), max_output_size=BLOCK)
        except zstandard.ZstdError:
            raise _damaged() from None
        if len(block) != min(BLOCK, self.size - number * BLOCK):
            raise _damaged()
        return block

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of file meta and data set; fewer than ``length`` only at the end."""
        end = min(offset + length, self.size)
        pieces = []
        while offset < end:
            number, start = divmod(offset, BLOCK)
            piece = self._block(number)[start : start + end - offset]
            pieces.append(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def file_meta(self) -> bytes:
        return self.read(0, self.meta_length)

    def stream(self) -> Iterator[bytes]:
        """The whole original, in pieces of at most 1 MiB."""
        for number in range(len(self._frames)):
            yield self._block(number)

    def __bytes__(self) -> bytes:
        return b"".join(self.stream())


def _head(
    read_pack: Callable[[int, int], bytes], offset: int, length: int
) -> tuple[int, int, list[tuple[int, int]]]:
    """Bytes of file meta, bytes in total, and (offset, length) of each zstd frame."""
    if length < _HEAD.size:
        raise _damaged()
    head = read_pack(offset, _HEAD.size)
    magic, meta_length, size = _HEAD.unpack(head)
    count = -(-size // BLOCK)
    index_size = 4 * count
    if magic != _MAGIC or meta_length > size or _HEAD.size + index_size > length:
        raise _damaged()
    if not count:
        if length != _HEAD.size:
            raise _damaged()
        return meta_length, size, []
    # What stands before the index is the seal, or the end of a frame of an earlier release.
    before = min(_SEAL.size, length - _HEAD.size - index_size)
    tail = read_pack(offset + length - index_size - before, before + index_size)
    index = tail[before:]
    if before == _SEAL.size:
        mark, bytes_in_it, checksum = _SEAL.unpack_from(tail)
        if (mark, bytes_in_it) == (_SKIPPABLE, 4) and checksum != zlib.crc32(index, zlib.crc32(head)):
            raise _damaged()
    lengths = struct.unpack(f"<{count}I", index)
    if _HEAD.size + sum(lengths) + index_size != length:
        raise _damaged()
    frames = []
    start = offset + _HEAD.size
    for each in lengths:
        frames.append((start, each))
        start += each
    return meta_length, size, frames


def read_original(read_pack: Callable[[int, int], bytes], offset: int, length: int) -> bytes:
    """The whole original: file meta, then the data set without the pixel element. As `Original` reads it."""
    return bytes(Original(read_pack, offset, length))


def _damaged() -> DamagedError:
    return DamagedError("An original data set in a pack is damaged; run `lightwell data verify`.")
