"""The structure of a JPEG 2000 or HTJ2K codestream: its main header and its tile-parts up to the last byte.

Codecs trust a codestream: one wrong bit can keep them busy for minutes, or make them silently decode half of
a frame. So it is checked before a codec runs: it has to be complete, and the work to decode it bounded by its
length and the size of the frame.

Source: ISO/IEC 15444-1 Annex A (marker segments) and B.3 (tile grid), 15444-15 Annex A (CAP of HTJ2K).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from lightwell.imaging.errors import PixelFailure, cannot_transcode

SOD, SOT, EOC = 0xFF93, 0xFF90, 0xFFD9
COD, COC, POC = 0xFF52, 0xFF53, 0xFF5F
_CAP, _TLM, _QCD, _RGN, _COM = 0xFF50, 0xFF55, 0xFF5C, 0xFF5E, 0xFF64
# ... PRF, PLM, CPF, QCC, POC, PPM, CRG; Part 2 has others, which lightwell cannot decode.
_MAIN_HEADER_MARKERS = frozenset(
    {_CAP, COD, COC, _TLM, _QCD, _RGN, _COM, 0xFF56, 0xFF57, 0xFF59, 0xFF5D, POC, 0xFF60, 0xFF63}
)
# ... PLT, QCC, POC, PPT.
_TILE_PART_MARKERS = frozenset({COD, COC, _QCD, _RGN, _COM, 0xFF58, 0xFF5D, POC, 0xFF61})
_PADDING = b"\x00\xff\x20"
_STARTS = (b"\xff\x4f\xff\x51", b"\xff\x90\x00\x0a")
_MOST_TILES = 65_535
# Up to 16 tiles may be of any size; more have to have 256 pixels each on average.
_FEW_TILES, _TILE_PIXELS = 16, 256
# A packet has at least a byte. Codestreams whose layers were removed may lack packets that they announce.
_PACKETS_PER_BYTE, _FEW_PACKETS = 8, 4096

_marker_and_length = struct.Struct(">HH").unpack_from
_siz = struct.Struct(">HH8IH").unpack_from
_sot = struct.Struct(">HIBB").unpack_from


class MarkerSegment(NamedTuple):
    """A marker segment of a header; ``body`` follows its length."""

    marker: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ReferenceGrid:
    """SIZ: ``left``, ``top``, ``right`` and ``bottom`` of the image on the reference grid, the size of a tile
    and the origin of the first; for each component Ssiz (bits - 1, plus 128 if signed), XRsiz and YRsiz.
    """

    capabilities: int
    right: int
    bottom: int
    left: int
    top: int
    tile_width: int
    tile_height: int
    tile_left: int
    tile_top: int
    components: bytes

    @property
    def tiles(self) -> int:
        across = -(-(self.right - self.tile_left) // self.tile_width)
        return across * -(-(self.bottom - self.tile_top) // self.tile_height)


@dataclass(frozen=True, slots=True)
class TilePart:
    """SOT: the tile, the bytes from SOT on, the index of the tile-part and their number (0 if not given)."""

    tile: int
    length: int
    number: int
    count: int
    has_empty_header: bool
    """Whether SOD follows SOT directly."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """A codestream. ``segments`` are the marker segments of the main header except SIZ.

    ``header_length`` is the length of the main header, ``trailing`` the bytes after EOC; None without EOC.
    """

    header_length: int
    grid: ReferenceGrid
    segments: list[MarkerSegment]
    parts: list[TilePart]
    trailing: int | None


def read_structure(data: bytes | bytearray | memoryview) -> Codestream:
    """The structure of a bare codestream of any origin.

    Raises `PixelFailure` if it is truncated, has another image after its end, is not valid, or would take
    more work to decode than a frame of its size and length can need.
    """
    view = memoryview(data)
    try:
        return _read_codestream(view)
    except (struct.error, IndexError) as error:
        raise _damaged("ends inside a header") from error


def without_wrong_tlm(data: bytes | memoryview, codestream: Codestream) -> bytes | memoryview:
    """The codestream for the codec: without TLM if these do not list the tile-parts as they follow.

    TLM helps to locate tile-parts and does not affect the pixels. OpenJPEG up to 2.5.4 allocates its tables
    by TLM and writes tile-parts that TLM omits beyond them (its issue 1620), into memory of other frames.
    """
    tlm = sorted(body for marker, body in codestream.segments if marker == _TLM)
    if not tlm or _listed_tile_parts(tlm) == [(part.tile, part.length) for part in codestream.parts]:
        return data
    view = memoryview(data)
    segments = [
        struct.pack(">HH", marker, len(body) + 2) + body
        for marker, body in codestream.segments
        if marker != _TLM
    ]
    siz_end = 42 + len(codestream.grid.components)
    return b"".join([view[:siz_end], *segments, view[codestream.header_length :]])


def has_true_tlm(codestream: Codestream) -> bool:
    """Whether it has TLM, and these list the tile-parts as they follow."""
    tlm = sorted(body for marker, body in codestream.segments if marker == _TLM)
    return bool(tlm) and _listed_tile_parts(tlm) == [(part.tile, part.length) for part in codestream.parts]


def _listed_tile_parts(tlm: list[bytes]) -> list[tuple[int, int]] | None:
    """Tile and length of each tile-part by TLM in their order; None if they are not valid."""
    parts: list[tuple[int, int]] = []
    for body in tlm:
        if len(body) < 2 or body[1] & 0x8F or body[1] >> 4 & 3 == 3:
            return None
        index_size = body[1] >> 4 & 3
        entry_size = index_size + (4 if body[1] & 0x40 else 2)
        if (len(body) - 2) % entry_size:
            return None
        for start in range(2, len(body), entry_size):
            split = start + index_size
            tile = int.from_bytes(body[start:split]) if index_size else len(parts)
            parts.append((tile, int.from_bytes(body[split : start + entry_size])))
    return parts


def _read_codestream(view: memoryview) -> Codestream:
    grid, position = _read_grid(view)
    segments: list[MarkerSegment] = []
    markers = set()
    while True:
        marker, length = _marker_and_length(view, position)
        if marker == SOT:
            break
        if marker not in _MAIN_HEADER_MARKERS:
            raise _damaged(f"has the marker {marker:04X} in its main header")
        position += 2
        if length < 2 or position + length > len(view):
            raise _damaged("has a marker segment that extends past its end")
        segments.append(MarkerSegment(marker, bytes(view[position + 2 : position + length])))
        markers.add(marker)
        position += length
    if not {COD, _QCD} <= markers:
        raise _damaged("lacks COD or QCD, which say how it is coded")
    _check_segments(segments, grid, len(view))
    header_length = position
    parts, position = _read_tile_parts(view, position, grid)
    trailing = len(view) - position - 2 if bytes(view[position : position + 2]) == b"\xff\xd9" else None
    tail = bytes(view[position if trailing is None else position + 2 :])
    if trailing is None and tail.strip(_PADDING):
        raise _damaged("has data between its tile-parts")
    # The tile-parts say how long they are, so the end is certain, and decoders ignore what follows it. Only
    # another image or tile-part there may mean that something is wrong.
    if any(start in tail for start in _STARTS):
        raise _damaged("has an image or a tile-part after its end")
    return Codestream(header_length, grid, segments, parts, trailing)


def _read_grid(view: memoryview) -> tuple[ReferenceGrid, int]:
    if bytes(view[:4]) != b"\xff\x4f\xff\x51":
        raise _damaged("does not begin with SOC and SIZ")
    (length, rsiz, right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components) = _siz(
        view, 4
    )
    end = 4 + length
    if not components or length != 38 + 3 * components or end > len(view):
        raise _damaged("has a wrong number of components")
    samples = bytes(view[42:end])
    grid = ReferenceGrid(
        rsiz, right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, samples
    )
    if (
        grid.right <= grid.left
        or grid.bottom <= grid.top
        or not (grid.tile_width and grid.tile_height)
        or not grid.tile_left <= grid.left < grid.tile_left + grid.tile_width
        or not grid.tile_top <= grid.top < grid.tile_top + grid.tile_height
    ):
        raise _damaged("has an image area outside its tiles")
    area = (grid.right - grid.left) * (grid.bottom - grid.top)
    if grid.tiles > min(_MOST_TILES, _FEW_TILES + area // _TILE_PIXELS):
        raise _damaged(f"has {grid.tiles:,} tiles for {area:,} pixels, more than lightwell decodes")
    return grid, end


def _check_segments(segments: list[MarkerSegment], grid: ReferenceGrid, length: int) -> None:
    levels, packets = 0, 0
    wide = len(grid.components) // 3 > 256  # component indexes have two bytes
    for marker, body in segments:
        if marker == COD:
            progression, layers, transform = struct.unpack_from(">BHB", body, 1)
            if progression > 4 or not layers or transform > 1:
                raise _damaged("has coding parameters that are not valid")
            levels = _check_coding(body[5:], bool(body[0] & 1))
            packets = layers * (len(grid.components) // 3) * _precincts(body, grid)
        elif marker == COC:
            _check_coding(body[2 + wide :], bool(body[1 + wide] & 1))
        elif marker == _RGN and body[2 + wide] > 37:
            raise _damaged("has a region of interest that is not valid")
    if packets > _FEW_PACKETS + _PACKETS_PER_BYTE * length:
        raise _damaged(f"announces {packets:,} packets in {length:,} bytes")
    for marker, body in segments:
        if marker == _QCD:
            style, bands = body[0] & 0x1F, 3 * levels + 1
            if style > 2 or len(body) - 1 < (bands, 2, 2 * bands)[style]:
                raise _damaged("lacks quantisation parameters")


def _check_coding(body: bytes, precincts: bool) -> int:
    """The decomposition levels in the coding parameters of COD or COC, which are checked."""
    if len(body) < 5:
        raise _damaged("ends inside a header")
    levels, width, height, _, wavelet = body[:5]
    if levels > 32 or width > 8 or height > 8 or width + height > 8 or wavelet > 1:
        raise _damaged("has coding parameters that are not valid")
    sizes = body[5 : 6 + levels] if precincts else b""
    if len(body) != 5 + (levels + 1) * precincts or any(not (s & 15 and s >> 4) for s in sizes[1:]):
        raise _damaged("has coding parameters that are not valid")
    return levels


def _precincts(cod: bytes, grid: ReferenceGrid) -> int:
    """The least number of precincts of a component, whatever the tiles (B.6)."""
    levels, sizes = cod[5], cod[10:]
    count = 0
    for level in range(levels + 1):
        scale, size = levels - level, sizes[level] if sizes else 0xFF
        across, down = 1 << (size & 15), 1 << (size >> 4)
        left, right = -(-grid.left >> scale), -(-grid.right >> scale)
        top, bottom = -(-grid.top >> scale), -(-grid.bottom >> scale)
        if right > left and bottom > top:
            count += (-(-right // across) - left // across) * (-(-bottom // down) - top // down)
    return count


def _read_tile_parts(view: memoryview, position: int, grid: ReferenceGrid) -> tuple[list[TilePart], int]:
    """All tile-parts, and the end of the last."""
    parts: list[TilePart] = []
    tiles = grid.tiles
    numbers, counts = [0] * tiles, [0] * tiles
    while bytes(view[position : position + 2]) == b"\xff\x90":
        (size, _), (tile, length, number, count) = (
            _marker_and_length(view, position + 2),
            _sot(view, position + 4),
        )
        if size != 10 or tile >= tiles or number != numbers[tile] or (count and number > count):
            raise _damaged("has a tile-part out of order")
        if not length:  # up to the end of the codestream
            length = bytes(view[position:]).rfind(b"\xff\xd9")
        if length < 14 or position + length > len(view):
            raise _damaged("is cut off: a tile-part extends past its end")
        has_empty_header = bytes(view[position + 12 : position + 14]) == b"\xff\x93"
        if not has_empty_header:
            _check_tile_header(view[position + 12 : position + length], grid, len(view))
        parts.append(TilePart(tile, length, number, count, has_empty_header))
        numbers[tile] += 1
        counts[tile] = max(counts[tile], count)
        position += length
    if any(not number or number < count for number, count in zip(numbers, counts, strict=True)):
        raise _damaged("is cut off: it lacks tile-parts")
    return parts, position


def _check_tile_header(view: memoryview, grid: ReferenceGrid, length: int) -> None:
    position = 0
    segments: list[MarkerSegment] = []
    while True:
        marker, size = _marker_and_length(view, position)
        if marker == SOD:
            break
        if marker not in _TILE_PART_MARKERS or size < 2:
            raise _damaged(f"has the marker {marker:04X} in the header of a tile-part")
        segments.append(MarkerSegment(marker, bytes(view[position + 4 : position + 2 + size])))
        position += 2 + size
    _check_segments([segment for segment in segments if segment.marker != _QCD], grid, length)


def _damaged(how: str) -> PixelFailure:
    return cannot_transcode(f"the codestream of a frame {how}")
