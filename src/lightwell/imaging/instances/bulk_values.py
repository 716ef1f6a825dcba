"""Bulk values: those that the DICOM JSON of an instance refers to, located again and read in pieces.

Source: PS3.18 §10.4.3.3.2 and F.2.7 (their bytes are in little endian order). They are located by scanning
the headers of the original, as at import, so nothing about them is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightwell.domain import limits
from lightwell.errors import InputError
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dicom_json import BULK_THRESHOLD, OFFSET_TABLES, bulk_name
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, attribute_of
from lightwell.imaging.dataset.element_scanner import ElementScanner, ElementSpan, Encoding
from lightwell.imaging.dataset.full_parser import FullParser, ItemContext, sorted_by_tag, vr_of
from lightwell.imaging.dataset.nested_pixels import PIXEL_DATA
from lightwell.imaging.dataset.part10 import Part10
from lightwell.imaging.editing.override import IDENTIFYING_UIDS, json_bytes, json_elements, json_vr

_WIDTHS = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4}


@dataclass(frozen=True, slots=True)
class BulkValue:
    """One value; ``read(offset, length)`` returns its bytes in little endian order, fewer only at its end."""

    name: str
    vr: str
    length: int
    read: Callable[[int, int], bytes]


def bulk_values(
    part10: Part10, override: Mapping[str, object] | None, edited: Collection[int]
) -> Iterator[BulkValue]:
    """The bulk values of an original with its override, without those of ``edited`` tags."""
    overridden = {
        attribute.tag: element
        for attribute, element in json_elements(override or {})
        if attribute.tag >> 16 != 2 and attribute.tag not in (*PIXEL_TAGS, *IDENTIFYING_UIDS, CHARSET)
    }
    scanner = ElementScanner(part10.source)
    start = part10.dataset_offset
    encoding = scanner.detect_encoding(
        start, Encoding(implicit=part10.implicit, big=not part10.little_endian)
    )
    spans = [span for span in scanner.scan_dataset(start, encoding) if span.tag >> 16 not in (0, 2)]
    excluded = {*overridden, *edited, *PIXEL_TAGS}
    yield from _BulkValueFinder(scanner).values(spans, excluded)
    for tag in sorted(overridden):
        if tag not in edited:
            yield from _override_values(tag, overridden[tag], f"{tag:08X}")


class _BulkValueFinder(FullParser):
    def __init__(self, scanner: ElementScanner) -> None:
        super().__init__(scanner)
        self._source = scanner.source

    def values(self, spans: Sequence[ElementSpan], excluded: Collection[int]) -> Iterator[BulkValue]:
        """The bulk values of a data set, without those of the tags in ``excluded``."""
        ordered = sorted_by_tag(spans, [])
        context = self._context_of(ordered, None, [])
        for span in ordered:
            if span.tag not in excluded:
                yield from self._element_values(span, context, 0, f"{span.tag:08X}")

    def _element_values(
        self, span: ElementSpan, context: ItemContext, depth: int, path: str
    ) -> Iterator[BulkValue]:
        if span.length <= BULK_THRESHOLD or span.tag in OFFSET_TABLES:
            return
        if span.undefined and span.tag == PIXEL_DATA:
            return  # encapsulated, which metadata do not show
        vr = vr_of(span, attribute_of(span.tag), context)
        if vr == "SQ":
            if span.undefined or span.vr == "SQ" or not attribute_of(span.tag).private:
                try:
                    yield from self._sequence_values(span, context, depth, path)
                    return
                except InputError:
                    if span.undefined or span.vr == "SQ":
                        raise
            else:
                try:
                    nested_values = list(self._sequence_values(span, context, depth, path))
                except InputError:
                    vr = "UN"
                else:
                    yield from nested_values
                    return
        if vr not in values.BINARY:
            if span.length > limits.VALUE or not span.length % _WIDTHS.get(vr, 1):
                return
            vr = "UN"
        yield BulkValue(bulk_name(path), vr, span.length, self._reader(span, vr))

    def _sequence_values(
        self, span: ElementSpan, context: ItemContext, depth: int, path: str
    ) -> Iterator[BulkValue]:
        for number, elements in enumerate(self._scanner.scan_items(span, depth)):
            ordered = sorted_by_tag(elements, [])
            item_context = self._context_of(ordered, context, [])
            for inner in ordered:
                yield from self._element_values(
                    inner, item_context, depth + 1, f"{path}/{number}/{inner.tag:08X}"
                )

    def _reader(self, span: ElementSpan, vr: str) -> Callable[[int, int], bytes]:
        width = values.BINARY[vr] if span.encoding.big and not span.length % values.BINARY[vr] else 1

        def read(offset: int, length: int) -> bytes:
            first = offset - offset % width
            end = min(offset + length, span.length)
            last = min(-(-end // width) * width, span.length)
            data = values.swap_bytes(self._source.read(span.value + first, max(last - first, 0)), width)
            return data[offset - first : end - first]

        return read


def _override_values(tag: int, element: Mapping[str, Any], path: str) -> Iterator[BulkValue]:
    """The bulk values of an element of an override."""
    attribute = attribute_of(tag)
    vr = json_vr(attribute, element)
    if vr == "SQ":
        for number, item in enumerate(element.get("Value") or []):
            for inner, inner_element in json_elements(item or {}):
                yield from _override_values(inner.tag, inner_element, f"{path}/{number}/{inner.hex}")
    elif vr in values.BINARY:
        data = json_bytes(attribute, element)
        data += b"\0" * (len(data) % 2)
        if len(data) > BULK_THRESHOLD:
            yield BulkValue(
                bulk_name(path), vr, len(data), lambda offset, length: data[offset : offset + length]
            )
