"""Re-encoding a data set, element by element: in Explicit VR Little Endian, or with its text in UTF-8.

Source: PS3.5 §7 (data elements), §6.2.2 (UN for a value too long for its VR), §7.3 (byte order). Values do
not change except for their byte order; the VRs of an implicit data set are those in the metadata document.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

from lightwell.errors import InputError
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, attribute_of
from lightwell.imaging.dataset.element_scanner import UNDEFINED, ElementScanner, ElementSpan, Encoding
from lightwell.imaging.dataset.full_parser import FullParser, ItemContext, sorted_by_tag, vr_of
from lightwell.imaging.dataset.nested_pixels import ICON_SEQUENCE, NativePixels, encapsulated_pixels
from lightwell.imaging.dataset.transfer_syntaxes import LONG_VRS

UTF8 = b"ISO_IR 192"

_WIDTHS = {vr: struct.calcsize("<" + letter) for vr, letter in values.NUMBERS.items()}
_WIDTHS |= {**values.BINARY, "AT": 2}


def element_header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """Tag, VR and length in ``encoding``; a length above 65,535 needs a VR of `LONG_VRS` in explicit VR."""
    order = ">" if encoding.big else "<"
    tag_bytes = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if encoding.implicit:
        return tag_bytes + struct.pack(order + "I", length)
    if vr in LONG_VRS:
        return tag_bytes + vr.encode() + struct.pack(order + "HI", 0, length)
    return tag_bytes + vr.encode() + struct.pack(order + "H", length)


class Transcriber(FullParser):
    """Encodes the elements of a data set again; with ``utf8`` their text too, in UTF-8.

    ``encoding`` is Explicit VR Little Endian, or the one that the data set has. ``nested``: encapsulated
    pixel data within sequences is replaced, by the offset of its value; what is not in there is left out, and
    an icon with its item. Without ``nested`` it stays as it is.
    """

    def __init__(
        self,
        scanner: ElementScanner,
        encoding: Encoding,
        *,
        utf8: bool = False,
        nested: Mapping[int, NativePixels] | None = None,
    ) -> None:
        super().__init__(scanner)
        self._encoding = encoding
        self._utf8 = utf8
        self._nested = nested
        self._replaced = 0
        self._item = struct.pack(">HH" if encoding.big else "<HH", 0xFFFE, 0xE000)

    def elements(self, spans: Sequence[ElementSpan]) -> Iterator[tuple[int, bytes]]:
        """The tag and the bytes of each top-level element, in tag order, without group lengths."""
        ordered = sorted_by_tag(spans, [])
        context = self._context_of(ordered, None, [])
        for span in ordered:
            yield span.tag, self._encode(span, context, 0)

    def with_replaced_pixels(self, spans: Sequence[ElementSpan]) -> Iterator[tuple[int, bytes]]:
        """Only those of `elements` that differ because of ``nested``."""
        ordered = sorted_by_tag(spans, [])
        context = self._context_of(ordered, None, [])
        for span in ordered:
            if span.vr not in ("SQ", "UN", "") or span.tag in PIXEL_TAGS:
                continue
            before = self._replaced
            element = self._encode(span, context, 0)
            if self._replaced > before:
                yield span.tag, element

    def _encode(self, span: ElementSpan, context: ItemContext, depth: int) -> bytes:
        vr = span.vr
        if not vr or (vr == "UN" and (self._utf8 or self._nested is not None)):
            vr = vr_of(span, attribute_of(span.tag), context)
        if vr == "SQ":
            try:
                content = b"".join(self._encode_items(span, context, depth))
                if span.tag == ICON_SEQUENCE and not content and span.length:
                    return b""  # an icon sequence has an item (PS3.3 C.7.6.1)
                return element_header(span.tag, vr, len(content), self._encoding) + content
            except InputError:
                if span.vr == "SQ" or span.undefined:
                    raise
                vr = "UN"  # a sequence by the dictionary only
        if span.undefined:
            content = self._scanner.source.read(span.value, span.end - span.value)
            return element_header(span.tag, vr, UNDEFINED, self._encoding) + content
        data = self._encode_value(span, vr, context)
        if vr not in values.KNOWN or (vr not in LONG_VRS and len(data) > 0xFFFF):
            vr = "UN"
        return element_header(span.tag, vr, len(data), self._encoding) + data

    def _encode_value(self, span: ElementSpan, vr: str, context: ItemContext) -> bytes:
        data = self._scanner.read(span)
        if span.encoding.big != self._encoding.big and not (vr == "AT" and len(data) % 4):
            data = values.swap_bytes(data, _WIDTHS.get(vr, 1))
        if not self._utf8:
            return data
        if span.tag == CHARSET:
            return UTF8
        if vr in values.CHARSET_TEXT and not (data.isascii() and b"\x1b" not in data):
            text, _ = context.charset.decode(data, vr)
            data = text.encode("utf-8", "replace")
            data += b" " * (len(data) % 2)
        return data

    def _encode_items(self, span: ElementSpan, context: ItemContext, depth: int) -> Iterator[bytes]:
        for elements in self._scanner.scan_items(span, depth):
            ordered = sorted_by_tag(elements, [])
            item_context = self._context_of(ordered, context, [])
            pixel = encapsulated_pixels(ordered) if self._nested is not None else None
            if pixel is not None:
                self._replaced += 1
                if span.tag == ICON_SEQUENCE and pixel.value not in (self._nested or {}):
                    continue
                content = self._encode_with_native(ordered, pixel, item_context, depth + 1)
            else:
                content = b"".join([self._encode(inner, item_context, depth + 1) for inner in ordered])
            yield self._item + struct.pack(">I" if self._encoding.big else "<I", len(content)) + content

    def _encode_with_native(
        self, elements: Sequence[ElementSpan], pixel: ElementSpan, context: ItemContext, depth: int
    ) -> bytes:
        """The elements of an item with native pixel data, or without any."""
        native = (self._nested or {}).get(pixel.value)
        replaced = native.elements() if native is not None else {}
        encoded = {
            span.tag: self._encode(span, context, depth)
            for span in elements
            if span is not pixel and span.tag not in replaced
        }
        for tag, (vr, value) in replaced.items():
            encoded[tag] = element_header(tag, vr, len(value), self._encoding) + value
        return b"".join([encoded[tag] for tag in sorted(encoded)])
