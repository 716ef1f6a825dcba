"""Parsing a Part 10 file: its level blocks, its instance fragment and the position of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.image_sets.levels import PATIENT, SERIES, STUDY
from lightwell.domain.imports.warnings import Warning
from lightwell.errors import InputError, StorageError
from lightwell.imaging.dataset import dicom_json
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.fast_explicit_parser import FallbackToFullParser
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.nested_pixels import DecodeNested
from lightwell.imaging.dataset.parse import (
    ParsedDataset,
    PixelElement,
    group_by_level,
    parse_fast,
    parse_fully,
)
from lightwell.imaging.dataset.parsed_element import ParsedElement
from lightwell.imaging.dataset.part10 import Part10
from lightwell.imaging.editing.override import apply_override
from lightwell.imaging.instances import summary

__all__ = ["ParsedInstance", "PixelElement", "SeriesCache", "parse_instance"]


@dataclass(frozen=True, slots=True)
class ParsedInstance:
    """One instance as received.

    UIDs are trimmed. ``patient``, ``study`` and ``series`` are the level blocks, JSON objects in UTF-8 with
    keys in alphabetical order. ``fragment`` is ``"DICOM":{...},"DICOMVRs":{...}`` of the instance level in
    tag order, including group 0002. ``dicom`` is the data set in the DICOM JSON Model, as lines
    (`dicom_json`). ``image`` is None if there are no pixels or the file does not describe a frame; ``pixel``
    is None if there are none. ``original`` are the (offset, length) ranges of the source that make up the
    data set without its pixel element, in file order.
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


def parse_instance(
    part10: Part10,
    cache: SeriesCache,
    *,
    override: Mapping[str, object] | None = None,
    decode_nested: DecodeNested | None = None,
    pixel_keyword: str | None = None,
) -> ParsedInstance:
    """Parse the elements of an opened file; never loads the pixel element.

    ``override`` is a data set in the DICOM JSON Model (PS3.18 Annex F) whose elements replace those of the
    file. ``decode_nested`` decodes encapsulated pixel data within sequences, in codec workers only; without
    it, that is left out. ``pixel_keyword``: of a file whose pixel element is stored elsewhere. Raises
    `InputError` for a file that is cut off or damaged outside its pixels, that lacks one of its UIDs, or that
    has a value above the element constraints.
    """
    try:
        return _instance(_parse(part10, cache, decode_nested), cache, override, pixel_keyword)
    except (InputError, MemoryError, StorageError):
        raise
    except Exception as error:
        raise InputError(f"The data set cannot be read ({type(error).__name__}: {error})") from error
    finally:
        cache.rotate()


def _parse(part10: Part10, cache: SeriesCache, decode_nested: DecodeNested | None) -> ParsedDataset:
    """With a fast parser if it supports the data set, else with the full one."""
    try:
        return parse_fast(part10, cache)
    except FallbackToFullParser:
        return parse_fully(part10, decode_nested)


def _instance(
    dataset: ParsedDataset,
    cache: SeriesCache,
    override: Mapping[str, object] | None,
    pixel_keyword: str | None,
) -> ParsedInstance:
    warnings = dataset.warnings
    pixel = dataset.pixel
    keyword = pixel.keyword if pixel else pixel_keyword
    # Frames are decoded by the attributes of the file, whatever the override.
    image = summary.describe_image(dataset.needed, keyword, warnings) if keyword else None
    levels, elements, needed = dataset.levels, dataset.elements, dataset.needed
    if override:
        all_elements = apply_override([element for level in levels[:4] for element in level], override)
        levels = group_by_level(all_elements)
        elements = [element for element in all_elements if element.tag >> 16 > 2]
        needed = {element.tag: element for element in all_elements if element.needed}
    summary.check_required(needed)
    summary.check_limits(needed)
    return ParsedInstance(
        study_instance_uid=summary.text_value(needed, 0x0020000D),
        series_instance_uid=summary.text_value(needed, 0x0020000E),
        sop_instance_uid=summary.text_value(needed, 0x00080018),
        sop_class_uid=summary.text_value(needed, 0x00080016) or None,
        instance_number=summary.integer_value(needed, 0x00200013),
        grouping=summary.grouping_of(needed),
        patient=_block(levels[PATIENT], cache),
        study=_block(levels[STUDY], cache),
        series=_block(levels[SERIES], cache),
        fragment=summary.instance_fragment(levels[:4]),
        dicom=dicom_json.lines(elements),
        image=image,
        pixel=pixel,
        original=dataset.original,
        warnings=summary.collect_warnings((element for level in levels for element in level), warnings),
    )


def _block(elements: list[ParsedElement], cache: SeriesCache) -> bytes:
    key = tuple(elements)
    block = cache.blocks.get(key)
    if block is None:
        block = cache.blocks[key] = summary.level_block(elements)
    return block
