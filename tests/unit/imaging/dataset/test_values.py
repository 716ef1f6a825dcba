"""How values are typed in the metadata document."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from lightwell.domain.imports.warnings import Warning
from lightwell.imaging.dataset.character_sets import charset_of
from lightwell.imaging.dataset.dictionary import attribute_of
from lightwell.imaging.dataset.values import number, value_json

ROWS, CREATOR, PRIVATE = 0x00280010, 0x00090010, 0x00091001


def typed(tag: int, vr: str, data: bytes, charset: bytes = b"", *, big: bool = False) -> Any:
    return json.loads(value_json(attribute_of(tag), vr, data, charset_of(charset), [], big=big))


def notes_of(tag: int, vr: str, data: bytes, charset: bytes = b"") -> list[Warning]:
    notes: list[Warning] = []
    value_json(attribute_of(tag), vr, data, charset_of(charset), notes)
    return notes


@pytest.mark.parametrize(
    ("tag", "vr", "data", "value"),
    [
        (0x00080060, "CS", b"CT", "CT"),  # Modality
        (0x00080060, "CS", b" CT ", "CT"),
        (0x00100010, "PN", b"DOE^JOHN", "DOE^JOHN"),  # PatientName
        (0x00100010, "PN", b"A^B=C=D ", "A^B=C=D"),
        (0x00100020, "LO", b" 17 ", "17"),  # PatientID
        (0x00104000, "LT", b"  two\r\nlines \0", "  two\r\nlines"),  # PatientComments
        (0x00081030, "LO", b"a\\b ", "a\\b"),  # StudyDescription has one value
        (0x00080030, "TM", b"101500.12 ", "101500.12"),  # StudyTime
        (0x00080018, "UI", b"1.2.3\0", "1.2.3"),  # SOPInstanceUID
        (0x00281053, "DS", b"1 ", "1 "),  # RescaleSlope stands as in the file
        (0x00281050, "DS", b"40 ", ["40 "]),  # WindowCenter is an array
        (0x00280030, "DS", b"0.25\\0.25 ", ["0.25", "0.25 "]),  # PixelSpacing
        (0x00200013, "IS", b" 7 ", " 7 "),  # InstanceNumber
        (0x00080008, "CS", b"ORIGINAL\\PRIMARY\\\\0015", ["ORIGINAL", "PRIMARY", "", "0015"]),  # ImageType
        (0x00101030, "DS", b"70.5 \0\0", "70.5 "),  # PatientWeight, padded as if it were a UID
        (0x00281050, "DS", b"40\0\\50\0", ["40", "50"]),
        (0x00080005, "CS", b"ISO-IR 100", ["ISO-IR 100"]),  # SpecificCharacterSet
        (0x00280009, "AT", bytes.fromhex("18006510"), ["00181065"]),  # FrameIncrementPointer
        (0x00020001, "OB", b"\0\1", "AAE="),  # FileMetaInformationVersion
        (ROWS, "US", struct.pack("<H", 640), 640),
        (ROWS, "US", struct.pack("<HH", 1, 2), [1, 2]),
        (0x00186024, "SL", struct.pack("<i", -82), -82),  # ReferencePixelPhysicalValueY's neighbour
        (0x00720082, "SV", struct.pack("<q", -(2**63)), -(2**63)),  # SelectorSVValue
        (0x00720083, "UV", struct.pack("<Q", 2**64 - 1), [2**64 - 1]),
        (0x00186028, "FD", struct.pack("<d", 0.008341666666666948), 0.008341666666666948),
        (0x00186028, "FD", struct.pack("<d", 68072048.0), 68072048),
    ],
)
def test_types_a_value(tag: int, vr: str, data: bytes, value: Any) -> None:
    if tag == 0x00720082 or tag == 0x00720083:
        found = typed(tag, vr, data)
        assert found == value or [found] == value or found == [value]
        return
    assert typed(tag, vr, data) == value


@pytest.mark.parametrize("vr", ["LO", "US", "FD", "AT", "OB", "UN", "DS", "PN"])
def test_shows_null_for_an_empty_standard_element_and_a_text_for_a_private_one(vr: str) -> None:
    assert typed(0x00100010, vr, b"") is None
    assert typed(0x00080008, vr, b"") is None
    assert typed(PRIVATE, vr, b"") == ""


@pytest.mark.parametrize("vr", ["LO", "CS", "UI", "DS", "IS", "PN", "UT"])
def test_treats_padding_alone_as_no_value(vr: str) -> None:
    assert typed(0x00100020, vr, b"  ") is None
    assert typed(0x00080008, vr, b"\0\0") is None


def test_shows_private_values_by_their_number() -> None:
    assert typed(CREATOR, "LO", b"TSC Private Group ") == "TSC Private Group"
    assert typed(PRIVATE, "DS", b"1\\2 ") == ["1", "2 "]
    assert typed(PRIVATE, "US", struct.pack("<H", 5)) == 5
    assert typed(PRIVATE, "US", struct.pack("<HH", 5, 6)) == [5, 6]
    assert typed(PRIVATE, "LT", b"a\\b ") == "a\\b"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, b"0"),
        (-0.0, b"-0.0"),
        (1.0, b"1"),
        (-2.5, b"-2.5"),
        (1e300, b"1e+300"),
        (2.0**53, b"9007199254740992.0"),
        (5e-324, b"5e-324"),
        (float("nan"), b'"NaN"'),
        (float("inf"), b'"Infinity"'),
        (float("-inf"), b'"-Infinity"'),
        (2**64 - 1, b"18446744073709551615"),
    ],
)
def test_writes_numbers_as_json_that_reads_back_the_same(value: float, text: bytes) -> None:
    assert number(value) == text
    if isinstance(value, int) or (value == value and abs(value) != float("inf")):
        assert json.loads(text) == value


def test_writes_binary_words_of_big_endian_files_in_little_endian_order() -> None:
    assert typed(0x00281201, "OW", b"\x01\x02\x03\x04", big=True) == "AgEEAw=="
    assert typed(0x00281201, "OB", b"\x01\x02\x03\x04", big=True) == "AQIDBA=="
    assert typed(ROWS, "US", b"\x01\x02", big=True) == 258
    assert typed(0x00280009, "AT", bytes.fromhex("00181065"), big=True) == ["00181065"]


def test_escapes_control_characters() -> None:
    text = "".join(chr(code) for code in range(1, 0x20) if code != 0x1B) + '"\\/\x7f'
    data = text.encode()
    shown = value_json(attribute_of(0x00104000), "LT", data, charset_of(b""), [])
    assert json.loads(shown) == text
    assert min(shown) >= 0x20


def test_warns_of_values_that_are_too_long_for_their_vr() -> None:
    assert notes_of(0x00180050, "DS", b"1.2345678901234567890 ") == [
        Warning("InvalidDicomValueLength", "SliceThickness: a value has 21 characters, VR DS allows 16")
    ]
    assert not notes_of(0x00280030, "DS", b"1.23456789012345\\1.23456789012345")
    assert not notes_of(0x00100010, "PN", b"=".join([b"x" * 64] * 3))
    assert notes_of(0x00100010, "PN", b"x" * 65)
    assert [n.type for n in notes_of(0x00080020, "DA", b"2020.01.01")] == ["InvalidDicomValueLength"]
    assert not notes_of(0x00080060, "CS", b"  SIXTEEN_LETTERS_  ")
    assert not notes_of(0x00100020, "LO", "ä".encode() * 64, b"ISO_IR 192")


@pytest.mark.parametrize(
    "uid", [b"1.2.3..4", b"1.02.3", b".1.2", b"1.2.", b"1.2.x", b"1/2", b"1.2\n", b"1.2\\x"]
)
def test_warns_of_what_is_not_a_uid(uid: bytes) -> None:
    assert [n.type for n in notes_of(0x00080018, "UI", uid)] == ["InvalidUidFormat"]


@pytest.mark.parametrize("uid", [b"1.2.3", b"1.2.3\0", b"0.0", b"2.25.1234567890", b"1.2.840.10008.1.2"])
def test_does_not_warn_of_a_uid(uid: bytes) -> None:
    assert not notes_of(0x00080018, "UI", uid)


def test_warns_of_letters_where_a_vr_allows_none() -> None:
    assert typed(0x00080060, "CS", "É".encode("latin-1"), b"ISO_IR 100") == "É"
    assert [n.type for n in notes_of(0x00080060, "CS", b"\xc9", b"ISO_IR 100")] == ["CoercionOfDataElements"]
