"""The container of an original data set."""

from __future__ import annotations

import contextlib
import os
import struct

import pytest
import zstandard

from lightwell.errors import DamagedError, StorageError
from lightwell.imaging.dataset.byte_source import BytesSource
from lightwell.imaging.dataset.original_container import BLOCK, Original, read_original, write_original


class Pack:
    def __init__(self) -> None:
        self.data = bytearray(b"before")

    def append(self, data: bytes) -> int:
        offset = len(self.data)
        self.data += data
        return offset

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])


@pytest.mark.parametrize("size", [0, 1, 5000, BLOCK - 4, BLOCK, BLOCK + 1, 3 * BLOCK + 17])
def test_gives_back_meta_and_data_set_without_the_pixels(size: int) -> None:
    head, tail = os.urandom(size), b"tail" * 10
    source = BytesSource(b"P" * 10 + head + b"pixels" + tail)
    pack = Pack()
    place = write_original(b"meta", source, [(10, size), (10 + size + 6, len(tail))], pack.append)
    pack.append(b"after")
    assert read_original(pack.read, *place) == b"meta" + head + tail
    original = Original(pack.read, *place)
    assert original.file_meta() == b"meta"
    assert original.size == 4 + size + len(tail)


def test_reads_any_place_alone() -> None:
    data = os.urandom(4 * BLOCK + 5)
    pack = Pack()
    original = Original(pack.read, *write_original(b"", BytesSource(data), [(0, len(data))], pack.append))
    for offset, length in [
        (0, 1),
        (BLOCK - 1, 2),
        (BLOCK, BLOCK),
        (17, 3 * BLOCK),
        (4 * BLOCK, 99),
        (len(data), 5),
    ]:
        assert original.read(offset, length) == data[offset : offset + length]


def test_says_so_when_it_is_damaged() -> None:
    pack = Pack()
    offset, length = write_original(b"meta", BytesSource(b"x" * 100), [(0, 100)], pack.append)
    pack.data[offset + 20] ^= 0xFF
    with pytest.raises(StorageError):
        read_original(pack.read, offset, length)
    with pytest.raises(StorageError):
        read_original(pack.read, offset, length - 1)


@pytest.mark.parametrize("place", ["head", "block", "index"])
def test_reads_once_more_past_the_cache_what_is_damaged(place: str) -> None:
    data = os.urandom(2 * BLOCK + 5)
    pack = Pack()
    offset, length = write_original(b"meta", BytesSource(data), [(0, len(data))], pack.append)
    cached = Pack()
    cached.data[:] = pack.data
    cached.data[offset + {"head": 1, "block": 500, "index": length - 1}[place]] ^= 0x01
    with pytest.raises(DamagedError):
        read_original(cached.read, offset, length)
    assert bytes(Original(cached.read, offset, length, pack.read)) == b"meta" + data
    with pytest.raises(DamagedError):
        bytes(Original(cached.read, offset, length, cached.read))


def test_answers_no_flipped_bit_of_head_and_index_with_other_bytes() -> None:
    data = os.urandom(2 * BLOCK + 5)
    pack = Pack()
    offset, length = write_original(b"meta", BytesSource(data), [(0, len(data))], pack.append)
    index = length - 4 * 3
    for place in (*range(16), *range(index - 12, length)):
        for bit in range(8):
            flipped = Pack()
            flipped.data[:] = pack.data
            flipped.data[offset + place] ^= 1 << bit
            if index - 12 <= place < index - 4:
                # Of what says that there is a checksum: then there is none to compare with.
                with contextlib.suppress(DamagedError):
                    assert read_original(flipped.read, offset, length) == b"meta" + data
                continue
            with pytest.raises(DamagedError):
                Original(flipped.read, offset, length)


def test_reads_what_earlier_releases_wrote() -> None:
    data = os.urandom(2 * BLOCK + 5)
    pieces = [b"meta" + data[: BLOCK - 4], data[BLOCK - 4 : 2 * BLOCK - 4], data[2 * BLOCK - 4 :]]
    frames = [zstandard.ZstdCompressor(level=3).compress(piece) for piece in pieces]
    pack = Pack()
    offset = pack.append(struct.pack("<4sIQ", b"LWO1", 4, 4 + len(data)) + b"".join(frames))
    pack.append(struct.pack("<3I", *map(len, frames)))
    original = Original(pack.read, offset, len(pack.data) - offset)
    assert (original.file_meta(), bytes(original)) == (b"meta", b"meta" + data)


def test_writes_what_earlier_releases_read() -> None:
    """They took each frame by its length, and decompressed it alone."""
    data = os.urandom(BLOCK + 5)
    pack = Pack()
    offset, length = write_original(b"meta", BytesSource(data), [(0, len(data))], pack.append)
    container = pack.read(offset, length)
    magic, meta, size = struct.unpack_from("<4sIQ", container)
    lengths = struct.unpack("<2I", container[-8:])
    assert (magic, meta, size, 16 + sum(lengths) + 8) == (b"LWO1", 4, 4 + len(data), length)
    first = 16 + lengths[0]
    slots = container[16:first], container[first:-8]
    texts = [zstandard.ZstdDecompressor().decompress(slot, max_output_size=BLOCK) for slot in slots]
    assert b"".join(texts) == b"meta" + data
