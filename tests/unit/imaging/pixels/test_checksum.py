"""Checksums of samples and of stored bytes, and where frames can be cut."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from lightwell.domain.image_sets.frame_checks import BLOCK, FrameChecks, Prefix
from lightwell.imaging.dataset.transfer_syntaxes import JPEG2000_LOSSLESS
from lightwell.imaging.pixels import htj2k, jpeg2000
from lightwell.imaging.pixels.checksum import (
    bytes_checksum,
    checks_of,
    frame_checks,
    frame_checksum,
    level_ends,
)
from lightwell.imaging.pixels.codestream_structure import read_structure
from tests.unit.imaging.pixel_files import noise

SIDE = 200


def test_is_the_crc_of_interleaved_little_endian_samples() -> None:
    samples = noise((5, 7, 3), "u2")
    assert frame_checksum(samples) == zlib.crc32(samples.astype("<u2").tobytes())


def test_does_not_depend_on_the_layout_in_memory() -> None:
    samples = noise((5, 7), "i2")
    assert frame_checksum(samples.astype(">i2")) == frame_checksum(samples)
    assert frame_checksum(np.asfortranarray(samples)) == frame_checksum(samples)


def test_reads_frames_that_may_not_be_written() -> None:
    samples = np.frombuffer(b"\x01\x02\x03\x04", "<u2")
    assert frame_checksum(samples) == zlib.crc32(b"\x01\x02\x03\x04")


def test_is_the_same_over_bytes_in_pieces() -> None:
    assert bytes_checksum([b"ab", b"", b"c"]) == zlib.crc32(b"abc")


def frame(shape: tuple[int, ...] = (SIDE, SIDE)) -> tuple[bytes, int]:
    samples = np.random.default_rng(3).integers(0, 255, shape).astype(np.uint8)
    return htj2k.encode(samples, "RGB" if len(shape) == 3 else "MONOCHROME2")


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, SIDE, 3), (65, 65), (600, 70)])
def test_finds_the_end_of_every_resolution(shape: tuple[int, ...]) -> None:
    data, head = frame(shape)
    ends = level_ends(data, head)
    assert len(ends) == htj2k.decompositions(*shape[:2])
    assert ends == sorted(set(ends)) and head < ends[0] and ends[-1] < len(data) - 2
    # What follows each is a tile-part of the next resolution, of its only tile.
    for number, end in enumerate(ends, 1):
        marker, _, tile, _, part, _ = struct.unpack_from(">HHHIBB", data, end)
        assert (marker, tile, part) == (0xFF90, 0, number)
    checks = frame_checks((data[:100], data[100:]), htj2k.UID, head)
    assert checks.levels == tuple(Prefix(end, zlib.crc32(data[:end])) for end in ends)
    assert checks.checksum == zlib.crc32(data)


def codestream(parts: list[tuple[int, int]], *, levels: int = 1, tlm: bool = True, order: int = 2) -> bytes:
    """Two tiles of 64 x 64, with tile-parts (tile, number) of 20 bytes each; nothing that decodes."""
    siz = struct.pack(">HIIIIIIIIHBBB", 0, 128, 64, 0, 0, 64, 64, 0, 0, 1, 7, 1, 1)
    cod = struct.pack(">BBHBBBBBB", 0, order, 1, 0, levels, 4, 4, 0, 1)
    qcd = bytes([0x20, *[8] * (3 * levels + 1)])
    listed = b"".join(struct.pack(">BI", tile, 20) for tile, _ in parts)
    segments = [(0xFF51, siz), (0xFF52, cod), (0xFF5C, qcd)]
    if tlm:
        segments.append((0xFF55, b"\x00\x50" + listed))
    header = b"\xff\x4f" + b"".join(
        struct.pack(">HH", marker, len(body) + 2) + body for marker, body in segments
    )
    made = [
        struct.pack(">HHHIBB", 0xFF90, 10, tile, 20, number, 0) + b"\xff\x93" + bytes(6)
        for tile, number in parts
    ]
    return header + b"".join(made) + b"\xff\xd9"


def test_cuts_several_tiles_only_where_all_are_complete() -> None:
    by_resolution = codestream([(0, 0), (1, 0), (0, 1), (1, 1)])
    start = read_structure(by_resolution).header_length
    assert level_ends(by_resolution, 0) == [start + 40]
    assert level_ends(b"boxes" + by_resolution, 5) == [5 + start + 40]
    assert level_ends(codestream([(0, 0), (0, 1), (1, 0), (1, 1)]), 0) == []


def test_has_a_checksum_of_the_whole_only_where_a_frame_cannot_be_cut() -> None:
    parts = [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert level_ends(codestream(parts, tlm=False), 0) == []
    assert level_ends(codestream(parts, order=0), 0) == []  # LRCP
    assert level_ends(codestream(parts, levels=2), 0) == []  # too few tile-parts
    assert level_ends(codestream([(0, 0), (1, 0)]), 0) == []
    assert level_ends(codestream(parts)[:-30], 0) == []
    wrong = codestream(parts).replace(struct.pack(">BI", 1, 20), struct.pack(">BI", 1, 21), 1)
    assert level_ends(wrong, 0) == []
    assert level_ends(b"no codestream", 0) == []
    other = jpeg2000.encode(np.zeros((SIDE, SIDE), np.uint8), "MONOCHROME2")
    assert frame_checks((other,), JPEG2000_LOSSLESS, 0) == FrameChecks(zlib.crc32(other))


@pytest.mark.parametrize("size", [0, 1, 1000, BLOCK + 7])
def test_computes_the_same_of_any_pieces(size: int) -> None:
    data = np.random.default_rng(1).bytes(2 * BLOCK + BLOCK // 2)
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size > 1 else [b"", data]
    ends = [500, BLOCK, BLOCK + 3]
    found = checks_of(pieces, ends)
    assert found.checksum == zlib.crc32(data)
    assert found.levels == tuple(Prefix(end, zlib.crc32(data[:end])) for end in ends)
    assert found.blocks == (zlib.crc32(data[:BLOCK]), zlib.crc32(data[: 2 * BLOCK]))
    assert checks_of([data[: 2 * BLOCK]]).blocks == (zlib.crc32(data[:BLOCK]),)
    assert checks_of([]) == FrameChecks(0)
