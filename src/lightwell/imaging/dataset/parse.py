"""Parsing a data set, by a fast parser or by the full one; both give the same `ParsedDataset`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lightwell.domain.imports.warnings import Warning
from lightwell.imaging.dataset import dictionary
from lightwell.imaging.dataset.byte_source import BytesSource
from lightwell.imaging.dataset.dictionary import attribute_of
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.element_scanner import UNDEFINED, ElementScanner, ElementSpan, Encoding
from lightwell.imaging.dataset.fast_explicit_parser import FallbackToFullParser, FastExplicitParser
from lightwell.imaging.dataset.fast_implicit_parser import FastImplicitParser
from lightwell.imaging.dataset.full_parser import FullParser
from lightwell.imaging.dataset.nested_pixels import DecodeNested
from lightwell.imaging.dataset.parsed_element import ParsedElement
from lightwell.imaging.dataset.part10 import Part10

_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The position of the value of the pixel element in ``Part10.source``.

    ``length`` is the declared length, -1 if undefined (encapsulated, PS3.5 A.4); the file may end before it.
    ``offset_table`` and ``length_table`` are the (offset, length) of the values of ExtendedOffsetTable and
    ExtendedOffsetTableLengths if the file has them.
    """

    keyword: str
    vr: str
    offset: int
    length: int
    offset_table: tuple[int, int] | None = None
    length_table: tuple[int, int] | None = None


@dataclass(slots=True)
class ParsedDataset:
    """The elements of a file.

    ``levels`` are the elements of each level in tag order, group 0002 first; ``elements`` those of the data
    set in tag order; ``needed`` those whose value the server uses (`parsed_element.NEEDED`), by tag.
    ``original`` are the (offset, length) ranges of the source around the pixel element.
    """

    levels: Sequence[list[ParsedElement]]
    elements: Sequence[ParsedElement]
    needed: dict[int, ParsedElement]
    pixel: PixelElement | None
    original: tuple[tuple[int, int], ...]
    warnings: list[Warning]


def group_by_level(elements: Sequence[ParsedElement]) -> list[list[ParsedElement]]:
    """The elements of each level, in the same order."""
    levels: list[list[ParsedElement]] = [[], [], [], []]
    for element in elements:
        levels[element.level].append(element)
    return levels


def parse_fast(part10: Part10, cache: SeriesCache) -> ParsedDataset:
    """Parse with a fast parser. Raises `FallbackToFullParser` if only the full one supports the data set."""
    if not part10.little_endian:
        raise FallbackToFullParser
    source, start = part10.source, part10.dataset_offset
    parser = (FastImplicitParser if part10.implicit else FastExplicitParser)(source, start, cache)
    parser.parse_dataset()
    meta = parse_file_meta(part10.file_meta, cache)
    parser.needed.update((element.tag, element) for element in meta if element.needed)
    parser.levels[3][:0] = meta
    pixel = None
    pixel_start, pixel_end = source.size, source.size
    if parser.pixel:
        tag, vr, pixel_start, value, length, pixel_end = parser.pixel
        pixel = PixelElement(
            attribute_of(tag).keyword,
            vr if vr in _PIXEL_VRS else _pixel_vr(tag, length == UNDEFINED),
            value,
            -1 if length == UNDEFINED else length,
            parser.offset_tables.get(_OFFSET_TABLES[0]),
            parser.offset_tables.get(_OFFSET_TABLES[1]),
        )
    original = _ranges_without_pixels(start, pixel_start, pixel_end, source.size)
    return ParsedDataset(parser.levels[:4], parser.elements, parser.needed, pixel, original, [])


def parse_file_meta(file_meta: bytes, cache: SeriesCache) -> list[ParsedElement]:
    """The elements of group 0002."""
    parser = FastExplicitParser(BytesSource(file_meta), 0, cache)
    try:
        parser.parse_file_meta()
    except FallbackToFullParser:
        return parse_file_meta_fully(file_meta)
    return parser.levels[3]


def parse_file_meta_fully(file_meta: bytes) -> list[ParsedElement]:
    """The elements of group 0002, by the full parser."""
    scanner = ElementScanner(BytesSource(file_meta))
    return FullParser(scanner).parse(scanner.scan_dataset(0, Encoding(implicit=False, big=False)))


def parse_fully(part10: Part10, decode_nested: DecodeNested | None = None) -> ParsedDataset:
    """Parse with the full parser: any encoding, any size. ``decode_nested`` as for `FullParser`."""
    scanner = ElementScanner(part10.source)
    start = part10.dataset_offset
    encoding = scanner.detect_encoding(
        start, Encoding(implicit=part10.implicit, big=not part10.little_endian)
    )
    spans = scanner.scan_dataset(start, encoding)
    warnings: list[Warning] = []
    if encoding.implicit != part10.implicit:
        declared, actual = ("implicit", "explicit") if part10.implicit else ("explicit", "implicit")
        text = f"The transfer syntax declares {declared} VR, but the data set is in {actual} VR"
        warnings.append(Warning("CoercionOfDataElements", text))
    if scanner.padding:
        warnings.append(Warning("ElementsDiscarded", f"{scanner.padding} zero bytes follow the last element"))
    if any(second.tag <= first.tag for first, second in pairwise(spans)):
        warnings.append(Warning("CoercionOfDataElements", "The elements are not in ascending tag order"))
    misplaced = [span for span in spans if span.tag >> 16 in (0, 2)]
    if misplaced:
        spans = [span for span in spans if span.tag >> 16 not in (0, 2)]
        warnings.append(Warning("ElementsDiscarded", "The data set contains elements of group 0000 or 0002"))
    pixel_span = _choose_pixel_element(spans, warnings)
    size = part10.source.size
    pixel_start, pixel_end = (pixel_span.start, pixel_span.end) if pixel_span else (size, size)
    elements = FullParser(scanner, decode_nested).parse(spans)
    all_elements = parse_file_meta_fully(part10.file_meta) + elements
    return ParsedDataset(
        group_by_level(all_elements),
        elements,
        {element.tag: element for element in all_elements if element.needed},
        _pixel_element(pixel_span, spans) if pixel_span else None,
        _ranges_without_pixels(start, pixel_start, pixel_end, size),
        warnings,
    )


def _ranges_without_pixels(
    start: int, pixel_start: int, pixel_end: int, size: int
) -> tuple[tuple[int, int], ...]:
    """The (offset, length) ranges before and after the pixel element, without empty ones."""
    return tuple((a, b - a) for a, b in ((start, pixel_start), (pixel_end, size)) if b > a)


def _choose_pixel_element(spans: list[ElementSpan], warnings: list[Warning]) -> ElementSpan | None:
    """The pixel element; the last one if there are several, as with any repeated element."""
    pixels = [span for span in spans if span.tag in dictionary.PIXEL_TAGS]
    if not pixels:
        return None
    if len(pixels) > 1:
        names = ", ".join(attribute_of(span.tag).name for span in pixels[:-1])
        warnings.append(Warning("ElementsDiscarded", f"{names}: only the last pixel element is used"))
    return pixels[-1]


_PIXEL_VRS = ("OB", "OW", "OF", "OD")


def _pixel_vr(tag: int, undefined: bool) -> str:
    """The VR of a pixel element by its tag (PS3.5 A.1, A.4)."""
    return {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(tag, "OB" if undefined else "OW")


def _pixel_element(span: ElementSpan, spans: list[ElementSpan]) -> PixelElement:
    tables = {p.tag: (p.value, p.length) for p in spans if p.tag in _OFFSET_TABLES}
    return PixelElement(
        keyword=attribute_of(span.tag).keyword,
        vr=span.vr if span.vr in _PIXEL_VRS else _pixel_vr(span.tag, span.undefined),
        offset=span.value,
        length=-1 if span.undefined else span.declared,
        offset_table=tables.get(_OFFSET_TABLES[0]),
        length_table=tables.get(_OFFSET_TABLES[1]),
    )
