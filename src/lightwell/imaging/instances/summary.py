"""Level blocks of one instance, and what the server has to know about it, from its entries."""

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

_US_MOST = 0xFFFF
#: kinds of warning and element that one file may name; the rest are counted
_WARNINGS = 50

_INTEGER = re.compile(r"\s*[+-]?\d{1,12}\s*\0*", re.ASCII)


def level_block(entries: Sequence[ParsedElement]) -> bytes:
    """The JSON object of a level, its keys in alphabetical order."""
    return b"{" + b",".join(sorted([entry.json for entry in entries])) + b"}"


def instance_fragment(levels: Sequence[Sequence[ParsedElement]]) -> bytes:
    """``"DICOM":{...},"DICOMVRs":{...}`` of the instance level in tag order, from the entries of all levels.

    DICOMVRs is flat and also lists private elements inside of sequences that stand at other levels. Where a
    private tag has several VRs, that of the data set itself counts, then the first.
    """
    entries = levels[INSTANCE]
    listing = [entry for level in levels for entry in level if entry.vrs]
    if any([entry.nested for entry in listing]):
        flat = _flat(listing)
    else:
        flat = [entry.vrs[0] for entry in listing]
    # One join, since large values make every further copy cost.
    shown = [entry.json for entry in entries] or [b""]
    shown[0] = b'"DICOM":{' + shown[0]
    shown[-1] = b"".join((shown[-1], b'},"DICOMVRs":{', b",".join(flat), b"}"))
    return b",".join(shown)


def _flat(entries: Sequence[ParsedElement]) -> list[bytes]:
    """The listed VRs of entries, some of which have others inside of them, in tag order."""
    vrs: dict[bytes, bytes] = {}
    entries = sorted(entries, key=lambda entry: entry.tag)
    for entry in entries:
        if not entry.nested or entry.json.startswith(entry.vrs[0][:10]):
            vrs[entry.vrs[0][:10]] = entry.vrs[0]
    for entry in entries:
        for listed in entry.vrs:
            vrs.setdefault(listed[:10], listed)
    return [vrs[key] for key in sorted(vrs)]


def check_required(found: Mapping[int, ParsedElement]) -> None:
    """`InputError` for an instance that cannot be told from others."""
    for tag in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E):
        if not text_of(found, tag):
            raise InputError(f"DICOM attribute {attribute_of(tag).keyword} does not exist")


def check_limits(found: Mapping[int, ParsedElement]) -> None:
    """`InputError` for a value above devguide/dicom-element-constraints."""
    for tag, keyword, limit in _LENGTHS:
        entry = found.get(tag)
        if entry is not None and isinstance(entry.value, str) and len(entry.value) > limit:
            raise InputError(f"{keyword} is {len(entry.value)} characters long, at most {limit} are allowed")
    for tag, keyword, limit in _VALUES:
        number = integer_of(found, tag)
        if number is not None and number > limit:
            raise InputError(f"{keyword} is {number}, at most {limit} is allowed")


def grouping_of(found: Mapping[int, ParsedElement]) -> Grouping:
    """The seven grouping values."""
    return Grouping(
        study_instance_uid=text_of(found, 0x0020000D),
        series_instance_uid=text_of(found, 0x0020000E),
        patient_id=text_of(found, 0x00100020),
        study_date=text_of(found, 0x00080020),
        accession_number=text_of(found, 0x00080050),
        study_id=text_of(found, 0x00200010),
        series_number=text_of(found, 0x00200011),
    )


def describe_image(
    found: Mapping[int, ParsedElement], pixel_keyword: str, notes: list[Warning]
) -> ImageDescription | None:
    """The Image Pixel module (PS3.3 C.7.6.3), None where it does not say what one frame is."""
    rows, columns = integer_of(found, 0x00280010), integer_of(found, 0x00280011)
    bits_allocated = integer_of(found, 0x00280100)
    if not rows or not columns or not bits_allocated or min(rows, columns, bits_allocated) < 1:
        return None
    if max(rows, columns, bits_allocated) > _US_MOST:
        return None  # of another VR than US, whose values these are
    samples = integer_of(found, 0x00280002)
    bits_stored = integer_of(found, 0x00280101)
    if bits_stored is not None and not 1 <= bits_stored <= bits_allocated:
        notes.append(_taken_as("BitsStored", bits_stored, bits_allocated))
        bits_stored = bits_allocated
    representation = integer_of(found, 0x00280103) or 0
    if representation not in (0, 1):
        notes.append(_taken_as("PixelRepresentation", representation, 1))
    frames, declared = 1, False
    entry = found.get(0x00280008)
    if entry is not None and entry.value is not None:
        number = integer_of(found, 0x00280008)
        if number is not None and number > 0:
            frames, declared = number, True
        else:
            notes.append(_taken_as("NumberOfFrames", entry.value, 1))
    return ImageDescription(
        rows=rows,
        columns=columns,
        samples=1 if samples is None else samples,
        bits_allocated=bits_allocated,
        bits_stored=bits_allocated if bits_stored is None else bits_stored,
        signed=bool(representation),
        photometric=text_of(found, 0x00280004),
        planar=integer_of(found, 0x00280006) or 0,
        frames=frames,
        frames_declared=declared,
        pixel_keyword=pixel_keyword,
        idle_bits=_idle_bits(found, bits_allocated, bits_stored),
    )


def _idle_bits(found: Mapping[int, ParsedElement], allocated: int, stored: int | None) -> int:
    if stored is None or integer_of(found, 0x00280102) != stored - 1:
        return 0
    return 0 if any(integer_of(found, tag) for tag in OVERLAY_POSITIONS) else allocated - stored


def _taken_as(keyword: str, value: object, number: int) -> Warning:
    return Warning("CoercionOfDataElements", f"{keyword}: {str(value)[:40]!r} is taken as {number}")


def text_of(found: Mapping[int, ParsedElement], tag: int) -> str:
    """The trimmed text of a needed element, "" if it is absent or empty."""
    entry = found.get(tag)
    if entry is None or entry.value is None:
        return ""
    value = entry.value
    return value if isinstance(value, str) else str(value)


def integer_of(found: Mapping[int, ParsedElement], tag: int) -> int | None:
    """The number of a needed element, None if it is absent or no whole number."""
    entry = found.get(tag)
    if entry is None or entry.value is None:
        return None
    value = entry.value
    if isinstance(value, str):
        return int(value.rstrip("\0")) if _INTEGER.fullmatch(value) else None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def gathered(entries: Iterable[ParsedElement], others: Iterable[Warning]) -> tuple[Warning, ...]:
    """All warnings of a file, each once, at most `_WARNINGS` and one that counts the rest."""
    found = dict.fromkeys(others)
    for entry in entries:
        if entry.notes:
            found.update(dict.fromkeys(entry.notes))
    warnings = tuple(found)
    if len(warnings) > _WARNINGS:
        rest = Warning("Other", f"{len(warnings) - _WARNINGS} more warnings of this file are not listed")
        warnings = (*warnings[:_WARNINGS], rest)
    return warnings


_LENGTHS = [
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
_VALUES = [
    (tag, keyword, ELEMENT_VALUES[keyword])
    for tag, keyword in (
        (0x00201206, "NumberOfStudyRelatedSeries"),
        (0x00201208, "NumberOfStudyRelatedInstances"),
    )
]
