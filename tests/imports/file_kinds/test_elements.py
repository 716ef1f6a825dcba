"""The same odd but valid data set in four encodings, against metadata that are written out here by hand."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import pydicom
import pytest

from tests.imports.file_kinds.files import FORMS
from tests.imports.file_kinds.reading import ImportedFiles, imported
from tests.unit.imaging.headers import BIG, DEFLATED, EXPLICIT, IMPLICIT, element, item, meta, sequence

SYNTAXES = [EXPLICIT, IMPLICIT, BIG, DEFLATED]
ROOT = "1.2.826.0.1.96"

PATIENT: dict[str, Any] = {
    "PatientName": "Müller^Jürgen^^Dr.",
    "PatientID": "ID \\ 7",
    "PatientBirthDate": None,
    "PatientSex": None,
    "OtherPatientNames": ["Eins", "Zwei^Drei"],
    "PatientComments": " leading spaces count,\r\nlines too",
}
STUDY: dict[str, Any] = {
    "StudyInstanceUID": ROOT,
    "StudyDate": "20200101",
    "StudyTime": "120000.000001",
    "PatientAge": "045Y",
    "PatientWeight": "70.50 ",
    "MedicalAlerts": ["one"],
    "ReasonForVisit": "a\\b",
}
SERIES: dict[str, Any] = {
    "Modality": "CT",
    "SeriesNumber": " +7 ",
    "SoftwareVersions": ["VA20A", "VB 1"],
    "PixelPaddingValue": -2000,
    "RequestAttributesSequence": [
        {},
        {"ScheduledProcedureStepDescription": "Größe", "ScheduledProtocolCodeSequence": None},
    ],
}
INSTANCE: dict[str, Any] = {
    "SpecificCharacterSet": ["ISO_IR 100"],
    "ImageType": ["ORIGINAL", "PRIMARY", "", "0015"],
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
    "ReferencedImageSequence": [{"ReferencedSOPInstanceUID": "1.2.3", "00091002": "inside"}],
    "AcquisitionDuration": 0.1,
    "ReferencePixelX0": -82,
    "ContentTime": None,
    "InstanceNumber": "1 ",
    "ImagePositionPatient": ["-1.0", "2.50", "1e-3"],
    "ImageComments": None,
    "NumberOfFrames": "1 ",
    "FrameIncrementPointer": ["00181065", "00181063"],
    "Rows": 3,
    "Columns": 2,
    "PixelRepresentation": 1,
    "SmallestImagePixelValue": -5,
    "WindowCenter": ["40"],
    "RedPaletteColorLookupTableDescriptor": [3, 0, 16],
    "RedPaletteColorLookupTableData": "AQACAAMA",
    "PointCoordinatesData": "AACAPwAAAEA=",
    "SelectorFDValue": [1, 68072048, -0.0, 1e300, "NaN", "-Infinity"],
    "SelectorUVValue": [18446744073709551615],
    "00090010": "ACME 1.0",
    "00091001": "private",
    "00091003": "AQIDBA==",
    "60000010": 3,
    "60003000": "AQADAg==",
}
VRS = {
    "00090010": "LO",
    "00091001": "LO",
    "00091002": "LO",
    "00091003": "OB",
    "60000010": "US",
    "60003000": "OW",
}


def dataset(syntax: str) -> bytes:
    """All elements; numbers and words are in the order of the syntax."""
    form, uid = FORMS.get(syntax, "explicit"), uid_of(syntax)
    order = ">" if form == "big" else "<"

    def e(tag: int, vr: str, value: Any = "") -> bytes:
        return element(tag, vr, value.encode("latin_1") if isinstance(value, str) else value, form=form)

    def n(tag: int, vr: str, codes: str, *numbers: float) -> bytes:
        return element(tag, vr, struct.pack(order + codes, *numbers), form=form)

    nan, infinity = float("nan"), float("inf")
    inner = item(e(0x00081155, "UI", "1.2.3"), e(0x00091002, "LO", "inside"), order=order)
    steps = [
        item(order=order, undefined=True),
        item(e(0x00400007, "LO", "Größe"), sequence(0x00400008, form=form), order=order, undefined=True),
    ]
    private = "UN" if form == "implicit" else "LO"
    return b"".join(
        [
            n(0x00080000, "UL", "I", 9999),
            e(0x00080005, "CS", "ISO_IR 100"),
            e(0x00080008, "CS", "ORIGINAL\\PRIMARY\\\\0015"),
            e(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7"),
            e(0x00080018, "UI", uid),
            e(0x00080020, "DA", "20200101"),
            e(0x00080030, "TM", "120000.000001"),
            e(0x00080033, "TM"),
            e(0x00080060, "CS", " CT "),
            sequence(0x00081140, inner, form=form),
            e(0x00090010, "LO", "ACME 1.0"),
            e(0x00091001, private, "private "),
            e(0x00091003, "OB", b"\1\2\3\4"),
            e(0x00100010, "PN", "Müller^Jürgen^^Dr."),
            e(0x00100020, "LO", " ID \\ 7  "),
            e(0x00100030, "DA"),
            e(0x00100040, "CS", "  "),
            e(0x00101001, "PN", "Eins\\Zwei^Drei"),
            e(0x00101010, "AS", "045Y"),
            e(0x00101030, "DS", "70.50"),
            e(0x00102000, "LO", "one"),
            e(0x00104000, "LT", " leading spaces count,\r\nlines too  "),
            e(0x00181020, "LO", "VA20A\\ VB 1 "),
            n(0x00186020, "SL", "i", -82),
            n(0x00189073, "FD", "d", 0.1),
            e(0x0020000D, "UI", ROOT),
            e(0x0020000E, "UI", uid + ".1"),
            e(0x00200011, "IS", " +7"),
            e(0x00200013, "IS", "1"),
            e(0x00200032, "DS", "-1.0\\2.50\\1e-3"),
            e(0x00204000, "LT"),
            e(0x00280008, "IS", "1"),
            n(0x00280009, "AT", "4H", 0x18, 0x1065, 0x18, 0x1063),
            n(0x00280010, "US", "H", 3),
            n(0x00280011, "US", "H", 2),
            n(0x00280103, "US", "H", 1),
            n(0x00280106, "SS", "h", -5),
            n(0x00280120, "SS", "h", -2000),
            e(0x00281050, "DS", "40"),
            n(0x00281101, "US", "3H", 3, 0, 16),
            n(0x00281201, "OW", "3H", 1, 2, 3),
            e(0x00321066, "UT", "a\\b "),
            sequence(0x00400275, *steps, undefined=True, form=form),
            n(0x00660016, "OF", "2f", 1, 2),
            n(0x00720074, "FD", "6d", 1, 68072048, -0.0, 1e300, nan, -infinity),
            n(0x00720083, "UV", "Q", 2**64 - 1),
            n(0x60000010, "US", "H", 3),
            n(0x60003000, "OW", "2H", 1, 0x203),
        ]
    )


def uid_of(syntax: str) -> str:
    return f"{ROOT}.{SYNTAXES.index(syntax)}"


def files() -> Iterator[tuple[str, bytes]]:
    for syntax in SYNTAXES:
        content = dataset(syntax)
        if syntax == DEFLATED:
            deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
            content = deflater.compress(content) + deflater.flush()
        yield syntax, bytes(128) + b"DICM" + meta(syntax) + content


@pytest.fixture(scope="module")
def imported_files(
    tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path
) -> Iterator[ImportedFiles]:
    folder = tmp_path_factory.mktemp("elements")
    copy(_sqlite_template, folder / "lightwell.db")
    with imported(folder / "data", f"sqlite:///{folder / 'lightwell.db'}", files()) as made:
        yield made


def test_takes_every_file_without_a_warning(imported_files: ImportedFiles) -> None:
    assert imported_files.report.failure == []
    assert imported_files.report.warning == []
    assert set(imported_files.found) == {uid_of(syntax) for syntax in SYNTAXES}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_shows_what_stands_in_the_file(imported_files: ImportedFiles, syntax: str) -> None:
    found = imported_files.found[uid_of(syntax)]
    instance, vrs = dict(INSTANCE), dict(VRS)
    if syntax == IMPLICIT:  # nobody knows what the private elements of ACME are
        inside = {"ReferencedSOPInstanceUID": "1.2.3", "00091002": "aW5zaWRl"}
        instance |= {"00091001": "cHJpdmF0ZSA=", "ReferencedImageSequence": [inside]}
        vrs |= {tag: "UN" for tag in ("00091001", "00091002", "00091003")}
    head = {
        "FileMetaInformationGroupLength": len(meta(syntax)) - 12,
        "FileMetaInformationVersion": "AAE=",
        "TransferSyntaxUID": syntax,
        "SOPInstanceUID": uid_of(syntax),
    }
    assert found.instance["DICOM"] == instance | head
    assert found.instance["DICOMVRs"] == vrs
    assert found.instance["ImageFrames"] == []
    assert found.attributes == {
        **PATIENT,
        **STUDY,
        **SERIES,
        "SeriesInstanceUID": uid_of(syntax) + ".1",
        **instance,
        **head,
    }


def test_shows_levels_by_name_and_instances_by_tag(imported_files: ImportedFiles) -> None:
    found = imported_files.found[uid_of(EXPLICIT)]
    keys = list(found.instance["DICOM"])
    assert keys[:4] == [
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "TransferSyntaxUID",
        "SpecificCharacterSet",
    ]
    assert keys[-3:] == ["SelectorUVValue", "60000010", "60003000"]
    assert [key for key in found.attributes if key in PATIENT] == sorted(PATIENT)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_exports_every_byte_but_group_lengths(imported_files: ImportedFiles, syntax: str) -> None:
    data = imported_files.exported(uid_of(syntax))
    content = dataset(syntax)
    assert data.endswith(content[12:])
    wanted = EXPLICIT if syntax == DEFLATED else syntax
    assert pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID == wanted
