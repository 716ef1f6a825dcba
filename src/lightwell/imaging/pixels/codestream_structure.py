"""How a JPEG 2000 or HTJ2K codestream is built: its main header, and its tile-parts up to the last byte.

Codecs take a codestream at its word: one wrong bit in it can keep them busy for minutes or make them fill a
frame by half and say nothing. So it is read here before any of them runs, and has to be whole and such that
its work is bounded by its own length and the size of the frame.

Source: ISO/IEC 15444-1 Annex A (marker segments) and B.3 (tile grid), 15444-15 Annex A (CAP of HTJ2K).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lightwell.imaging.errors import PixelFailure, cannot_transcode

SOD, SOT, EOC = 0xFF93, 0xFF90, 0xFFD9
_SIZ, _CAP, _COD, _COC, _TLM, _QCD, _RGN = 0xFF51, 0xFF50, 0xFF52, 0xFF53, 0xFF55, 0xFF5C, 0xFF5E
_COM = 0xFF64
# ... PRF, PLM, CPF, QCC, POC, PPM, CRG; Part 2 has others, which no decoder here undoes.
_MAIN = frozenset(
    {_CAP, _COD, _COC, _TLM, _QCD, _RGN, _COM, 0xFF56, 0xFF57, 0xFF59, 0xFF5D, 0xFF5F, 0xFF60, 0xFF63}
)
# ... PLT, QCC, POC, PPT.
_IN_TILE = frozenset({_COD, _COC, _QCD, _RGN, _COM, 0xFF58, 0xFF5D, 0xFF5F, 0xFF61})
_PADDING = b"\x00\xff\x20"
_MOST_TILES = 65_535
# So few tiles may be of any size; more have to hold so many pixels on average.
_FEW_TILES, _TILE_PIXELS = 16, 256
# A packet takes a byte at least. Streams that were thinned out may lack some that they announce.
_PACKETS_A_BYTE, _FEW_PACKETS = 8, 4096

_TWO = struct.Struct(">HH").unpack_from
_SIZE = struct.Struct(">HH8IH").unpack_from
_PART = struct.Struct(">HIBB").unpack_from


@dataclass(frozen=True, slots=True)
class Grid:
    """SIZ: ``left``, ``top``, ``right`` and ``bottom`` of the image on the reference grid, the size of a tile
    and where the first begins; for each component Ssiz (bits - 1, plus 128 if signed), XRsiz and YRsiz.
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
    """SOT: the tile, bytes from SOT on, which part of the tile it is, and of how many (0 where not said)."""

    tile: int
    length: int
    number: int
    count: int
    plain: bool
    """Whether nothing stands between SOT and SOD."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A codestream. ``segments`` are the marker and content of each segment of the main header but SIZ.

    ``head`` is how many bytes the main header has. ``rest`` is how many follow EOC; None where there is none.
    """

    head: int
    grid: Grid
    segments: list[tuple[int, bytes]]
    parts: list[TilePart]
    rest: int | None


def read_structure(data: bytes | bytearray | memoryview) -> Structure:
    """The structure of a bare codestream, of whatever origin.

    Raises `PixelFailure` where it is cut off, goes on after its end, or says what no codestream may say or
    what would take more work than a frame of its size and length can need.
    """
    view = memoryview(data)
    try:
        return _structure(view)
    except (struct.error, IndexError) as error:
        raise _damaged("ends inside of a header") from error


def without_wrong_lists(data: bytes | memoryview, structure: Structure) -> bytes | memoryview:
    """The codestream that a codec gets: less TLM where these do not list the tile-parts as they follow.

    They help to find tile-parts and say nothing of the pixels. OpenJPEG up to 2.5.4 makes its tables as long
    as they say and writes behind them what they leave out (its issue 1620), into memory of other frames.
    """
    lists = sorted(body for marker, body in structure.segments if marker == _TLM)
    if not lists or _listed(lists) == [(part.tile, part.length) for part in structure.parts]:
        return data
    view = memoryview(data)
    kept = [
        struct.pack(">HH", marker, len(body) + 2) + body
        for marker, body in structure.segments
        if marker != _TLM
    ]
    return b"".join([view[: 42 + len(structure.grid.components)], *kept, view[structure.head :]])


def _listed(lists: list[bytes]) -> list[tuple[int, int]] | None:
    """Tile and length of each tile-part by TLM, which come in their order; None where they are none."""
    found: list[tuple[int, int]] = []
    for body in lists:
        if len(body) < 2 or body[1] & 0x8F or body[1] >> 4 & 3 == 3:
            return None
        tile = body[1] >> 4 & 3
        size = tile + (4 if body[1] & 0x40 else 2)
        if (len(body) - 2) % size:
            return None
        for place in range(2, len(body), size):
            number = int.from_bytes(body[place : place + tile]) if tile else len(found)
            found.append((number, int.from_bytes(body[place + tile : place + size])))
    return found


def _structure(view: memoryview) -> Structure:
    grid, place = _grid(view)
    segments: list[tuple[int, bytes]] = []
    found = set()
    while True:
        marker, length = _TWO(view, place)
        if marker == SOT:
            break
        if marker not in _MAIN:
            raise _damaged(f"has the marker {marker:04X} in its main header")
        place += 2
        if length < 2 or place + length > len(view):
            raise _damaged("has a segment that runs over its end")
        segments.append((marker, bytes(view[place + 2 : place + length])))
        found.add(marker)
        place += length
    if not {_COD, _QCD} <= found:
        raise _damaged("does not say how it is coded")
    _check_segments(segments, grid, len(view))
    head = place
    parts, place = _parts(view, place, grid)
    rest = len(view) - place - 2 if bytes(view[place : place + 2]) == b"\xff\xd9" else None
    tail = bytes(view[place if rest is None else place + 2 :])
    # One byte more, of any value, makes a fragment even (PS3.5 A.4).
    if tail.strip(_PADDING) and (rest is None or len(tail) > 1):
        raise _damaged(
            "goes on after its end" if rest is not None else "has something between its tile-parts"
        )
    return Structure(head, grid, segments, parts, rest)


def _grid(view: memoryview) -> tuple[Grid, int]:
    if bytes(view[:4]) != b"\xff\x4f\xff\x51":
        raise _damaged("does not begin as one")
    length, rsiz, right, bottom, left, top, wide, high, tile_left, tile_top, components = _SIZE(view, 4)
    end = 4 + length
    if not components or length != 38 + 3 * components or end > len(view):
        raise _damaged("has a wrong number of components")
    samples = bytes(view[42:end])
    grid = Grid(rsiz, right, bottom, left, top, wide, high, tile_left, tile_top, samples)
    if (
        grid.right <= grid.left
        or grid.bottom <= grid.top
        or not (grid.tile_width and grid.tile_height)
        or not grid.tile_left <= grid.left < grid.tile_left + grid.tile_width
        or not grid.tile_top <= grid.top < grid.tile_top + grid.tile_height
    ):
        raise _damaged("lies outside of its tiles")
    area = (grid.right - grid.left) * (grid.bottom - grid.top)
    if grid.tiles > min(_MOST_TILES, _FEW_TILES + area // _TILE_PIXELS):
        raise _damaged(f"has {grid.tiles:,} tiles for {area:,} pixels, which is more than are decoded")
    return grid, end


def _check_segments(segments: list[tuple[int, bytes]], grid: Grid, length: int) -> None:
    levels, packets = 0, 0
    wide = len(grid.components) // 3 > 256  # the index of a component takes two bytes
    for marker, body in segments:
        if marker == _COD:
            progression, layers, transform = struct.unpack_from(">BHB", body, 1)
            if progression > 4 or not layers or transform > 1:
                raise _damaged("is coded in a way that is none")
            levels = _check_coding(body[5:], bool(body[0] & 1))
            packets = layers * (len(grid.components) // 3) * _precincts(body, grid)
        elif marker == _COC:
            _check_coding(body[2 + wide :], bool(body[1 + wide] & 1))
        elif marker == _RGN and body[2 + wide] > 37:
            raise _damaged("has a region of interest that is none")
    if packets > _FEW_PACKETS + _PACKETS_A_BYTE * length:
        raise _damaged(f"announces {packets:,} packets in {length:,} bytes")
    for marker, body in segments:
        if marker == _QCD:
            style, bands = body[0] & 0x1F, 3 * levels + 1
            if style > 2 or len(body) - 1 < (bands, 2, 2 * bands)[style]:
                raise _damaged("lacks quantisation")


def _check_coding(body: bytes, precincts: bool) -> int:
    """The decompositions that the second half of COD or COC says, once it is found to be right."""
    levels, width, height, _, wavelet = body[:5]
    if levels > 32 or width > 8 or height > 8 or width + height > 8 or wavelet > 1:
        raise _damaged("is coded in a way that is none")
    sizes = body[5 : 6 + levels] if precincts else b""
    if len(body) != 5 + (levels + 1) * precincts or any(not (s & 15 and s >> 4) for s in sizes[1:]):
        raise _damaged("is coded in a way that is none")
    return levels


def _precincts(cod: bytes, grid: Grid) -> int:
    """How many precincts a component has at least, whatever the tiles (B.6)."""
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


def _parts(view: memoryview, place: int, grid: Grid) -> tuple[list[TilePart], int]:
    """All tile-parts, and where the last ends."""
    parts: list[TilePart] = []
    tiles = grid.tiles
    numbers, counts = [0] * tiles, [0] * tiles
    while bytes(view[place : place + 2]) == b"\xff\x90":
        size, tile, length, number, count = (_TWO(view, place + 2)[0], *_PART(view, place + 4))
        if size != 10 or tile >= tiles or number != numbers[tile] or (count and number > count):
            raise _damaged("has a tile-part that is out of order")
        if not length:  # up to the end of the codestream
            length = bytes(view[place:]).rfind(b"\xff\xd9")
        if length < 14 or place + length > len(view):
            raise _damaged("is cut off: a tile-part runs over its end")
        plain = bytes(view[place + 12 : place + 14]) == b"\xff\x93"
        if not plain:
            _check_tile_header(view[place + 12 : place + length], grid, len(view))
        parts.append(TilePart(tile, length, number, count, plain))
        numbers[tile] += 1
        counts[tile] = max(counts[tile], count)
        place += length
    if any(not number or number < count for number, count in zip(numbers, counts, strict=True)):
        raise _damaged("is cut off: it lacks tile-parts")
    return parts, place


def _check_tile_header(view: memoryview, grid: Grid, length: int) -> None:
    place, segments = 0, []
    while True:
        marker, size = _TWO(view, place)
        if marker == SOD:
            break
        if marker not in _IN_TILE or size < 2:
            raise _damaged(f"has the marker {marker:04X} in the header of a tile-part")
        segments.append((marker, bytes(view[place + 4 : place + 2 + size])))
        place += 2 + size
    _check_segments([each for each in segments if each[0] != _QCD], grid, length)


def _damaged(how: str) -> PixelFailure:
    return cannot_transcode(f"the codestream of a frame {how}")
