"""Reading one Part 10 file: its level blocks, its instance fragment, and where its pixels lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.image_sets.levels import PATIENT, SERIES, STUDY
from lightwell.domain.imports.warnings import Warning
from lightwell.errors import InputError
from lightwell.imaging.dataset import dicom_json
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.fast_explicit_parser import FallbackToFullParser
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.parse import ParsedDataset, PixelElement, by_level, read_carefully, read_fast
from lightwell.imaging.dataset.parsed_element import ParsedElement
from lightwell.imaging.dataset.part10 import Part10
from lightwell.imaging.editing.override import overlay
from lightwell.imaging.instances import summary

__all__ = ["ParsedInstance", "PixelElement", "SeriesCache", "read_instance"]


@dataclass(frozen=True, slots=True)
class ParsedInstance:
    """One instance as it came.

    UIDs are trimmed. ``patient``, ``study`` and ``series`` are the level blocks, JSON objects in UTF-8 with
    keys in alphabetical order. ``fragment`` is ``"DICOM":{...},"DICOMVRs":{...}`` of the instance level in
    tag order, group 0002 included. ``dicom`` is the whole data set in the DICOM JSON Model, as `dicom_json`
    keeps it. ``image`` is None where there are no pixels or the file does not say what
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
    dicom: bytes
    image: ImageDescription | None
    pixel: PixelElement | None
    original: tuple[tuple[int, int], ...]
    warnings: tuple[Warning, ...]


def read_instance(
    part10: Part10, cache: SeriesCache, *, override: Mapping[str, object] | None = None
) -> ParsedInstance:
    """Read the elements of an opened file; never loads the pixel element.

    ``override`` is a data set in the DICOM JSON Model (PS3.18 Annex F) that is laid over that of the file.
    Raises `InputError` for a file that is cut off or damaged outside of its pixels, that lacks one of its
    UIDs, or that has a value above the element constraints.
    """
    try:
        reading = _read(part10, cache)
        return _instance(reading, cache, override)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"The data set cannot be read ({type(error).__name__}: {error})") from error
    finally:
        cache.settle()


def _read(part10: Part10, cache: SeriesCache) -> ParsedDataset:
    """By the fast lane if it can, else by the careful one."""
    try:
        return read_fast(part10, cache)
    except FallbackToFullParser:
        return read_carefully(part10)


def _instance(
    reading: ParsedDataset, cache: SeriesCache, override: Mapping[str, object] | None
) -> ParsedInstance:
    notes = reading.notes
    pixel = reading.pixel
    # Decoding goes by what the file says, whatever is laid over it.
    image = summary.describe_image(reading.needed, pixel.keyword, notes) if pixel else None
    levels, found, needed = reading.levels, reading.found, reading.needed
    if override:
        entries = overlay([entry for level in levels[:4] for entry in level], override)
        levels = by_level(entries)
        found = [entry for entry in entries if entry.tag >> 16 > 2]
        needed = {entry.tag: entry for entry in entries if entry.needed}
    summary.check_required(needed)
    summary.check_limits(needed)
    return ParsedInstance(
        study_instance_uid=summary.text_of(needed, 0x0020000D),
        series_instance_uid=summary.text_of(needed, 0x0020000E),
        sop_instance_uid=summary.text_of(needed, 0x00080018),
        sop_class_uid=summary.text_of(needed, 0x00080016) or None,
        instance_number=summary.integer_of(needed, 0x00200013),
        grouping=summary.grouping_of(needed),
        patient=_block(levels[PATIENT], cache),
        study=_block(levels[STUDY], cache),
        series=_block(levels[SERIES], cache),
        fragment=summary.instance_fragment(levels[:4]),
        dicom=dicom_json.lines(found),
        image=image,
        pixel=pixel,
        original=reading.original,
        warnings=summary.gathered((entry for level in levels for entry in level), notes),
    )


def _block(entries: list[ParsedElement], cache: SeriesCache) -> bytes:
    key = tuple(entries)
    block = cache.blocks.get(key)
    if block is None:
        block = cache.blocks[key] = summary.level_block(entries)
    return block
