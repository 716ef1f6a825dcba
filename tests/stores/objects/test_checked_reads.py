"""Frames are compared when they are read, in whole and in part."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from lightwell.domain.image_sets.frame_checks import BLOCK, Prefix
from lightwell.errors import DamagedError
from lightwell.stores.objects import checked_reads
from lightwell.stores.objects.checked_reads import CheckedSpan
from lightwell.stores.objects.local import LocalObjects

KEY, BEFORE = "packs/00/x.pack", 11


class Cached(LocalObjects):
    """Objects behind a cache in which bits may be wrong."""

    wrong: int | None = None
    asked_again = 0

    def read(self, key: str, offset: int, length: int) -> bytes:
        data = bytearray(super().read(key, offset, length))
        if self.wrong is not None and offset <= self.wrong < offset + length:
            data[self.wrong - offset] ^= 1
        return bytes(data)

    def read_again(self, key: str, offset: int, length: int) -> bytes:
        self.asked_again += 1
        return super().read(key, offset, length)


def stored(tmp_path: Path, data: bytes) -> Cached:
    objects = Cached(tmp_path)
    objects.put(KEY, bytes(BEFORE) + data + b"after")
    return objects


def flip(tmp_path: Path, place: int) -> None:
    path = tmp_path / KEY
    data = bytearray(path.read_bytes())
    data[BEFORE + place] ^= 1
    path.write_bytes(data)


def span_of(data: bytes, *levels: int) -> CheckedSpan:
    blocks = tuple(zlib.crc32(data[:end]) for end in range(BLOCK, len(data), BLOCK))
    prefixes = tuple(Prefix(end, zlib.crc32(data[:end])) for end in levels)
    return CheckedSpan(KEY, BEFORE, len(data), zlib.crc32(data), prefixes, blocks)


def whole(objects: Cached, crc: int | None) -> bytes:
    return checked_reads.read_part(objects, CheckedSpan(KEY, BEFORE, 256, crc), 0, 256)


def test_gives_a_whole_frame_only_as_it_was_stored(tmp_path: Path) -> None:
    data = bytes(range(256))
    objects, crc = stored(tmp_path, data), zlib.crc32(data)
    assert whole(objects, crc) == data
    assert checked_reads.read_warm(objects, KEY, BEFORE, 256, crc) in (data, None)
    flip(tmp_path, 100)
    with pytest.raises(DamagedError, match=r"x\.pack, 256 bytes at 11.*lightwell data verify"):
        whole(objects, crc)
    assert checked_reads.read_warm(objects, KEY, BEFORE, 256, crc) is None
    assert whole(objects, None) != data


def test_looks_past_a_cache_that_is_wrong(tmp_path: Path) -> None:
    data = bytes(range(256))
    objects = stored(tmp_path, data)
    objects.wrong = BEFORE + 3
    assert whole(objects, zlib.crc32(data)) == data
    assert objects.asked_again == 1


@pytest.mark.parametrize("size", [300, BLOCK, 2 * BLOCK + 300, 5 * BLOCK + 1])
def test_checks_every_part_of_a_frame(tmp_path: Path, size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    objects, span = stored(tmp_path, data), span_of(data, 90, 200)
    parts = [(0, 90), (0, 200), (0, size), (0, 1), (100, 50), (size - 1, 1), (size // 2, size - size // 2)]
    for start, length in parts:
        assert checked_reads.read_part(objects, span, start, length) == data[start : start + length]
    for start in (0, 7):
        assert b"".join(checked_reads.pieces(objects, span, start)) == data[start:]
    flip(tmp_path, size - 100)
    with pytest.raises(DamagedError):
        checked_reads.read_part(objects, span, size - 101, 100)
    with pytest.raises(DamagedError):
        list(checked_reads.pieces(objects, span, 7))
    # What lies before the damage can be proved without it.
    assert checked_reads.read_part(objects, span, 0, 200) == data[:200]


def test_proves_parts_of_a_long_frame_without_checks_of_its_blocks_by_the_whole(tmp_path: Path) -> None:
    """Also up to a level that ends far behind the beginning; the whole is read once for all its parts."""
    data = (bytes(range(251)) * (6 * BLOCK // 251 + 1))[: 6 * BLOCK]
    objects, span = stored(tmp_path, data), replace(span_of(data, 5 * BLOCK + 7), blocks=())
    assert checked_reads.range_of(span, BLOCK, 5) is None
    objects.wrong = BEFORE + 2 * BLOCK
    for start, length in ((BLOCK, 5), (3, 5 * BLOCK + 4), (2 * BLOCK - 1, 2)):
        assert checked_reads.read_part(objects, span, start, length) == data[start : start + length]
    assert checked_reads.range_of(span, BLOCK, 5) is not None
    assert b"".join(checked_reads.pieces(objects, span, 7)) == data[7:]
    objects.wrong = None
    flip(tmp_path, BLOCK + 2)
    other = replace(span, offset=BEFORE - 1, length=6 * BLOCK + 1)  # of which nothing is known yet
    for known, start in ((span, BLOCK), (other, 0)):
        with pytest.raises(DamagedError):
            checked_reads.read_part(objects, known, start, 5)


def test_withholds_the_end_of_a_long_frame_without_checks_of_its_blocks(tmp_path: Path) -> None:
    data = bytes(5 * BLOCK)
    objects, span = stored(tmp_path, data), replace(span_of(data), blocks=())
    assert b"".join(checked_reads.pieces(objects, span)) == data
    flip(tmp_path, 3)
    found = b""
    with pytest.raises(DamagedError):
        for piece in checked_reads.pieces(objects, span):
            found += piece
    assert len(found) < len(data)
