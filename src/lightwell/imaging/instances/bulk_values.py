"""Bulk values: those that the DICOM JSON of an instance only names, found again and read piece by piece.

Source: PS3.18 §10.4.3.3.2 and F.2.7 (their bytes are in little endian order). Where they lie is found by
walking the heads of the original, as at import, so nothing has to be kept of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightwell.domain import limits
from lightwell.errors import InputError
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dicom_json import BULK, HIDDEN, bulk_name
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, attribute_of
from lightwell.imaging.dataset.element_scanner import ElementScanner, ElementSpan, Encoding
from lightwell.imaging.dataset.full_parser import FullParser, Surroundings, in_order, vr_of
from lightwell.imaging.dataset.part10 import Part10
from lightwell.imaging.dataset.reencode import swapped
from lightwell.imaging.editing.override import UIDS, elements_of, given_bytes, given_vr

_WIDTHS = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4}


@dataclass(frozen=True, slots=True)
class BulkValue:
    """One value; ``read(offset, length)`` gives its bytes in little endian order, fewer only at its end."""

    name: str
    vr: str
    length: int
    read: Callable[[int, int], bytes]


def bulk_values(
    part10: Part10, override: Mapping[str, object] | None, edited: Collection[int]
) -> Iterator[BulkValue]:
    """The bulk values of an original with its override; those of ``edited`` tags are no longer there."""
    laid = {
        attribute.tag: element
        for attribute, element in elements_of(override or {})
        if attribute.tag >> 16 != 2 and attribute.tag not in (*PIXEL_TAGS, *UIDS, CHARSET)
    }
    walker = ElementScanner(part10.source)
    start = part10.dataset_offset
    form = walker.sniff(start, Encoding(implicit=part10.implicit, big=not part10.little_endian))
    places = [place for place in walker.root(start, form) if place.tag >> 16 not in (0, 2)]
    hidden = {*laid, *edited, *PIXEL_TAGS}
    yield from _Finder(walker).values(places, hidden)
    for tag in sorted(laid):
        if tag not in edited:
            yield from _given(tag, laid[tag], f"{tag:08X}")


class _Finder(FullParser):
    def __init__(self, walker: ElementScanner) -> None:
        super().__init__(walker)
        self._source = walker.source

    def values(self, places: Sequence[ElementSpan], hidden: Collection[int]) -> Iterator[BulkValue]:
        """Those of a data set, without the elements of ``hidden`` tags."""
        ordered = in_order(places, [])
        around = self._surroundings(ordered, None, [])
        for place in ordered:
            if place.tag not in hidden:
                yield from self._inside(place, around, 0, f"{place.tag:08X}")

    def _inside(self, place: ElementSpan, around: Surroundings, depth: int, path: str) -> Iterator[BulkValue]:
        if place.length <= BULK or place.tag in HIDDEN:
            return
        vr = vr_of(place, attribute_of(place.tag), around)
        if vr == "SQ":
            if place.undefined or place.vr == "SQ" or not attribute_of(place.tag).private:
                try:
                    yield from self._items(place, around, depth, path)
                    return
                except InputError:
                    if place.undefined or place.vr == "SQ":
                        raise
            else:
                try:
                    found = list(self._items(place, around, depth, path))
                except InputError:
                    vr = "UN"
                else:
                    yield from found
                    return
        if vr not in values.BINARY:
            if place.length > limits.VALUE or not place.length % _WIDTHS.get(vr, 1):
                return
            vr = "UN"
        yield BulkValue(bulk_name(path), vr, place.length, self._reader(place, vr))

    def _items(self, place: ElementSpan, around: Surroundings, depth: int, path: str) -> Iterator[BulkValue]:
        for number, elements in enumerate(self._walker.items(place, depth)):
            ordered = in_order(elements, [])
            inside = self._surroundings(ordered, around, [])
            for inner in ordered:
                yield from self._inside(inner, inside, depth + 1, f"{path}/{number}/{inner.tag:08X}")

    def _reader(self, place: ElementSpan, vr: str) -> Callable[[int, int], bytes]:
        width = values.BINARY[vr] if place.form.big and not place.length % values.BINARY[vr] else 1

        def read(offset: int, length: int) -> bytes:
            first = offset - offset % width
            end = min(offset + length, place.length)
            last = min(-(-end // width) * width, place.length)
            data = swapped(self._source.read(place.value + first, max(last - first, 0)), width)
            return data[offset - first : end - first]

        return read


def _given(tag: int, element: Mapping[str, Any], path: str) -> Iterator[BulkValue]:
    """Those of an element that was given in DICOM JSON."""
    attribute = attribute_of(tag)
    vr = given_vr(attribute, element)
    if vr == "SQ":
        for number, item in enumerate(element.get("Value") or []):
            for inner, given in elements_of(item or {}):
                yield from _given(inner.tag, given, f"{path}/{number}/{inner.hex}")
    elif vr in values.BINARY:
        data = given_bytes(attribute, element)
        data += b"\0" * (len(data) % 2)
        if len(data) > BULK:
            yield BulkValue(
                bulk_name(path), vr, len(data), lambda offset, length: data[offset : offset + length]
            )
