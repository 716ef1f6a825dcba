"""Encapsulated pixel data: which bytes of the file make up each frame.

Source: PS3.5 A.4 (items, Basic Offset Table, fragments) and PS3.3 C.7.6.3.1.8 (Extended Offset Table). Only
item headers are read, never the element as a whole: a frame costs sixteen bytes of memory here.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lightwell.imaging.errors import PixelFailure, cannot_extract, wrong_number, wrong_offsets

if TYPE_CHECKING:
    from lightwell.imaging.dataset.part10 import Source

_HEAD = struct.Struct("<4sI")
_ITEM = b"\xfe\xff\x00\xe0"
_DELIMITER = b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_WINDOW = 1 << 16
_PIECE = 1 << 20
_MOST_FRAGMENTS = 4_000_000
_STARTS = {
    "jpeg": (b"\xff\xd8\xff",),
    "jpegls": (b"\xff\xd8\xff",),
    "jpeg2000": (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "),
    "jpegxl": (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "),
}


@dataclass(frozen=True, slots=True)
class EncapsulatedFragments:
    """Where the fragments of one pixel element lie.

    ``starts`` and ``lengths`` have one entry a fragment: place of the value in the file, eight bytes after
    its item tag, and its length. ``table`` is the place and length of the Basic Offset Table's value, the
    length 0 where the file gives none. ``end`` is the first byte after the element.
    """

    starts: array[int]
    lengths: array[int]
    table: tuple[int, int]
    end: int

    def __len__(self) -> int:
        return len(self.starts)


def read_fragments(source: Source, offset: int, length: int = -1) -> EncapsulatedFragments:
    """Walk the items of an encapsulated element whose value begins at ``offset``.

    ``length`` is -1 for an undefined one, as the standard asks; a defined one bounds the walk. An element
    that lacks its delimiter ends with the last whole item at the end of the file. Raises `PixelFailure` for
    anything but whole items.
    """
    limit = source.size if length < 0 else min(offset + length, source.size)
    starts, lengths = array("Q"), array("Q")
    table: tuple[int, int] | None = None
    window, base, place, gap = b"", offset, offset, 0
    while place < limit:
        # Where items are small, one read serves many headers.
        if place + 8 > base + len(window):
            base, window = place, source.read(place, _WINDOW if gap < _WINDOW // 8 else 8)
        if len(window) < 8 or place + 8 > limit:
            raise cannot_extract(f"the file ends inside an item header of the pixel data, at byte {place}")
        tag, gap = _HEAD.unpack_from(window, place - base)
        if tag == _DELIMITER:
            place += 8
            break
        if tag != _ITEM:
            raise cannot_extract(f"the pixel data has something other than an item at byte {place}")
        place += 8
        if gap == _UNDEFINED or place + gap > limit:
            raise cannot_extract(
                f"an item of the pixel data at byte {place - 8} is longer than what follows it"
            )
        if table is None:
            table = (place, gap)
        elif len(starts) == _MOST_FRAGMENTS:
            raise cannot_extract(f"the pixel data has more than {_MOST_FRAGMENTS:,} fragments")
        else:
            starts.append(place)
            lengths.append(gap)
        place += gap
    if table is None:
        raise cannot_extract("the encapsulated pixel data has no items")
    return EncapsulatedFragments(starts, lengths, table, place)


def end_of_element(source: Source, offset: int) -> int:
    """First byte after an encapsulated element; the end of the file where its items are broken."""
    try:
        return read_fragments(source, offset).end
    except PixelFailure:
        return source.size


class EncapsulatedFrames:
    """The frames of an encapsulated element, each a run of fragments.

    ``frames`` is how many the attributes promise, None where all fragments are one object (video).
    ``codec`` is that of `syntaxes.Syntax`. ``extended`` are the values of the Extended Offset Table and of
    its lengths, where the data set has them. Raises `PixelFailure`.
    """

    def __init__(
        self,
        source: Source,
        fragments: EncapsulatedFragments,
        frames: int | None,
        codec: str,
        extended: tuple[bytes, bytes | None] | None = None,
    ) -> None:
        self._source, self._fragments, self._codec = source, fragments, codec
        self._trim: array[int] | None = None
        self._bounds = self._split(frames, extended)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def ranges(self, number: int) -> list[tuple[int, int]]:
        """(offset, length) of the pieces of frame ``number`` (from 0), in order."""
        first, last = self._bounds[number], self._bounds[number + 1]
        starts, lengths = self._fragments.starts, self._fragments.lengths
        if self._trim is not None:
            return [(starts[first], self._trim[number])]
        return [(starts[i], lengths[i]) for i in range(first, last) if lengths[i]]

    def size(self, number: int) -> int:
        """Bytes of frame ``number``."""
        return sum(length for _, length in self.ranges(number))

    def largest(self) -> int:
        """Bytes of the longest frame."""
        if len(self) == len(self._fragments):
            return max(self._fragments.lengths)
        return max(map(self.size, range(len(self))))

    def read(self, number: int) -> bytes:
        """All bytes of frame ``number``, padding as in the file."""
        pieces = [self._read(offset, length) for offset, length in self.ranges(number)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def head(self, number: int, length: int) -> bytes:
        """The first bytes of frame ``number``, at most ``length`` and none after its first piece."""
        offset, present = self.ranges(number)[0]
        return self._read(offset, min(length, present))

    def pieces(self, number: int) -> Iterator[bytes]:
        """All bytes of frame ``number`` in pieces of at most a megabyte."""
        for offset, length in self.ranges(number):
            for start in range(0, length, _PIECE):
                yield self._read(offset + start, min(_PIECE, length - start))

    def _read(self, offset: int, length: int) -> bytes:
        data = self._source.read(offset, length)
        if len(data) != length:
            raise cannot_extract(f"the file ends inside the pixel data, at byte {offset + len(data)}")
        return data

    def _split(self, frames: int | None, extended: tuple[bytes, bytes | None] | None) -> array[int]:
        """The first fragment of every frame, and the number of fragments at the end."""
        if frames is None:
            bounds = array("Q", [0, len(self._fragments)])
        elif extended is not None:
            bounds = self._by_extended_table(frames, *extended)
        elif self._fragments.table[1]:
            bounds = self._by_basic_table(frames)
        else:
            bounds = self._by_fragments(frames)
        if 0 in self._fragments.lengths:
            for number, (first, last) in enumerate(pairwise(bounds)):
                if not any(self._fragments.lengths[first:last]):
                    raise cannot_extract(f"frame {number + 1} has no bytes")
        return bounds

    def _by_basic_table(self, frames: int) -> array[int]:
        place, length = self._fragments.table
        if length != 4 * frames:
            raise wrong_offsets(f"the offset table has {length} bytes, {frames} frames need {4 * frames}")
        return self._by_table(_numbers("I", self._source.read(place, length)))

    def _by_table(self, table: array[int]) -> array[int]:
        starts, count = self._fragments.starts, len(self._fragments)
        if not count:
            raise wrong_number(f"the pixel data has no fragments, NumberOfFrames says {len(table)}")
        bounds, index = array("Q"), 0
        for number, entry in enumerate(table):
            wanted = starts[0] + entry
            while index < count and starts[index] < wanted:
                index += 1
            if index == count or starts[index] != wanted:
                raise wrong_offsets(
                    f"entry {number + 1} of the offset table, {entry}, is the start of no frame"
                )
            bounds.append(index)
            index += 1
        if bounds[0] != 0:
            raise wrong_offsets("the offset table leaves out the first fragments")
        bounds.append(count)
        self._check_starts(bounds)
        return bounds

    def _by_extended_table(self, frames: int, offsets: bytes, lengths: bytes | None) -> array[int]:
        if len(offsets) != 8 * frames or (lengths is not None and len(lengths) != 8 * frames):
            raise wrong_offsets(
                f"the extended offset table does not have {frames} entries, as NumberOfFrames says"
            )
        if self._fragments.table[1]:
            raise wrong_offsets("the file has both a basic and an extended offset table")
        bounds = self._by_table(_numbers("Q", offsets))
        if len(self._fragments) != frames:
            raise wrong_offsets("with an extended offset table every frame has to be one fragment")
        if lengths is not None:
            self._trim = _numbers("Q", lengths)
            for length, stored in zip(self._trim, self._fragments.lengths, strict=True):
                if not stored - 1 <= length <= stored:
                    raise wrong_offsets(
                        f"the extended offset table says {length} bytes of a fragment of {stored}"
                    )
        return bounds

    def _by_fragments(self, frames: int) -> array[int]:
        """Without a table: one fragment a frame, one frame, or frames told apart by how they begin."""
        filled = [i for i, length in enumerate(self._fragments.lengths) if length]
        if len(filled) == frames:
            return array("Q", [*filled, len(self._fragments)])
        if len(filled) < frames:
            raise wrong_number(f"the pixel data has {len(filled)} fragments, NumberOfFrames says {frames}")
        begins = list(self._beginnings(filled))
        if not begins and frames == 1 and self._codec != "rle":
            begins = filled[:1]
        if len(begins) != frames or begins[0] != filled[0]:
            raise wrong_number(
                f"the pixel data has {len(filled)} fragments, no offset table, and {len(begins)} begin"
                f" a frame; NumberOfFrames says {frames}"
            )
        return array("Q", [*begins, len(self._fragments)])

    def _beginnings(self, filled: list[int]) -> Iterator[int]:
        marks = _STARTS.get(self._codec, ())
        for index in filled:
            if marks and self._source.read(self._fragments.starts[index], 8).startswith(marks):
                yield index

    def _check_starts(self, bounds: array[int]) -> None:
        """A fragment inside a frame that begins a codestream means that the table misses a frame."""
        if len(bounds) - 1 == len(self._fragments):
            return
        for first, last in pairwise(bounds):
            for index in self._beginnings(list(range(first + 1, last))):
                raise wrong_offsets(
                    f"fragment {index + 1} begins a frame that the offset table does not name"
                )


def _numbers(code: str, value: bytes) -> array[int]:
    return array("Q", (entry for (entry,) in struct.iter_unpack("<" + code, value)))
