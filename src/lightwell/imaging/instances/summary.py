"""The level blocks of an instance and the values that the server needs, from its parsed elements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.image_sets.levels import INSTANCE
from lightwell.domain.imports.warnings import Warning
from lightwell.domain.limits import ELEMENT_LENGTHS, ELEMENT_VALUES
from lightwell.errors import InputError
from lightwell.imaging.dataset.dictionary import attribute_of
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.parsed_element import OVERLAY_POSITIONS, ParsedElement

_US_MAXIMUM = 0xFFFF
#: warnings listed for one file; the rest are counted
_MOST_WARNINGS = 50

_INTEGER = re.compile(r"\s*[+-]?\d{1,12}\s*\0*", re.ASCII)

_LENGTH_LIMITS = [
    (tag, keyword, ELEMENT_LENGTHS[keyword])
    for tag, keyword in (
        (0x00080016, "SOPClassUID"),
        (0x00080018, "SOPInstanceUID"),
        (0x00080020, "StudyDate"),
        (0x00080030, "StudyTime"),
        (0x00080050, "AccessionNumber"),
        (0x00081030, "StudyDescription"),
        (0x00100010, "PatientName"),
        (0x00100020, "PatientID"),
        (0x00100030, "PatientBirthDate"),
        (0x00100040, "PatientSex"),
        (0x0020000D, "StudyInstanceUID"),
        (0x0020000E, "SeriesInstanceUID"),
        (0x00200010, "StudyID"),
    )
]
_VALUE_LIMITS = [
    (tag, keyword, ELEMENT_VALUES[keyword])
    for tag, keyword in (
        (0x00201206, "NumberOfStudyRelatedSeries"),
        (0x00201208, "NumberOfStudyRelatedInstances"),
    )
]


def level_block(elements: Sequence[ParsedElement]) -> bytes:
    """The JSON object of a level, its keys in alphabetical order."""
    return b"{" + b",".join(sorted([element.json for element in elements])) + b"}"


def instance_fragment(levels: Sequence[Sequence[ParsedElement]]) -> bytes:
    """``"DICOM":{...},"DICOMVRs":{...}`` of the instance level in tag order, from the elements of all levels.

    DICOMVRs is flat and also lists private elements within sequences of the other levels. If a private tag
    has several VRs, that of the top-level element counts, then the first.
    """
    elements = levels[INSTANCE]
    with_vrs = [element for level in levels for element in level if element.vrs]
    if any([element.nested for element in with_vrs]):
        flat = _flat_vrs(with_vrs)
    else:
        flat = [element.vrs[0] for element in with_vrs]
    # One join, since every further copy of large values is expensive.
    shown = [element.json for element in elements] or [b""]
    shown[0] = b'"DICOM":{' + shown[0]
    shown[-1] = b"".join((shown[-1], b'},"DICOMVRs":{', b",".join(flat), b"}"))
    return b",".join(shown)


def _flat_vrs(elements: Sequence[ParsedElement]) -> list[bytes]:
    """The entries of DICOMVRs in tag order, including those of nested elements."""
    vrs: dict[bytes, bytes] = {}
    elements = sorted(elements, key=lambda element: element.tag)
    for element in elements:
        if not element.nested or element.json.startswith(element.vrs[0][:10]):
            vrs[element.vrs[0][:10]] = element.vrs[0]
    for element in elements:
        for listed in element.vrs:
            vrs.setdefault(listed[:10], listed)
    return [vrs[key] for key in sorted(vrs)]


def check_required(elements: Mapping[int, ParsedElement]) -> None:
    """Raise `InputError` for an instance without the UIDs that identify it."""
    for tag in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E):
        if not text_value(elements, tag):
            raise InputError(f"DICOM attribute {attribute_of(tag).keyword} does not exist")


def check_limits(elements: Mapping[int, ParsedElement]) -> None:
    """Raise `InputError` for a value above devguide/dicom-element-constraints."""
    for tag, keyword, limit in _LENGTH_LIMITS:
        element = elements.get(tag)
        if element is not None and isinstance(element.value, str) and len(element.value) > limit:
            raise InputError(
                f"{keyword} is {len(element.value)} characters long, at most {limit} are allowed"
            )
    for tag, keyword, limit in _VALUE_LIMITS:
        number = integer_value(elements, tag)
        if number is not None and number > limit:
            raise InputError(f"{keyword} is {number}, at most {limit} is allowed")


def grouping_of(elements: Mapping[int, ParsedElement]) -> Grouping:
    """The seven grouping values."""
    return Grouping(
        study_instance_uid=text_value(elements, 0x0020000D),
        series_instance_uid=text_value(elements, 0x0020000E),
        patient_id=text_value(elements, 0x00100020),
        study_date=text_value(elements, 0x00080020),
        accession_number=text_value(elements, 0x00080050),
        study_id=text_value(elements, 0x00200010),
        series_number=text_value(elements, 0x00200011),
    )


def describe_image(
    elements: Mapping[int, ParsedElement], pixel_keyword: str, warnings: list[Warning]
) -> ImageDescription | None:
    """The Image Pixel module (PS3.3 C.7.6.3), None if it does not describe a frame."""
    rows, columns = integer_value(elements, 0x00280010), integer_value(elements, 0x00280011)
    bits_allocated = integer_value(elements, 0x00280100)
    if not rows or not columns or not bits_allocated or min(rows, columns, bits_allocated) < 1:
        return None
    if max(rows, columns, bits_allocated) > _US_MAXIMUM:
        return None  # not values of US, which is their VR
    samples = integer_value(elements, 0x00280002)
    bits_stored = integer_value(elements, 0x00280101)
    if bits_stored is not None and not 1 <= bits_stored <= bits_allocated:
        warnings.append(_replaced("BitsStored", bits_stored, bits_allocated))
        bits_stored = bits_allocated
    representation = integer_value(elements, 0x00280103) or 0
    if representation not in (0, 1):
        warnings.append(_replaced("PixelRepresentation", representation, 1))
    frames, declared = 1, False
    element = elements.get(0x00280008)
    if element is not None and element.value is not None:
        number = integer_value(elements, 0x00280008)
        if number is not None and number > 0:
            frames, declared = number, True
        else:
            warnings.append(_replaced("NumberOfFrames", element.value, 1))
    return ImageDescription(
        rows=rows,
        columns=columns,
        samples=1 if samples is None else samples,
        bits_allocated=bits_allocated,
        bits_stored=bits_allocated if bits_stored is None else bits_stored,
        signed=bool(representation),
        photometric=text_value(elements, 0x00280004),
        planar=integer_value(elements, 0x00280006) or 0,
        frames=frames,
        frames_declared=declared,
        pixel_keyword=pixel_keyword,
        idle_bits=_idle_bits(elements, bits_allocated, bits_stored),
    )


def _idle_bits(elements: Mapping[int, ParsedElement], allocated: int, stored: int | None) -> int:
    if stored is None or integer_value(elements, 0x00280102) != stored - 1:
        return 0
    return 0 if any(integer_value(elements, tag) for tag in OVERLAY_POSITIONS) else allocated - stored


def _replaced(keyword: str, value: object, number: int) -> Warning:
    return Warning("CoercionOfDataElements", f"{keyword}: {str(value)[:40]!r} is not valid; {number} is used")


def text_value(elements: Mapping[int, ParsedElement], tag: int) -> str:
    """The trimmed text of a `NEEDED` element, "" if it is absent or empty."""
    element = elements.get(tag)
    if element is None or element.value is None:
        return ""
    value = element.value
    return value if isinstance(value, str) else str(value)


def integer_value(elements: Mapping[int, ParsedElement], tag: int) -> int | None:
    """The number of a `NEEDED` element, None if it is absent or not an integer."""
    element = elements.get(tag)
    if element is None or element.value is None:
        return None
    value = element.value
    if isinstance(value, str):
        return int(value.rstrip("\0")) if _INTEGER.fullmatch(value) else None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def collect_warnings(elements: Iterable[ParsedElement], others: Iterable[Warning]) -> tuple[Warning, ...]:
    """All warnings of a file, each once, at most `_MOST_WARNINGS` and one that counts the rest."""
    unique = dict.fromkeys(others)
    for element in elements:
        if element.warnings:
            unique.update(dict.fromkeys(element.warnings))
    warnings = tuple(unique)
    if len(warnings) > _MOST_WARNINGS:
        rest = Warning("Other", f"{len(warnings) - _MOST_WARNINGS} more warnings of this file are not listed")
        warnings = (*warnings[:_MOST_WARNINGS], rest)
    return warnings
