"""Reading one Part 10 file: its level blocks, its instance fragment, and where its pixels lie."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from lightwell.domain.grouping import Grouping
from lightwell.domain.levels import INSTANCE, PATIENT, SERIES, STUDY
from lightwell.domain.warnings import Warning
from lightwell.errors import InputError
from lightwell.imaging import blocks, dictionary
from lightwell.imaging.cache import SeriesCache
from lightwell.imaging.convert import Converter
from lightwell.imaging.dictionary import attribute_of
from lightwell.imaging.entry import Entry
from lightwell.imaging.image import ImageDescription
from lightwell.imaging.part10 import Part10
from lightwell.imaging.source import BytesSource
from lightwell.imaging.walk import Form, Place, Walker


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


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as it came.

    UIDs are trimmed. ``patient``, ``study`` and ``series`` are the level blocks, JSON objects in UTF-8 with
    keys in alphabetical order. ``fragment`` is ``"DICOM":{...},"DICOMVRs":{...}`` of the instance level in
    tag order, group 0002 included. ``image`` is None where there are no pixels or the file does not say what
    a frame is; ``pixel`` is None where there are none. ``original`` are (offset, length) ranges of the source
    that make up the data set without its pixel element, in file order.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str | None
    instance_number: int | None
    grouping: Grouping
    patient: bytes
    study: bytes
    series: bytes
    fragment: bytes
    image: ImageDescription | None
    pixel: PixelElement | None
    original: tuple[tuple[int, int], ...]
    warnings: tuple[Warning, ...]


@dataclass(slots=True)
class Reading:
    """What a lane found: entries in tag order without group 0002, the pixel element, what surrounds it."""

    entries: list[Entry]
    pixel: PixelElement | None
    original: tuple[tuple[int, int], ...]
    notes: list[Warning]


def read_instance(
    part10: Part10, cache: SeriesCache, *, override: Mapping[str, object] | None = None
) -> Instance:
    """Read the elements of an opened file; never loads the pixel element.

    ``override`` is a data set in the DICOM JSON Model (PS3.18 Annex F) that is laid over that of the file.
    Raises `InputError` for a file that is cut off or damaged outside of its pixels, that lacks one of its
    UIDs, or that has a value above the element constraints.
    """
    try:
        return _read(part10, cache, override)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"The data set cannot be read ({type(error).__name__}: {error})") from error


def _read(part10: Part10, cache: SeriesCache, override: Mapping[str, object] | None) -> Instance:
    meta = read_meta(part10.file_meta)
    reading = read_carefully(part10)
    entries = meta + reading.entries
    found = {entry.tag: entry for entry in entries}
    notes = reading.notes
    image = blocks.describe_image(found, reading.pixel.keyword, notes) if reading.pixel else None
    blocks.check_required(found)
    blocks.check_limits(found)
    levels: list[list[Entry]] = [[], [], [], []]
    for entry in entries:
        levels[entry.level].append(entry)
    return Instance(
        study_instance_uid=blocks.text_of(found, 0x0020000D),
        series_instance_uid=blocks.text_of(found, 0x0020000E),
        sop_instance_uid=blocks.text_of(found, 0x00080018),
        sop_class_uid=blocks.text_of(found, 0x00080016) or None,
        instance_number=blocks.integer_of(found, 0x00200013),
        grouping=blocks.grouping_of(found),
        patient=blocks.level_block(levels[PATIENT]),
        study=blocks.level_block(levels[STUDY]),
        series=blocks.level_block(levels[SERIES]),
        fragment=blocks.instance_fragment(levels[INSTANCE]),
        image=image,
        pixel=reading.pixel,
        original=reading.original,
        warnings=blocks.gathered(entries, notes),
    )


def read_meta(file_meta: bytes) -> list[Entry]:
    """Entries of group 0002."""
    walker = Walker(BytesSource(file_meta))
    return Converter(walker).entries(walker.root(0, Form(implicit=False, big=False)))


def read_carefully(part10: Part10) -> Reading:
    """The careful lane: any encoding, any size."""
    walker = Walker(part10.source)
    start = part10.dataset_offset
    form = walker.sniff(start, Form(implicit=part10.implicit, big=not part10.little_endian))
    places = walker.root(start, form)
    notes: list[Warning] = []
    if form.implicit != part10.implicit:
        kinds = ("explicit", "implicit")
        notes.append(
            Warning(
                "CoercionOfDataElements",
                f"The transfer syntax says {kinds[part10.implicit]} VR, the data set is "
                f"in {kinds[form.implicit]} VR",
            )
        )
    if walker.padding:
        notes.append(Warning("ElementsDiscarded", f"{walker.padding} zero bytes after the last element"))
    if any(second.tag <= first.tag for first, second in itertools.pairwise(places)):
        notes.append(Warning("CoercionOfDataElements", "The elements are not in the order of their tags"))
    pixel_place = _choose(places, notes)
    original: tuple[tuple[int, int], ...] = ((start, part10.source.size - start),)
    if pixel_place:
        original = (
            (start, pixel_place.start - start),
            (pixel_place.end, part10.source.size - pixel_place.end),
        )
    return Reading(
        Converter(walker).entries(places),
        pixel_element(pixel_place, places) if pixel_place else None,
        tuple(piece for piece in original if piece[1]),
        notes,
    )


def _choose(places: list[Place], notes: list[Warning]) -> Place | None:
    """The pixel element; of several the last, as of any element."""
    pixels = [place for place in places if place.tag in dictionary.PIXEL_TAGS]
    if not pixels:
        return None
    if len(pixels) > 1:
        names = ", ".join(attribute_of(place.tag).name for place in pixels[:-1])
        notes.append(Warning("ElementsDiscarded", f"{names}: only the last pixel element is taken"))
    return pixels[-1]


def pixel_element(place: Place, places: list[Place]) -> PixelElement:
    """The pixel element at ``place``."""
    known = {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(place.tag, "OB" if place.undefined else "OW")
    tables = {p.tag: (p.value, p.length) for p in places if p.tag in (0x7FE00001, 0x7FE00002)}
    return PixelElement(
        keyword=attribute_of(place.tag).keyword,
        vr=place.vr if place.vr in ("OB", "OW", "OF", "OD") else known,
        offset=place.value,
        length=-1 if place.undefined else place.declared,
        offset_table=tables.get(0x7FE00001),
        length_table=tables.get(0x7FE00002),
    )
