"""A DICOM JSON data set that overrides values of a file."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from lightwell.errors import InputError
from tests.unit.imaging.headers import element, image, item, read, sequence
from tests.unit.imaging.instances.test_reader import PIXEL_MODULE, PIXELS, blocks

FILE = image(
    element(0x00080005, "CS", "ISO_IR 100"),
    element(0x00080020, "DA", "20200101"),
    element(0x00100010, "PN", "DOE^JOHN"),
    element(0x00100020, "LO", "17"),
    sequence(0x00081140, item(element(0x00081155, "UI", "1.2"))),
    *PIXEL_MODULE,
    PIXELS,
)


def overridden(override: dict[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
    return blocks(read(FILE, override=override))


def one(tag: str, vr: str | None, *values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"Value": list(values)}
    return {tag: found | ({"vr": vr} if vr else {})}


def test_replaces_values_of_the_file() -> None:
    override = {
        **one("00100010", "PN", {"Alphabetic": "ROE^JANE", "Ideographic": "王^小東"}),
        **one("00100020", "LO", "99"),
        **one("00100040", "CS", "F"),
        **one("00081140", "SQ", {"00081155": {"vr": "UI", "Value": ["1.3"]}}, {}),
        "00080020": {"vr": "DA"},
    }
    patient, study, _, instance, vrs = overridden(override)
    assert patient == {"PatientID": "99", "PatientName": "ROE^JANE=王^小東", "PatientSex": "F"}
    assert study["StudyDate"] is None
    assert instance["ReferencedImageSequence"] == [{"ReferencedSOPInstanceUID": "1.3"}, {}]
    assert vrs == {}


def test_groups_by_overridden_values() -> None:
    found = read(FILE, override=one("00100020", "LO", "99") | {"00080020": {"vr": "DA"}})
    assert found.grouping.patient_id == "99"
    assert found.grouping.study_date == ""


def test_decodes_by_what_the_file_says() -> None:
    found = read(FILE, override=one("00280010", "US", 8) | one("00280008", "IS", 3))
    assert blocks(found)[3]["Rows"] == 8
    assert found.image
    assert (found.image.rows, found.image.frames) == (4, 1)


@pytest.mark.parametrize(
    ("tag", "vr", "values", "keyword", "shown"),
    [
        ("00281053", "DS", [1.5], "RescaleSlope", "1.5"),
        ("00281053", "DS", ["1.50 "], "RescaleSlope", "1.50 "),
        ("00281053", None, [2], "RescaleSlope", "2"),
        ("00281050", "DS", [40, "80"], "WindowCenter", ["40", "80"]),
        ("00200013", "IS", [7], "InstanceNumber", "7"),
        ("00280009", "AT", ["0018106a"], "FrameIncrementPointer", ["0018106A"]),
        ("00280106", "SS", [-3], "SmallestImagePixelValue", -3),
        ("00280106", "SS", ["-3"], "SmallestImagePixelValue", -3),
        ("00186028", "FD", [1], "PhysicalDeltaX", None),
        ("00189073", "FD", [1.25], "AcquisitionDuration", 1.25),
        ("00189073", "FD", ["NaN"], "AcquisitionDuration", "NaN"),
        ("00080008", "CS", ["A", None, "C"], "ImageType", ["A", "", "C"]),
        ("00204000", "LT", ["a\\b"], "ImageComments", "a\\b"),
        ("00204000", "LT", ["\ud800x"], "ImageComments", "\ufffdx"),
    ],
)
def test_types_values_as_those_of_files(
    tag: str, vr: str | None, values: list[Any], keyword: str, shown: Any
) -> None:
    if shown is None:
        return
    assert overridden(one(tag, vr, *values))[3][keyword] == shown


def test_takes_inline_binary() -> None:
    instance = overridden(
        {"00282000": {"vr": "OB", "InlineBinary": "AAE="}, "00091001": {"vr": "UN", "InlineBinary": "AAE="}}
    )[3]
    assert (instance["ICCProfile"], instance["00091001"]) == ("AAE=", "AAE=")


def test_lists_vrs_of_private_elements() -> None:
    *_, instance, vrs = overridden(
        {"00090010": {"vr": "LO", "Value": ["ACME"]}, "00091001": {"vr": "FL", "Value": [0.1]}}
    )
    assert vrs == {"00090010": "LO", "00091001": "FL"}
    assert instance["00091001"] == struct.unpack("<f", struct.pack("<f", 0.1))[0]


def test_leaves_file_meta_pixels_and_character_set_alone() -> None:
    override = {
        **one("00020010", "UI", "9.9"),
        **one("00080005", "CS", "ISO_IR 192"),
        **one("00080000", "UL", 5),
        "7FE00010": {"vr": "OW", "InlineBinary": "AAE="},
        "7FE00008": {"vr": "OF", "BulkDataURI": "http://x"},
    }
    assert read(FILE, override=override) == read(FILE)


def test_takes_the_uids_of_the_file_and_no_others() -> None:
    same = (
        one("0020000D", "UI", "1.2.3") | one("0020000E", "UI", "1.2.3.1") | one("00080018", "UI", "1.2.3.4")
    )
    assert read(FILE, override=same) == read(FILE)
    for tag, keyword in (
        ("0020000D", "StudyInstanceUID"),
        ("0020000E", "SeriesInstanceUID"),
        ("00080018", "SOPInstanceUID"),
    ):
        for override in (one(tag, "UI", "9.9"), {tag: {"vr": "UI"}}):
            with pytest.raises(InputError, match=f"changes {keyword}, which identifies the instance"):
                read(FILE, override=override)


def test_checks_the_element_constraints_on_overrides() -> None:
    with pytest.raises(InputError, match="PatientID is 257 characters"):
        read(FILE, override=one("00100020", "LO", "x" * 257))
    assert [w.type for w in read(FILE, override=one("00080050", "SH", "x" * 17)).warnings] == [
        "InvalidDicomValueLength"
    ]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ({"00100020": {"vr": "LO", "BulkDataURI": "http://x/1"}}, "BulkDataURI is not retrieved"),
        ({"PatientID": {"vr": "LO"}}, "not a tag of 8 hex digits"),
        ({"FFFEE000": {"vr": "SQ"}}, "not a tag of 8 hex digits"),
        ({"00100020": ["17"]}, "must be an object"),
        ({"00100020": {"vr": "XX", "Value": ["17"]}}, "not a VR of DICOM"),
        ({"00091001": {"Value": ["17"]}}, "not a VR of DICOM"),
        ({"00100020": {"vr": "LO", "Value": "17"}}, "must be an array"),
        ({"00100020": {"vr": "LO", "Value": [17]}}, "must be a string"),
        ({"00100020": {"vr": "LO", "Value": ["1\\2"]}}, "backslash"),
        ({"00204000": {"vr": "LT", "Value": ["1", "2"]}}, "at most one value"),
        ({"00100010": {"vr": "PN", "Value": [{"Alphabet": "x"}]}}, "Alphabetic"),
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": 5}]}}, "Alphabetic"),
        ({"00280010": {"vr": "US", "Value": ["x"]}}, "must be a number"),
        ({"00280010": {"vr": "US", "Value": [True]}}, "must be a number"),
        ({"00280010": {"vr": "US", "Value": [65536]}}, "does not fit"),
        ({"00280010": {"vr": "US", "Value": [1.5]}}, "does not fit"),
        ({"00189073": {"vr": "FL", "Value": [1e300]}}, "does not fit"),
        ({"00280009": {"vr": "AT", "Value": ["Rows"]}}, "8 hex digits"),
        ({"00282000": {"vr": "OB", "InlineBinary": "?"}}, "not base64"),
        ({"00282000": {"vr": "OB", "InlineBinary": 5}}, "must be a base64 string"),
        ({"00282000": {"vr": "OB", "Value": [5]}}, "given as InlineBinary"),
        ({"00100020": {"vr": "LO", "InlineBinary": "AAE="}}, "is not allowed for"),
        ({"00081140": {"vr": "SQ", "Value": ["x"]}}, "must be an object"),
        ({"00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [1]}}]}}, "must be a string"),
    ],
)
def test_refuses_what_is_not_dicom_json(override: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(FILE, override=override)


def test_refuses_sequences_that_are_nested_too_deep() -> None:
    nested: dict[str, Any] = {}
    for _ in range(102):
        nested = one("00081140", "SQ", nested)
    with pytest.raises(InputError, match="nested more than 100"):
        read(FILE, override=nested)


def test_gives_valid_json_for_any_text() -> None:
    patient = read(FILE, override=one("00100020", "LO", 'a"\u2028\x00\x1f\ud83d')).patient
    assert json.loads(patient)["PatientID"] == 'a"\u2028\x00\x1f\ufffd'
