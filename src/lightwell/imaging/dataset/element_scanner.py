"""The careful walk: where each element of a data set lies, in every uncompressed encoding.

Source: PS3.5 §7 (data elements, sequences, items) and §6.2.2 note on UN. It reads heads only, never values,
so that a file of any size is walked in the memory of one window. What is plainly broken (an element that runs
over the end of its item or of the file, an item that is none) is refused by name; what real writers do and
readers agree about is taken: implicit VR inside of explicit data sets, or in whole files whose transfer
syntax says otherwise, unknown VRs with a two-byte length, stray delimiters, zero bytes after the last
element.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from lightwell.domain.limits import ELEMENTS, NESTING
from lightwell.errors import InputError
from lightwell.imaging.dataset.byte_source import Source
from lightwell.imaging.dataset.dictionary import PIXEL_TAGS, attribute_of

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_WINDOW = 65_536
#: heads that may be read of one file; an honest slide of 100,000 frames has some millions
_BUDGET = 40_000_000


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are encoded."""

    implicit: bool
    big: bool


IMPLICIT_LITTLE = Encoding(implicit=True, big=False)


@dataclass(frozen=True, slots=True)
class ElementSpan:
    """One element: ``vr`` is "" where the encoding gives none. ``value`` to ``value_end`` are the bytes of
    its value without a closing delimiter, ``end`` is behind that. ``declared`` is the length that stands in
    the file, which is more than is there for a pixel element that is cut off. ``form`` is how items inside of
    it are encoded.
    """

    tag: int
    vr: str
    start: int
    value: int
    value_end: int
    end: int
    declared: int
    form: Encoding

    @property
    def undefined(self) -> bool:
        """True if it has no length of its own but ends at a delimiter."""
        return self.declared == UNDEFINED

    @property
    def length(self) -> int:
        return self.value_end - self.value


class ElementScanner:
    """Walks the bytes of ``source``; positions are offsets in it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.size = source.size
        self.padding = 0  # zero bytes found after the last element
        self._window = b""
        self._window_start = 0
        self._left = _BUDGET

    def sniff(self, pos: int, form: Encoding) -> Encoding:
        """``form``, put right if the first element at ``pos`` plainly is of the other kind."""
        head = self.source.read(pos, 6)
        if len(head) < 6:
            return form
        letters = all(0x41 <= byte <= 0x5A for byte in head[4:])
        return Encoding(implicit=not letters, big=form.big)

    def root(self, pos: int, form: Encoding) -> list[ElementSpan]:
        """The elements of the data set from ``pos`` to the end of the file.

        A pixel element that is cut off ends at the end of the file.
        """
        places: list[ElementSpan] = []
        while pos < self.size:
            if self._only_zeros(pos):
                self.padding = self.size - pos
                break
            place = self._element(pos, self.size, form, 0, top=True)
            if place.tag >> 16 != 0xFFFE:
                _add(places, place)
            pos = place.end
        return places

    def items(self, place: ElementSpan, depth: int) -> Iterator[list[ElementSpan]]:
        """The elements of each item of a sequence, in order."""
        if depth >= NESTING:
            raise InputError(f"Sequences are nested more than {NESTING} deep in {_name(place.tag)}")
        pos = place.value
        while pos < place.value_end:
            tag, length, value = self._item_head(pos, place.value_end, place)
            if tag == SEQUENCE_END:
                if value < place.value_end:
                    raise InputError(f"The sequence {_name(place.tag)} ends before its declared length")
                break
            if length == UNDEFINED:
                elements: list[ElementSpan] = []
                pos = self._open_item(value, place.value_end, place.form, depth + 1, elements)
            else:
                pos = value + length
                elements = self._closed_item(value, pos, place.form, depth + 1)
            yield elements

    def read(self, place: ElementSpan) -> bytes:
        """The bytes of a value."""
        if place.value_end <= self._window_start + len(self._window) and place.value >= self._window_start:
            return self._window[place.value - self._window_start : place.value_end - self._window_start]
        return self.source.read(place.value, place.length)

    def _bytes(self, pos: int, length: int, ahead: int = _WINDOW) -> bytes:
        start = pos - self._window_start
        if start < 0 or start + length > len(self._window):
            self._window = self.source.read(pos, ahead)
            self._window_start, start = pos, 0
        return self._window[start : start + length]

    def _closed_item(self, pos: int, end: int, form: Encoding, depth: int) -> list[ElementSpan]:
        places: list[ElementSpan] = []
        while pos < end:
            place = self._element(pos, end, form, depth)
            if place.tag >> 16 != 0xFFFE:
                _add(places, place)
            pos = place.end
        return places

    def _open_item(
        self, pos: int, end: int, form: Encoding, depth: int, places: list[ElementSpan] | None
    ) -> int:
        """Where an item of undefined length ends; its elements go to ``places``."""
        while True:
            place = self._element(pos, end, form, depth)
            pos = place.end
            if place.tag == ITEM_END:
                return pos
            if place.tag == SEQUENCE_END:
                raise InputError("A sequence ends inside of an item: the data set is damaged")
            if places is not None:
                _add(places, place)

    def _element(self, pos: int, end: int, form: Encoding, depth: int, *, top: bool = False) -> ElementSpan:
        """The element at ``pos``, which must lie before ``end``."""
        self._left -= 1
        if self._left < 0:
            raise InputError("The data set has more elements than are read of one file")
        head = self._bytes(pos, 12)
        if len(head) < 8 or pos + 8 > end:
            raise InputError(
                "The file ends, or an item ends, inside of the head of an element: it is cut off or damaged"
            )
        group, element, length = struct.unpack_from(">HHI" if form.big else "<HHI", head)
        tag = group << 16 | element
        value, vr = pos + 8, ""
        if group == 0xFFFE:
            return self._delimiter(pos, tag, length, form)
        if not form.implicit:
            code = head[4:6]
            if code in _LONG:
                if len(head) < 12 or pos + 12 > end:
                    raise InputError(f"The file ends inside of the head of {_name(tag)}: it is cut off")
                value += 4
                length = int.from_bytes(head[8:12], "big" if form.big else "little")
                vr = code.decode()
                if vr == "UN":
                    form = IMPLICIT_LITTLE
            elif 0x41 <= code[0] <= 0x5A and 0x41 <= code[1] <= 0x5A:
                length = int.from_bytes(head[6:8], "big" if form.big else "little")
                vr = code.decode()
            else:
                form = Encoding(implicit=True, big=form.big)
        if length != UNDEFINED:
            value_end = value + length
            if value_end > end:
                if not (top and tag in PIXEL_TAGS):
                    raise InputError(
                        f"{'The file' if top else 'An item'} ends inside of {_name(tag)}: "
                        f"{length} bytes are declared, {end - value} are there"
                    )
                value_end = end
            return ElementSpan(tag, vr, pos, value, value_end, value_end, length, form)
        value_end, after = self._skip(value, end, tag, form, depth, top and tag in PIXEL_TAGS)
        return ElementSpan(tag, vr, pos, value, value_end, after, length, form)

    def _delimiter(self, pos: int, tag: int, length: int, form: Encoding) -> ElementSpan:
        """A delimiter; an item at this place is damage."""
        if tag not in (ITEM_END, SEQUENCE_END) or length not in (0, UNDEFINED):
            raise InputError("An item stands where an element should be: the data set is damaged")
        return ElementSpan(tag, "", pos, pos + 8, pos + 8, pos + 8, 0, form)

    def _item_head(
        self, pos: int, end: int, place: ElementSpan, ahead: int = _WINDOW
    ) -> tuple[int, int, int]:
        """Tag, length and start of the content of the item at ``pos``."""
        head = self._bytes(pos, 8, ahead)
        if len(head) < 8 or pos + 8 > end:
            raise InputError(
                f"The sequence {_name(place.tag)} ends inside of an item: it is cut off or damaged"
            )
        group, element, length = struct.unpack(">HHI" if place.form.big else "<HHI", head)
        tag = group << 16 | element
        if tag not in (ITEM, SEQUENCE_END):
            raise InputError(
                f"The sequence {_name(place.tag)} holds something that is no item: it is damaged"
            )
        if tag == ITEM and length != UNDEFINED and pos + 8 + length > end:
            raise InputError(f"An item of {_name(place.tag)} is longer than its sequence or the file")
        return tag, length, pos + 8

    def _skip(
        self, pos: int, end: int, tag: int, form: Encoding, depth: int, pixels: bool
    ) -> tuple[int, int]:
        """Where a value of undefined length ends, and where the next element starts.

        What is not rightly closed is refused, but pixel data then go to the end of the file.
        """
        if depth >= NESTING:
            raise InputError(f"Sequences are nested more than {NESTING} deep in {_name(tag)}")
        whole = ElementSpan(tag, "", pos, pos, end, end, UNDEFINED, form)
        try:
            while True:
                self._left -= 1
                if self._left < 0:
                    raise InputError("The data set has more elements than are read of one file")
                item, length, value = self._item_head(pos, end, whole, 64 if pixels else _WINDOW)
                if item == SEQUENCE_END:
                    return pos, value
                if length == UNDEFINED:
                    pos = self._open_item(value, end, form, depth + 1, None)
                else:
                    pos = value + length
        except InputError:
            if pixels:
                return end, end
            raise

    def _only_zeros(self, pos: int) -> bool:
        """True if nothing but zero bytes stands from ``pos`` to the end of the file."""
        if self._bytes(pos, 8).strip(b"\0"):
            return False
        while pos < self.size:
            chunk = self.source.read(pos, 1 << 20)
            if not chunk or chunk.strip(b"\0"):
                return not chunk
            pos += len(chunk)
        return True


def _add(places: list[ElementSpan], place: ElementSpan) -> None:
    if len(places) >= ELEMENTS:
        raise InputError(f"The data set, or an item in it, has more than {ELEMENTS} elements")
    places.append(place)


def fragments_end(source: Source, value: int) -> int:
    """Where encapsulated pixel data end whose fragments begin at ``value``, their delimiter included.

    The end of the file where they are cut off or damaged.
    """
    return ElementScanner(source)._skip(value, source.size, 0x7FE00010, Encoding(False, False), 0, True)[1]


def _name(tag: int) -> str:
    attribute = attribute_of(tag)
    digits = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return f"{attribute.keyword} {digits}" if attribute.keyed else digits
