"""Finds the elements of a data set in every uncompressed encoding: their tags, VRs and positions.

Source: PS3.5 §7 (data elements, sequences, items) and §6.2.2 note on UN. It reads headers only, never values,
so a file of any size is scanned in the memory of one window. A data set that is damaged (an element that ends
after its item or the file, something other than an item in a sequence) is refused, and the error names the
element. What real writers produce and readers agree on is accepted: implicit VR within explicit data sets, or
in whole files whose transfer syntax declares explicit VR, unknown VRs with a two-byte length, stray
delimiters, zero bytes after the last element.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from lightwell.domain.limits import ELEMENTS, NESTING
from lightwell.errors import InputError
from lightwell.imaging.dataset.byte_source import Source
from lightwell.imaging.dataset.dictionary import PIXEL_TAGS, attribute_of
from lightwell.imaging.dataset.transfer_syntaxes import LONG_VRS

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_LONG = frozenset(vr.encode() for vr in LONG_VRS)
_WINDOW = 65_536
#: headers that are read of one file; a genuine slide of 100,000 frames has some millions
_MOST_HEADERS = 40_000_000


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are encoded."""

    implicit: bool
    big: bool


IMPLICIT_LITTLE = Encoding(implicit=True, big=False)


@dataclass(frozen=True, slots=True)
class ElementSpan:
    """One element. ``vr`` is "" if the encoding gives none. ``value`` to ``value_end`` are the bytes of its
    value without a closing delimiter; ``end`` is after the delimiter. ``declared`` is the length in the file,
    which exceeds the bytes present if a pixel element is cut off. ``encoding`` is that of its items.
    """

    tag: int
    vr: str
    start: int
    value: int
    value_end: int
    end: int
    declared: int
    encoding: Encoding

    @property
    def undefined(self) -> bool:
        """True if its length is undefined: it ends at a delimiter."""
        return self.declared == UNDEFINED

    @property
    def length(self) -> int:
        return self.value_end - self.value


class ElementScanner:
    """Scans ``source``; positions are offsets in it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.size = source.size
        self.padding = 0  # zero bytes found after the last element
        self._window = b""
        self._window_start = 0
        self._remaining = _MOST_HEADERS

    def detect_encoding(self, pos: int, encoding: Encoding) -> Encoding:
        """``encoding``, with implicit or explicit VR as the first element at ``pos`` shows."""
        header = self.source.read(pos, 6)
        if len(header) < 6:
            return encoding
        letters = all(0x41 <= byte <= 0x5A for byte in header[4:])
        return Encoding(implicit=not letters, big=encoding.big)

    def scan_dataset(self, pos: int, encoding: Encoding) -> list[ElementSpan]:
        """The elements of the data set from ``pos`` to the end of the file.

        A pixel element that is cut off ends with the file.
        """
        spans: list[ElementSpan] = []
        while pos < self.size:
            if self._only_zeros(pos):
                self.padding = self.size - pos
                break
            span = self._scan_element(pos, self.size, encoding, 0, at_root=True)
            if span.tag >> 16 != 0xFFFE:
                _append(spans, span)
            pos = span.end
        return spans

    def scan_items(self, span: ElementSpan, depth: int) -> Iterator[list[ElementSpan]]:
        """The elements of each item of a sequence, in order."""
        if depth >= NESTING:
            raise InputError(f"Sequences are nested more than {NESTING} levels deep in {_name(span.tag)}")
        pos = span.value
        while pos < span.value_end:
            tag, length, value = self._item_header(pos, span.value_end, span)
            if tag == SEQUENCE_END:
                if value < span.value_end:
                    raise InputError(f"The sequence {_name(span.tag)} ends before its declared length")
                break
            if length == UNDEFINED:
                elements: list[ElementSpan] = []
                pos = self._scan_undefined_item(value, span.value_end, span.encoding, depth + 1, elements)
            else:
                pos = value + length
                elements = self._scan_defined_item(value, pos, span.encoding, depth + 1)
            yield elements

    def read(self, span: ElementSpan) -> bytes:
        """The bytes of a value."""
        if span.value_end <= self._window_start + len(self._window) and span.value >= self._window_start:
            return self._window[span.value - self._window_start : span.value_end - self._window_start]
        return self.source.read(span.value, span.length)

    def _bytes(self, pos: int, length: int, window: int = _WINDOW) -> bytes:
        start = pos - self._window_start
        if start < 0 or start + length > len(self._window):
            self._window = self.source.read(pos, window)
            self._window_start, start = pos, 0
        return self._window[start : start + length]

    def _scan_defined_item(self, pos: int, end: int, encoding: Encoding, depth: int) -> list[ElementSpan]:
        spans: list[ElementSpan] = []
        while pos < end:
            span = self._scan_element(pos, end, encoding, depth)
            if span.tag >> 16 != 0xFFFE:
                _append(spans, span)
            pos = span.end
        return spans

    def _scan_undefined_item(
        self, pos: int, end: int, encoding: Encoding, depth: int, spans: list[ElementSpan] | None
    ) -> int:
        """The end of an item of undefined length; its elements are appended to ``spans``."""
        while True:
            span = self._scan_element(pos, end, encoding, depth)
            pos = span.end
            if span.tag == ITEM_END:
                return pos
            if span.tag == SEQUENCE_END:
                raise InputError("A sequence ends inside an item: the data set is damaged")
            if spans is not None:
                _append(spans, span)

    def _scan_element(
        self, pos: int, end: int, encoding: Encoding, depth: int, *, at_root: bool = False
    ) -> ElementSpan:
        """The element at ``pos``, which must end at ``end`` or before."""
        self._remaining -= 1
        if self._remaining < 0:
            raise InputError("The data set has more elements than lightwell reads from one file")
        header = self._bytes(pos, 12)
        if len(header) < 8 or pos + 8 > end:
            raise InputError(
                "The file or an item ends inside the header of an element: the file is cut off or damaged"
            )
        group, element, length = struct.unpack_from(">HHI" if encoding.big else "<HHI", header)
        tag = group << 16 | element
        value, vr = pos + 8, ""
        if group == 0xFFFE:
            return self._delimiter(pos, tag, length, encoding)
        if not encoding.implicit:
            code = header[4:6]
            if code in _LONG:
                if len(header) < 12 or pos + 12 > end:
                    raise InputError(f"The file ends inside the header of {_name(tag)}: it is cut off")
                value += 4
                length = int.from_bytes(header[8:12], "big" if encoding.big else "little")
                vr = code.decode()
                if vr == "UN":
                    encoding = IMPLICIT_LITTLE
            elif 0x41 <= code[0] <= 0x5A and 0x41 <= code[1] <= 0x5A:
                length = int.from_bytes(header[6:8], "big" if encoding.big else "little")
                vr = code.decode()
            else:
                encoding = Encoding(implicit=True, big=encoding.big)
        if length != UNDEFINED:
            value_end = value + length
            if value_end > end:
                if not (at_root and tag in PIXEL_TAGS):
                    raise InputError(
                        f"{'The file' if at_root else 'An item'} ends inside {_name(tag)}: "
                        f"{length} bytes are declared, {end - value} are present"
                    )
                value_end = end
            return ElementSpan(tag, vr, pos, value, value_end, value_end, length, encoding)
        value_end, following = self._skip_undefined(
            value, end, tag, encoding, depth, at_root and tag in PIXEL_TAGS
        )
        return ElementSpan(tag, vr, pos, value, value_end, following, length, encoding)

    def _delimiter(self, pos: int, tag: int, length: int, encoding: Encoding) -> ElementSpan:
        """A delimiter; an item in its place means that the data set is damaged."""
        if tag not in (ITEM_END, SEQUENCE_END) or length not in (0, UNDEFINED):
            raise InputError("There is an item where an element is expected: the data set is damaged")
        return ElementSpan(tag, "", pos, pos + 8, pos + 8, pos + 8, 0, encoding)

    def _item_header(
        self, pos: int, end: int, span: ElementSpan, window: int = _WINDOW
    ) -> tuple[int, int, int]:
        """Tag, length and start of the content of the item at ``pos``."""
        header = self._bytes(pos, 8, window)
        if len(header) < 8 or pos + 8 > end:
            raise InputError(
                f"The sequence {_name(span.tag)} ends inside an item: the file is cut off or damaged"
            )
        group, element, length = struct.unpack(">HHI" if span.encoding.big else "<HHI", header)
        tag = group << 16 | element
        if tag not in (ITEM, SEQUENCE_END):
            raise InputError(
                f"The sequence {_name(span.tag)} contains something other than items: the data set is damaged"
            )
        if tag == ITEM and length != UNDEFINED and pos + 8 + length > end:
            raise InputError(f"An item of {_name(span.tag)} is longer than its sequence or the file")
        return tag, length, pos + 8

    def _skip_undefined(
        self, pos: int, end: int, tag: int, encoding: Encoding, depth: int, pixel_data: bool
    ) -> tuple[int, int]:
        """The end of a value of undefined length, and the start of the next element.

        A value without its delimiter is refused; pixel data without it end with the file.
        """
        if depth >= NESTING:
            raise InputError(f"Sequences are nested more than {NESTING} levels deep in {_name(tag)}")
        sequence = ElementSpan(tag, "", pos, pos, end, end, UNDEFINED, encoding)
        try:
            while True:
                self._remaining -= 1
                if self._remaining < 0:
                    raise InputError("The data set has more elements than lightwell reads from one file")
                item, length, value = self._item_header(pos, end, sequence, 64 if pixel_data else _WINDOW)
                if item == SEQUENCE_END:
                    return pos, value
                if length == UNDEFINED:
                    pos = self._scan_undefined_item(value, end, encoding, depth + 1, None)
                else:
                    pos = value + length
        except InputError:
            if pixel_data:
                return end, end
            raise

    def _only_zeros(self, pos: int) -> bool:
        """True if there are only zero bytes from ``pos`` to the end of the file."""
        if self._bytes(pos, 8).strip(b"\0"):
            return False
        while pos < self.size:
            chunk = self.source.read(pos, 1 << 20)
            if not chunk or chunk.strip(b"\0"):
                return not chunk
            pos += len(chunk)
        return True


def _append(spans: list[ElementSpan], span: ElementSpan) -> None:
    if len(spans) >= ELEMENTS:
        raise InputError(f"The data set, or an item in it, has more than {ELEMENTS} elements")
    spans.append(span)


def fragments_end(source: Source, value: int) -> int:
    """The end of encapsulated pixel data whose items begin at ``value``, after the delimiter.

    The end of the file if they are cut off or damaged.
    """
    return ElementScanner(source)._skip_undefined(
        value, source.size, 0x7FE00010, Encoding(False, False), 0, True
    )[1]


def _name(tag: int) -> str:
    attribute = attribute_of(tag)
    digits = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return f"{attribute.keyword} {digits}" if attribute.keyed else digits
