"""What the native document must say of a file, worked out from pydicom's reading alone.

The rules are those of AWS's published documents, as far as the made files need them. Nothing of lightwell is
used: this is the second opinion.
"""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

Values = dict[str, Any]

_LEVELS = (
    {"PatientName", "PatientID", "PatientBirthDate", "PatientSex", "OtherPatientNames", "PatientComments"},
    {
        *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription"),
        *("ReferringPhysicianName", "PatientAge", "PatientWeight", "MedicalAlerts", "ProcedureCodeSequence"),
    },
    {
        *("SeriesInstanceUID", "SeriesNumber", "Modality", "SeriesDescription", "BodyPartExamined"),
        *("Manufacturer", "SoftwareVersions", "StationName", "PatientPosition", "FrameOfReferenceUID"),
        *("Laterality", "ProtocolName", "OperatorsName", "SeriesDate", "SeriesTime", "InstitutionName"),
    },
)
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_BINARY = {"OB", "OW", "UN"}


@dataclass(frozen=True, slots=True)
class OriginalInstance:
    """An instance as its file has it: the patient, study and series block, its own, and its private VRs.

    ``checksums`` has the CRC-32 of each frame's pixels, as little-endian bytes.
    """

    uid: str
    number: int
    levels: tuple[Values, Values, Values]
    dicom: Values
    vrs: dict[str, str]
    size: tuple[int, int]
    checksums: tuple[int, ...]


def level_of(key: str) -> int:
    """0 patient, 1 study, 2 series, 3 instance."""
    return next((number for number, keys in enumerate(_LEVELS) if key in keys), 3)


def original(file: bytes) -> OriginalInstance:
    """Read a Part 10 file with native 16-bit pixels."""
    data = pydicom.dcmread(BytesIO(file))
    vrs: dict[str, str] = {}
    flat = {**_values(data.file_meta, vrs), **_values(data, vrs)}
    frames = 1 if data.get("NumberOfFrames") is None else int(data.NumberOfFrames)
    pixels = bytes(data.PixelData)
    size = len(pixels) // frames
    levels: tuple[Values, Values, Values] = ({}, {}, {})
    for key in list(flat):
        if (level := level_of(key)) < 3:
            levels[level][key] = flat.pop(key)
    return OriginalInstance(
        str(data.SOPInstanceUID),
        int(data.InstanceNumber),
        levels,
        flat,
        vrs,
        (int(data.Columns), int(data.Rows)),
        tuple(zlib.crc32(pixels[n * size : (n + 1) * size]) for n in range(frames)),
    )


def _values(data: Dataset, vrs: dict[str, str]) -> Values:
    found: Values = {}
    for tag in sorted(data.keys()):
        if tag == 0x7FE00010:
            continue
        key, vr = keyword_for_tag(tag), str(data.get_item(tag).VR)
        if tag.is_private:
            key, vrs[f"{tag:08X}"] = f"{tag:08X}", vr
        found[key] = _value(data, tag, vr, vrs)
    return found


def _value(data: Dataset, tag: BaseTag, vr: str, vrs: dict[str, str]) -> Any:
    single = tag.is_private or dictionary_VM(tag) == "1"
    if vr == "SQ":
        return [_values(item, vrs) for item in data[tag].value] or None
    raw = data.get_item(tag).value
    if not isinstance(raw, bytes):  # pydicom has looked at it already
        raw = data[tag].value
        if raw is None:
            return None
        raw = struct.pack(f"<{_NUMBERS[vr]}", raw) if vr in _NUMBERS else str(raw).encode()
    if not raw:
        return "" if tag.is_private else None
    if vr in _BINARY:
        return base64.b64encode(raw).decode()
    if vr in _NUMBERS:
        size = struct.calcsize(_NUMBERS[vr])
        values: list[Any] = list(struct.unpack(f"<{len(raw) // size}{_NUMBERS[vr]}", raw))
    else:
        text = raw.decode("utf-8")
        values = [
            part if vr in ("DS", "IS") else part.rstrip(" \0")
            for part in (text.split("\\") if not single or tag.is_private else [text])
        ]
    return values[0] if single and len(values) == 1 else values


def vr_of(key: str) -> str:
    """The VR of a keyword."""
    return dictionary_VR(key)
