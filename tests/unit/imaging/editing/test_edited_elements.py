"""Edits applied to files that are written again."""

from __future__ import annotations

import io
from typing import Any

import pydicom
import pytest

from lightwell.domain.image_sets.edits import Edit, Edits
from lightwell.errors import StorageError
from lightwell.imaging.dataset.dictionary import attribute_named
from lightwell.imaging.dataset.element_scanner import Encoding
from lightwell.imaging.editing.edited_elements import edited_elements
from lightwell.imaging.editing.native_values import TypingRules, typed_edit
from lightwell.imaging.instances.writer import PixelValue, write_part10
from tests.unit.imaging.headers import BIG, EXPLICIT, IMPLICIT, element, meta

FORMS = {EXPLICIT: "explicit", IMPLICIT: "implicit", BIG: "big"}


def edit(key: str, value: Any, **vrs: str) -> Edit:
    """As an update would make it."""
    attribute = attribute_named(key)
    assert attribute is not None
    return typed_edit(attribute, value, TypingRules(vrs, force=True))


def original(form: str) -> list[bytes]:
    return [
        element(0x00080005, "CS", "ISO_IR 100", form=form),
        element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7", form=form),
        element(0x00080018, "UI", "1.2.3.4", form=form),
        element(0x00100010, "PN", "J\xe9r\xf4me".encode("latin-1"), form=form),
        element(0x00100020, "LO", "P1", form=form),
        element(0x0020000D, "UI", "1.2.3", form=form),
        element(0x0020000E, "UI", "1.2.3.1", form=form),
        element(0x00280010, "US", (16).to_bytes(2, "big" if form == "big" else "little"), form=form),
    ]


def edited(edits: Edits, *, syntax: str = EXPLICIT, pixel: PixelValue | None = None) -> pydicom.FileDataset:
    out = io.BytesIO()
    write_part10(out, meta(syntax) + b"".join(original(FORMS[syntax])), pixel, None, edits)
    out.seek(0)
    return pydicom.dcmread(out)


@pytest.mark.parametrize("syntax", FORMS)
def test_writes_every_kind_of_value(syntax: str) -> None:
    edits: dict[str, Edit | None] = {
        "PatientName": edit("PatientName", "Ä^Ö"),
        "PatientID": None,
        "EthnicGroup": edit("EthnicGroup", None),
        "ImageType": edit("ImageType", ["A", "", "C"]),
        "SliceThickness": edit("SliceThickness", "1.50 "),
        "Columns": edit("Columns", 512),
        "FrameIncrementPointer": edit("FrameIncrementPointer", ["00181065"]),
        "ReferencePixelPhysicalValueX": edit("ReferencePixelPhysicalValueX", 0.1),
        "RedPaletteColorLookupTableData": edit("RedPaletteColorLookupTableData", "AQIDBA=="),
        "SmallestImagePixelValue": edit("SmallestImagePixelValue", -3),
        "001910F9": edit("001910F9", "97", **{"001910F9": "DS"}),
        "00191001": edit("00191001", "AAEC"),
        "ReferencedImageSequence": edit(
            "ReferencedImageSequence",
            [{"ReferencedSOPInstanceUID": "1.2", "ReferencedFrameNumber": [3, 4], "00191002": "é"}, {}],
            **{"00191002": "LO"},
        ),
    }
    data = edited(edits, syntax=syntax)
    assert data.file_meta.TransferSyntaxUID == EXPLICIT
    assert data.SpecificCharacterSet == "ISO_IR 192"
    assert (data.PatientName, "PatientID" in data, data.EthnicGroup) == ("Ä^Ö", False, "")
    assert (list(data.ImageType), data.SliceThickness.original_string) == (["A", "", "C"], "1.50")
    assert (data.Columns, data.FrameIncrementPointer) == (512, 0x00181065)
    assert (data.ReferencePixelPhysicalValueX, data.SmallestImagePixelValue) == (0.1, -3)
    assert data.RedPaletteColorLookupTableData == b"\1\2\3\4"
    assert (data[0x001910F9].VR, data[0x001910F9].value, data[0x00191001].value) == ("DS", 97, b"\0\1\2\0")
    first, second = data.ReferencedImageSequence
    assert (first.ReferencedSOPInstanceUID, list(first.ReferencedFrameNumber)) == ("1.2", [3, 4])
    assert (first[0x00191002].value, len(second)) == ("é", 0)
    assert list(data.keys()) == sorted(data.keys())


def test_leaves_the_character_set_alone_where_it_can() -> None:
    data = edited({"PatientID": edit("PatientID", "P2")})
    assert (data.SpecificCharacterSet, data.PatientName, data.PatientID) == ("ISO_IR 100", "Jérôme", "P2")
    data = edited(
        {"PatientID": edit("PatientID", "P2"), "SpecificCharacterSet": edit("SpecificCharacterSet", "X")}
    )
    assert (data.SpecificCharacterSet, data.PatientName) == ("ISO_IR 100", "Jérôme")
    data = edited({"PatientID": edit("PatientID", "Ü")})
    assert (data.SpecificCharacterSet, data.PatientName, data.PatientID) == ("ISO_IR 192", "Jérôme", "Ü")


def test_keeps_what_describes_the_pixels_that_are_written() -> None:
    edits = {"Rows": edit("Rows", 99), "Columns": edit("Columns", 98), "KVP": edit("KVP", "1")}
    data = edited(edits, pixel=PixelValue("PixelData", "OB", EXPLICIT, 2, [b"ab"]))
    assert (data.Rows, "Columns" in data, data.KVP, data.PixelData) == (16, False, 1, b"ab")
    assert edited(edits).Rows == 99


def test_lets_the_file_meta_follow_the_uids() -> None:
    edits = {
        "SOPInstanceUID": edit("SOPInstanceUID", "1.9"),
        "SOPClassUID": edit("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
        "MediaStorageSOPInstanceUID": edit("MediaStorageSOPInstanceUID", "1.10"),
        "SourceApplicationEntityTitle": edit("SourceApplicationEntityTitle", "ME"),
    }
    data = edited(edits)
    assert (data.SOPInstanceUID, data.file_meta.MediaStorageSOPInstanceUID) == ("1.9", "1.9")
    assert data.file_meta.MediaStorageSOPClassUID == data.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert data.file_meta.SourceApplicationEntityTitle == "ME"
    gone = edited({"SourceApplicationEntityTitle": None, "TransferSyntaxUID": None})
    assert "SourceApplicationEntityTitle" not in gone.file_meta
    assert gone.file_meta.TransferSyntaxUID == EXPLICIT


@pytest.mark.parametrize(
    "damaged",
    [
        {"Nonsense": Edit("LO", "x")},
        {"Rows": Edit("US", "x")},
        {"Rows": Edit("XX", 1)},
        {"PatientID": Edit("LO", [1])},
        {"00191001": Edit("OB", "x")},
        {"ReferencedImageSequence": Edit("SQ", [{"00191001": "x"}])},
    ],
)
def test_refuses_edits_that_no_update_made(damaged: Edits) -> None:
    with pytest.raises(StorageError, match="data verify"):
        edited_elements(damaged, Encoding(implicit=False, big=False), with_pixels=False)
