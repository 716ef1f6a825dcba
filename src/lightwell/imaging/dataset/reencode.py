"""A data set written again, element by element: in Explicit VR Little Endian, or with its text in UTF-8.

Source: PS3.5 §7 (data elements), §6.2.2 (UN for what is too long for its VR), §7.3 (byte order). Values stay
as they are, but for the order of their bytes; VRs that an implicit data set does not give are those that the
metadata document shows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from lightwell.errors import InputError
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dictionary import CHARSET, attribute_of
from lightwell.imaging.dataset.element_scanner import UNDEFINED, ElementScanner, ElementSpan, Encoding
from lightwell.imaging.dataset.full_parser import FullParser, Surroundings, in_order, vr_of

UTF8 = b"ISO_IR 192"

LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
"""VRs whose explicit form has a length of four bytes (PS3.5 table 7.1-1)."""

_WIDTHS = {vr: struct.calcsize("<" + letter) for vr, letter in values.NUMBERS.items()}
_WIDTHS |= {**values.BINARY, "AT": 2}


def element_head(tag: int, vr: str, length: int, form: Encoding) -> bytes:
    """Tag, VR and length as ``form`` has them; a length that is too long for the VR needs another VR."""
    order = ">" if form.big else "<"
    start = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if form.implicit:
        return start + struct.pack(order + "I", length)
    if vr in LONG:
        return start + vr.encode() + struct.pack(order + "HI", 0, length)
    return start + vr.encode() + struct.pack(order + "H", length)


def swapped(data: bytes, width: int) -> bytes:
    """``data`` with each unit of ``width`` bytes turned around; as it is where it has no whole units."""
    if width == 1 or len(data) % width:
        return data
    turned = bytearray(len(data))
    for place in range(width):
        turned[place::width] = data[width - 1 - place :: width]
    return bytes(turned)


class Transcriber(FullParser):
    """Writes the elements of one walk; with ``utf8`` their text too is written again, in UTF-8.

    ``form`` is Explicit VR Little Endian, or the one that the walk has found.
    """

    def __init__(self, walker: ElementScanner, form: Encoding, *, utf8: bool = False) -> None:
        super().__init__(walker)
        self._form = form
        self._utf8 = utf8
        self._item = struct.pack(">HH" if form.big else "<HH", 0xFFFE, 0xE000)

    def elements(self, places: Sequence[ElementSpan]) -> Iterator[tuple[int, bytes]]:
        """Tag and whole element of a data set, in tag order, without group lengths."""
        ordered = in_order(places, [])
        around = self._surroundings(ordered, None, [])
        for place in ordered:
            yield place.tag, self._written(place, around, 0)

    def _written(self, place: ElementSpan, around: Surroundings, depth: int) -> bytes:
        vr = place.vr
        if not vr or (self._utf8 and vr == "UN"):
            vr = vr_of(place, attribute_of(place.tag), around)
        if vr == "SQ":
            try:
                content = b"".join(self._items(place, around, depth))
                return element_head(place.tag, vr, len(content), self._form) + content
            except InputError:
                if place.vr == "SQ" or place.undefined:
                    raise
                vr = "UN"  # only the dictionary said that it is a sequence
        if place.undefined:
            content = self._walker.source.read(place.value, place.end - place.value)
            return element_head(place.tag, vr, UNDEFINED, self._form) + content
        data = self._value_of(place, vr, around)
        if vr not in values.KNOWN or (vr not in LONG and len(data) > 0xFFFF):
            vr = "UN"
        return element_head(place.tag, vr, len(data), self._form) + data

    def _value_of(self, place: ElementSpan, vr: str, around: Surroundings) -> bytes:
        data = self._walker.read(place)
        if place.form.big != self._form.big and not (vr == "AT" and len(data) % 4):
            data = swapped(data, _WIDTHS.get(vr, 1))
        if not self._utf8:
            return data
        if place.tag == CHARSET:
            return UTF8
        if vr in values.CHARSET_TEXT and not (data.isascii() and b"\x1b" not in data):
            text, _ = around.charset.decode(data, vr)
            data = text.encode("utf-8", "replace")
            data += b" " * (len(data) % 2)
        return data

    def _items(self, place: ElementSpan, around: Surroundings, depth: int) -> Iterator[bytes]:
        for elements in self._walker.items(place, depth):
            ordered = in_order(elements, [])
            inside = self._surroundings(ordered, around, [])
            content = b"".join([self._written(inner, inside, depth + 1) for inner in ordered])
            yield self._item + struct.pack(">I" if self._form.big else "<I", len(content)) + content
