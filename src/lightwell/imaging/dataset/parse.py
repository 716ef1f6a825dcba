"""The two lanes: what each finds in a file, in the same form."""

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
from lightwell.imaging.dataset.parsed_element import ParsedElement
from lightwell.imaging.dataset.part10 import Part10

_TABLES = (0x7FE00001, 0x7FE00002)


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the value of the pixel element lies in ``Part10.source``.

    ``length`` is as declared, -1 where undefined (encapsulated, PS3.5 A.4); the file may end before it.
    ``offset_table`` and ``length_table`` are offset and length of the values of ExtendedOffsetTable and
    ExtendedOffsetTableLengths where the file has them.
    """

    keyword: str
    vr: str
    offset: int
    length: int
    offset_table: tuple[int, int] | None = None
    length_table: tuple[int, int] | None = None


@dataclass(slots=True)
class ParsedDataset:
    """What a lane found.

    ``levels`` are the entries of each level in tag order, group 0002 first; ``found`` those of the data set
    in tag order; ``needed`` those whose value counts, by tag. ``original`` are (offset, length) ranges of the
    source around the pixel element.
    """

    levels: Sequence[list[ParsedElement]]
    found: Sequence[ParsedElement]
    needed: dict[int, ParsedElement]
    pixel: PixelElement | None
    original: tuple[tuple[int, int], ...]
    notes: list[Warning]


def by_level(entries: Sequence[ParsedElement]) -> list[list[ParsedElement]]:
    """Entries of each level, order kept."""
    levels: list[list[ParsedElement]] = [[], [], [], []]
    for entry in entries:
        levels[entry.level].append(entry)
    return levels


def read_fast(part10: Part10, cache: SeriesCache) -> ParsedDataset:
    """The fast lane. Raises `FallbackToFullParser` for what it does not take."""
    if not part10.little_endian:
        raise FallbackToFullParser
    source, start = part10.source, part10.dataset_offset
    lane = (FastImplicitParser if part10.implicit else FastExplicitParser)(source, start, cache)
    lane.dataset()
    meta = read_meta(part10.file_meta, cache)
    lane.needed.update((entry.tag, entry) for entry in meta if entry.needed)
    lane.levels[3][:0] = meta
    pixel = None
    first, second = source.size, source.size
    if lane.pixel:
        tag, vr, first, value, length, second = lane.pixel
        pixel = PixelElement(
            attribute_of(tag).keyword,
            vr if vr in _PIXEL_VRS else _pixel_vr(tag, length == UNDEFINED),
            value,
            -1 if length == UNDEFINED else length,
            lane.tables.get(_TABLES[0]),
            lane.tables.get(_TABLES[1]),
        )
    original = _ranges(start, first, second, source.size)
    return ParsedDataset(lane.levels[:4], lane.found, lane.needed, pixel, original, [])


def read_meta(file_meta: bytes, cache: SeriesCache) -> list[ParsedElement]:
    """Entries of group 0002."""
    lane = FastExplicitParser(BytesSource(file_meta), 0, cache)
    try:
        lane.meta()
    except FallbackToFullParser:
        return read_meta_carefully(file_meta)
    return lane.levels[3]


def read_meta_carefully(file_meta: bytes) -> list[ParsedElement]:
    """Entries of group 0002, by the careful lane."""
    walker = ElementScanner(BytesSource(file_meta))
    return FullParser(walker).entries(walker.root(0, Encoding(implicit=False, big=False)))


def read_carefully(part10: Part10) -> ParsedDataset:
    """The careful lane: any encoding, any size."""
    walker = ElementScanner(part10.source)
    start = part10.dataset_offset
    form = walker.sniff(start, Encoding(implicit=part10.implicit, big=not part10.little_endian))
    places = walker.root(start, form)
    notes: list[Warning] = []
    if form.implicit != part10.implicit:
        kinds = ("explicit", "implicit")
        said, found = kinds[part10.implicit], kinds[form.implicit]
        text = f"The transfer syntax says {said} VR, the data set is in {found} VR"
        notes.append(Warning("CoercionOfDataElements", text))
    if walker.padding:
        notes.append(Warning("ElementsDiscarded", f"{walker.padding} zero bytes after the last element"))
    if any(second.tag <= first.tag for first, second in pairwise(places)):
        notes.append(Warning("CoercionOfDataElements", "The elements are not in the order of their tags"))
    misplaced = [place for place in places if place.tag >> 16 in (0, 2)]
    if misplaced:
        places = [place for place in places if place.tag >> 16 not in (0, 2)]
        notes.append(Warning("ElementsDiscarded", "Elements of group 0000 or 0002 stand in the data set"))
    pixel_place = _choose(places, notes)
    size = part10.source.size
    first, second = (pixel_place.start, pixel_place.end) if pixel_place else (size, size)
    elements = FullParser(walker).entries(places)
    entries = read_meta_carefully(part10.file_meta) + elements
    return ParsedDataset(
        by_level(entries),
        elements,
        {entry.tag: entry for entry in entries if entry.needed},
        _pixel_element(pixel_place, places) if pixel_place else None,
        _ranges(start, first, second, size),
        notes,
    )


def _ranges(start: int, first: int, second: int, size: int) -> tuple[tuple[int, int], ...]:
    """``start`` to ``first`` and ``second`` to ``size`` as (offset, length), empty ones left out."""
    return tuple((a, b - a) for a, b in ((start, first), (second, size)) if b > a)


def _choose(places: list[ElementSpan], notes: list[Warning]) -> ElementSpan | None:
    """The pixel element; of several the last, as of any element."""
    pixels = [place for place in places if place.tag in dictionary.PIXEL_TAGS]
    if not pixels:
        return None
    if len(pixels) > 1:
        names = ", ".join(attribute_of(place.tag).name for place in pixels[:-1])
        notes.append(Warning("ElementsDiscarded", f"{names}: only the last pixel element is taken"))
    return pixels[-1]


_PIXEL_VRS = ("OB", "OW", "OF", "OD")


def _pixel_vr(tag: int, undefined: bool) -> str:
    """The VR that follows from the tag (PS3.5 A.1, A.4)."""
    return {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(tag, "OB" if undefined else "OW")


def _pixel_element(place: ElementSpan, places: list[ElementSpan]) -> PixelElement:
    tables = {p.tag: (p.value, p.length) for p in places if p.tag in _TABLES}
    return PixelElement(
        keyword=attribute_of(place.tag).keyword,
        vr=place.vr if place.vr in _PIXEL_VRS else _pixel_vr(place.tag, place.undefined),
        offset=place.value,
        length=-1 if place.undefined else place.declared,
        offset_table=tables.get(_TABLES[0]),
        length_table=tables.get(_TABLES[1]),
    )
