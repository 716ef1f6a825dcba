"""Encapsulated pixel data: the fragments of each frame.

Source: PS3.5 A.4 (items, Basic Offset Table, fragments) and PS3.3 C.7.6.3.1.8 (Extended Offset Table). Only
item headers are read, never the whole element: a fragment takes sixteen bytes of memory.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lightwell.domain.imports.warnings import Warning
from lightwell.imaging.errors import PixelFailure, cannot_extract, wrong_number, wrong_offsets

if TYPE_CHECKING:
    from lightwell.imaging.dataset.part10 import Source

_ITEM_HEADER = struct.Struct("<4sI")
_ITEM = b"\xfe\xff\x00\xe0"
_DELIMITER = b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_WINDOW = 1 << 16
_PIECE = 1 << 20
_MAXIMUM_FRAGMENTS = 4_000_000
_SIGNATURES = {
    "jpeg": (b"\xff\xd8\xff",),
    "jpegls": (b"\xff\xd8\xff",),
    "jpeg2000": (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "),
    "jpegxl": (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "),
}


@dataclass(frozen=True, slots=True)
class EncapsulatedFragments:
    """The positions of the fragments of a pixel element.

    ``starts`` and ``lengths`` have an entry for each fragment: the offset of its value in the file, eight
    bytes after its item tag, and its length. ``table`` is the (offset, length) of the value of the Basic
    Offset Table; the length is 0 if it is empty. ``end`` is the offset after the element.
    """

    starts: array[int]
    lengths: array[int]
    table: tuple[int, int]
    end: int

    def __len__(self) -> int:
        return len(self.starts)


def read_fragments(source: Source, offset: int, length: int = -1) -> EncapsulatedFragments:
    """Read the item headers of an encapsulated element whose value begins at ``offset``.

    ``length`` is -1 if undefined, as the standard requires; a defined one bounds the reading. An element
    without its delimiter may end with the file after a complete item. Raises `PixelFailure` for anything
    other than complete items.
    """
    limit = source.size if length < 0 else min(offset + length, source.size)
    starts, lengths = array("Q"), array("Q")
    table: tuple[int, int] | None = None
    window, base, position, item_length = b"", offset, offset, 0
    while position < limit:
        # If items are small, one read gets many headers.
        if position + 8 > base + len(window):
            base, window = position, source.read(position, _WINDOW if item_length < _WINDOW // 8 else 8)
        if len(window) < 8 or position + 8 > limit:
            raise cannot_extract(f"the file ends inside an item header of the pixel data, at byte {position}")
        tag, item_length = _ITEM_HEADER.unpack_from(window, position - base)
        if tag == _DELIMITER:
            position += 8
            break
        if tag != _ITEM:
            raise cannot_extract(f"the pixel data has something other than an item at byte {position}")
        position += 8
        if item_length == _UNDEFINED or position + item_length > limit:
            raise cannot_extract(
                f"an item of the pixel data at byte {position - 8} is longer than the rest of the pixel data"
            )
        if table is None:
            table = (position, item_length)
        elif len(starts) == _MAXIMUM_FRAGMENTS:
            raise cannot_extract(f"the pixel data has more than {_MAXIMUM_FRAGMENTS:,} fragments")
        else:
            starts.append(position)
            lengths.append(item_length)
        position += item_length
    if table is None:
        raise cannot_extract("the encapsulated pixel data has no items")
    return EncapsulatedFragments(starts, lengths, table, position)


def end_of_element(source: Source, offset: int) -> int:
    """The offset after an encapsulated element; the end of the file if its items are damaged."""
    try:
        return read_fragments(source, offset).end
    except PixelFailure:
        return source.size


class EncapsulatedFrames:
    """The frames of an encapsulated element, each of one or more consecutive fragments.

    ``frames`` is the number by the attributes, None if all fragments are one stream (video). ``codec`` is
    that of the `TransferSyntax`. ``extended`` are the values of the Extended Offset Table and of its lengths,
    if the data set has them. ``warnings`` say what was ignored. Raises `PixelFailure`.
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
        self._trimmed_lengths: array[int] | None = None
        self.warnings: tuple[Warning, ...] = ()
        self._bounds = self._split(frames, extended)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def ranges(self, number: int) -> list[tuple[int, int]]:
        """The (offset, length) ranges of frame ``number`` (from 0), in order."""
        first, last = self._bounds[number], self._bounds[number + 1]
        starts, lengths = self._fragments.starts, self._fragments.lengths
        if self._trimmed_lengths is not None:
            return [(starts[first], self._trimmed_lengths[number])]
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
        """The first bytes of frame ``number``: at most ``length``, and only of its first fragment."""
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
        """The index of the first fragment of each frame, followed by the number of fragments."""
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
        position, length = self._fragments.table
        if length != 4 * frames:
            raise wrong_offsets(f"the offset table has {length} bytes, but {frames} frames need {4 * frames}")
        return self._by_table(_numbers("I", self._source.read(position, length)))

    def _by_table(self, table: array[int]) -> array[int]:
        starts, count = self._fragments.starts, len(self._fragments)
        if not count:
            raise wrong_number(f"the pixel data has no fragments, but NumberOfFrames is {len(table)}")
        bounds, index = array("Q"), 0
        for number, entry in enumerate(table):
            start = starts[0] + entry
            while index < count and starts[index] < start:
                index += 1
            if index == count or starts[index] != start:
                raise wrong_offsets(
                    f"entry {number + 1} of the offset table, {entry}, is not the start of a fragment"
                )
            bounds.append(index)
            index += 1
        if bounds[0] != 0:
            raise wrong_offsets("the offset table does not include the first fragments")
        bounds.append(count)
        self._check_starts(bounds)
        return bounds

    def _by_extended_table(self, frames: int, offsets: bytes, lengths: bytes | None) -> array[int]:
        if len(offsets) != 8 * frames or (lengths is not None and len(lengths) != 8 * frames):
            raise wrong_offsets(
                f"the extended offset table does not have {frames} entries, the value of NumberOfFrames"
            )
        if self._fragments.table[1]:
            raise wrong_offsets("the file has both a basic and an extended offset table")
        bounds = self._by_table(_numbers("Q", offsets))
        if len(self._fragments) != frames:
            raise wrong_offsets("the file has an extended offset table, but frames of several fragments")
        if lengths is not None:
            self._trim(_numbers("Q", lengths))
        return bounds

    def _trim(self, lengths: array[int]) -> None:
        """Leave padding out of frames of one fragment each, whose bounds the offsets have confirmed.

        Lengths that do not fit say nothing about the frames then; wsidicom up to 0.31 counts item headers.
        """
        for number, (length, present) in enumerate(zip(lengths, self._fragments.lengths, strict=True), 1):
            if not present - 1 <= length <= present:
                text = (
                    f"ExtendedOffsetTableLengths says {length} bytes of frame {number}, whose fragment has"
                    f" {present}; its lengths are ignored, and each fragment is a frame"
                )
                self.warnings = (Warning("CoercionOfDataElements", text),)
                return
        self._trimmed_lengths = lengths

    def _by_fragments(self, frames: int) -> array[int]:
        """Without an offset table: one fragment per frame, one frame, or frames by their signatures."""
        non_empty = [i for i, length in enumerate(self._fragments.lengths) if length]
        if len(non_empty) == frames:
            return array("Q", [*non_empty, len(self._fragments)])
        if len(non_empty) < frames:
            raise wrong_number(
                f"the pixel data has {len(non_empty)} fragments, but NumberOfFrames is {frames}"
            )
        first_fragments = list(self._frame_starts(non_empty))
        if not first_fragments and frames == 1 and self._codec != "rle":
            first_fragments = non_empty[:1]
        if len(first_fragments) != frames or first_fragments[0] != non_empty[0]:
            raise wrong_number(
                f"the pixel data has no offset table and {len(non_empty)} fragments,"
                f" {len(first_fragments)} of which begin a frame, but NumberOfFrames is {frames}"
            )
        return array("Q", [*first_fragments, len(self._fragments)])

    def _frame_starts(self, non_empty: list[int]) -> Iterator[int]:
        signatures = _SIGNATURES.get(self._codec, ())
        for index in non_empty:
            if signatures and self._source.read(self._fragments.starts[index], 8).startswith(signatures):
                yield index

    def _check_starts(self, bounds: array[int]) -> None:
        """Refuse a table without an entry for a fragment that begins a codestream."""
        if len(bounds) - 1 == len(self._fragments):
            return
        for first, last in pairwise(bounds):
            for index in self._frame_starts(list(range(first + 1, last))):
                raise wrong_offsets(f"fragment {index + 1} begins a frame that is not in the offset table")


def _numbers(code: str, value: bytes) -> array[int]:
    return array("Q", (entry for (entry,) in struct.iter_unpack("<" + code, value)))
