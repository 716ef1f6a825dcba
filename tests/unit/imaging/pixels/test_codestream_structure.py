from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import pytest
from openjpeg.utils import encode_array

from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.codestream_structure import read_structure, without_wrong_tlm
from lightwell.imaging.pixels.decode import decode_frame
from tests.unit.imaging.pixel_files import image_of, noise, slope

GREY = slope((40, 60), "u1")
PLAIN = bytes(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k", reversible=True))
"""One tile in one tile-part."""
TILED = bytes(imagecodecs.htj2k_encode(GREY, reversible=True, tile=(16, 16)))
"""Twelve tiles."""

SIZ, SOT = 6, PLAIN.index(b"\xff\x90\0\x0a")
COD = PLAIN.index(b"\xff\x52\0\x0c")
QCD = PLAIN.index(b"\xff\x5c")


def changed(data: bytes, place: int, form: str, *values: int) -> bytes:
    """``data`` with ``values``, packed as ``form`` says, at ``place``."""
    new = struct.pack(">" + form, *values)
    return data[:place] + new + data[place + len(new) :]


def with_segment(segment: bytes, *, at: int = SOT, data: bytes = PLAIN) -> bytes:
    return data[:at] + segment + data[at:]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">HH", marker, len(body) + 2) + body


def coding(
    *, layers: int = 1, levels: int = 2, block: tuple[int, int] = (4, 4), precincts: bytes = b""
) -> bytes:
    body = struct.pack(">BBHB5B", bool(precincts), 0, layers, 0, levels, *block, 0, 1) + precincts
    return PLAIN[:COD] + segment(0xFF52, body) + PLAIN[COD + 14 :]


def test_reads_a_codestream_of_one_tile() -> None:
    found = read_structure(PLAIN)
    grid = found.grid
    assert (grid.right, grid.bottom, grid.left, grid.top) == (60, 40, 0, 0)
    assert (grid.tile_width, grid.tile_height, grid.tile_left, grid.tile_top, grid.tiles) == (60, 40, 0, 0, 1)
    assert grid.components == b"\7\1\1"
    assert [marker for marker, _ in found.segments] == [0xFF52, 0xFF5C, 0xFF64]
    (part,) = found.parts
    assert (part.tile, part.number, part.count, part.has_empty_header) == (0, 0, 1, True)
    assert SOT + part.length + 2 == len(PLAIN)
    assert found.trailing == 0


def test_reads_tiles() -> None:
    found = read_structure(TILED)
    assert found.grid.tiles == 12
    assert {part.tile for part in found.parts} == set(range(12))


def test_reads_layers_tile_part_headers_and_lists() -> None:
    data = encode_array(GREY, compression_ratios=[8, 4, 2], add_tlm=True, add_plt=True)
    found = read_structure(data)
    assert 0xFF55 in dict(found.segments)
    assert not any(part.has_empty_header for part in found.parts)


@pytest.mark.parametrize("padding", [b"", b"\0", b"\xff", b"\xbb", b"\0\0\0"])
def test_takes_padding(padding: bytes) -> None:
    assert read_structure(PLAIN + padding).trailing == len(padding)


def test_takes_a_last_tile_part_without_length() -> None:
    (part,) = read_structure(changed(PLAIN, SOT + 6, "I", 0) + b"\0").parts
    assert SOT + part.length + 2 == len(PLAIN)


def test_takes_offsets_of_image_and_tiles() -> None:
    moved = changed(PLAIN, SIZ + 2, "8I", 70, 45, 10, 5, 70, 45, 3, 4)
    grid = read_structure(moved).grid
    assert (grid.left, grid.top, grid.tile_left, grid.tile_top, grid.tiles) == (10, 5, 3, 4, 1)


def test_refuses_a_codestream_cut_anywhere() -> None:
    for data in (PLAIN, TILED):
        for length in range(len(data) - 2):
            with pytest.raises(PixelFailure):
                read_structure(data[:length])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda: PLAIN + PLAIN, "after its end"),
        (lambda: PLAIN + b"\0" + PLAIN[SOT:], "after its end"),
        (lambda: PLAIN[:-2] + b"\0\0\1\xff\xd9", "between its tile-parts"),
        (lambda: b"\xff\xd8" + PLAIN[2:], "does not begin"),
        (lambda: changed(PLAIN, SIZ + 34, "H", 2), "components"),
        (lambda: changed(PLAIN, SIZ + 10, "I", 60), "outside its tiles"),
        (lambda: changed(PLAIN, SIZ + 18, "I", 0), "outside its tiles"),
        (lambda: changed(PLAIN, SIZ + 26, "I", 1), "outside its tiles"),
        (lambda: changed(PLAIN, SIZ + 2, "8I", 70, 45, 10, 5, 6, 45, 3, 4), "outside its tiles"),
        (lambda: changed(PLAIN, SIZ + 18, "II", 1, 1), "tiles for"),
        (lambda: changed(PLAIN, SIZ + 18, "II", 8, 8), "tiles for"),
        (lambda: changed(PLAIN, SIZ + 18, "I", 30), "lacks tile-parts"),
        (lambda: changed(PLAIN, COD, "H", 0xFF64), "say how it is coded"),
        (lambda: changed(PLAIN, QCD, "H", 0xFF64), "say how it is coded"),
        (lambda: changed(PLAIN, COD, "H", 0xFF78), "marker FF78"),
        (lambda: changed(PLAIN, COD + 2, "H", 1), "extends past its end"),
        (lambda: changed(PLAIN, COD + 5, "B", 5), "not valid"),
        (lambda: coding(layers=0), "not valid"),
        (lambda: coding(levels=33), "not valid"),
        (lambda: coding(block=(9, 0)), "not valid"),
        (lambda: coding(block=(5, 4)), "not valid"),
        (lambda: coding(precincts=b"\x11\x11"), "not valid"),
        (lambda: coding(precincts=b"\x11\x11\x10"), "not valid"),
        (lambda: coding(layers=65_535), "packets"),
        (lambda: coding(layers=99, precincts=b"\x00\x11\x11"), "packets"),
        (lambda: coding(levels=6), "quantisation"),
        (lambda: with_segment(segment(0xFF53, b"\0\0\5\4\4\0")), "ends inside a header"),
        (lambda: with_segment(segment(0xFF53, b"\0\0\x21\4\4\0\1")), "not valid"),
        (lambda: with_segment(segment(0xFF5E, b"\0\0\x26")), "region of interest"),
        (lambda: changed(PLAIN, SOT + 4, "H", 1), "out of order"),
        (lambda: changed(PLAIN, SOT + 10, "B", 1), "out of order"),
        (lambda: changed(PLAIN, SOT + 11, "B", 2), "lacks tile-parts"),
        (lambda: changed(PLAIN, SOT + 6, "I", 13), "cut off"),
        (lambda: changed(PLAIN, SOT + 6, "I", 1 << 31), "cut off"),
        (lambda: changed(PLAIN, SOT + 12, "H", 0xFF78), "header of a tile-part"),
        (lambda: with_segment(segment(0xFF52, b"\0\0\0\1\0\x21\4\4\0\1"), at=SOT + 12), "cut off|not valid"),
        (lambda: TILED[: TILED.rindex(b"\xff\x90\0\x0a")] + b"\xff\xd9", "lacks tile-parts"),
    ],
)
def test_refuses_what_no_codestream_may_say(damage: Callable[[], bytes], says: str) -> None:
    with pytest.raises(PixelFailure, match=says) as refused:
        read_structure(damage())
    assert refused.value.warning.type == "TranscodingException"


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(2, 2), (5, 300), (300, 5, 3)])
def test_takes_what_encoders_write(kind: str, shape: tuple[int, ...]) -> None:
    samples: Any = noise(shape, kind)
    for data in (
        imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, planar=False),
        imagecodecs.jpeg2k_encode(samples, codecformat="j2k", level=40, planar=False),
        imagecodecs.htj2k_encode(samples, planar=False if samples.ndim == 3 else None, reversible=False),
    ):
        assert read_structure(data).trailing == 0


LISTED = bytes(imagecodecs.htj2k_encode(GREY, reversible=True, tlm=True, tilepart=1))
"""A tile-part for each resolution, and a list of them."""
TLM = LISTED.index(b"\xff\x55")


def with_another_part() -> bytes:
    """The last tile has one more tile-part than TLM says, in which nothing is."""
    parts = read_structure(LISTED).parts
    data = LISTED[:-2]
    for place in (i for i in range(len(data)) if data[i : i + 4] == b"\xff\x90\0\x0a"):
        data = changed(data, place + 11, "B", len(parts) + 1)
    return data + struct.pack(">HHHIBBH", 0xFF90, 10, 0, 14, len(parts), len(parts) + 1, 0xFF93) + b"\xff\xd9"


def split_list() -> bytes:
    """TLM twice, the second before the first."""
    (lists,) = (body for marker, body in read_structure(LISTED).segments if marker == 0xFF55)
    head, entries = lists[1:2], lists[2:]
    first, second = segment(0xFF55, b"\0" + head + entries[:6]), segment(0xFF55, b"\1" + head + entries[6:])
    return LISTED[:TLM] + second + first + LISTED[TLM + 4 + len(lists) :]


@pytest.mark.parametrize("data", [LISTED, split_list(), PLAIN, TILED])
def test_leaves_a_list_of_tile_parts_that_is_right(data: bytes) -> None:
    assert without_wrong_tlm(data, read_structure(data)) is data


@pytest.mark.parametrize(
    "data",
    [
        with_another_part(),
        changed(LISTED, TLM + 6, "H", 1),
        changed(LISTED, TLM + 8, "I", 14),
        changed(LISTED, TLM + 5, "B", 0x70),
        changed(LISTED, TLM + 5, "B", 0x10),
        with_segment(segment(0xFF55, b"\0")),
        with_segment(segment(0xFF55, b"\1\x60"), at=TLM, data=changed(LISTED, TLM + 8, "I", 1 << 30)),
    ],
)
def test_keeps_a_list_of_tile_parts_that_is_wrong_from_the_codec(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenJPEG 2.5.4 writes behind its tables where TLM lists fewer than there are."""
    given = []
    decode = imagecodecs.jpeg2k_decode

    def decoding(stream: Any, **more: Any) -> Any:
        given.append(bytes(stream))
        return decode(stream, **more)

    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", decoding)
    samples, _ = decode_frame(data, "jpeg2000", image_of(GREY))
    assert (samples == GREY).all()
    (stream,) = given
    found = read_structure(stream)
    assert not any(marker == 0xFF55 for marker, _ in found.segments)
    assert found.parts == read_structure(data).parts
