"""The DICOM JSON Model, rule by rule, and against pydicom's on every file at hand."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pydicom.data
import pytest

from lightwell.domain.image_sets import dicom_json_lines
from lightwell.errors import InputError
from lightwell.imaging.dataset import dicom_json
from lightwell.imaging.dataset.character_sets import charset_of
from lightwell.imaging.dataset.dictionary import attribute_of
from lightwell.imaging.dataset.parse import parse_fully
from tests.imports.file_kinds.files import specimens
from tests.support import consistency
from tests.support.shared_data import SHARED, needs_shared
from tests.unit.imaging import headers

WHEEL = Path(pydicom.data.__file__).parent
PRIVATE = 0x00091001


def shown(vr: str, data: bytes, charset: bytes = b"", *, big: bool = False) -> dict[str, Any]:
    """The element that bytes give, without its tag."""
    attribute = attribute_of(PRIVATE)
    text = dicom_json.from_reader(
        attribute, vr, len(data), lambda: data, charset_of(charset), attribute.hex, big=big
    )
    found: dict[str, Any] = json.loads(b"{%s}" % text, parse_constant=pytest.fail)["00091001"]
    assert found.pop("vr") == vr
    return found


@pytest.mark.parametrize(
    ("vr", "data", "value"),
    [
        ("LO", b"", None),
        ("LO", b"  ", None),
        ("LO", b"A\\\\C ", ["A", None, "C"]),
        ("LO", b"A\\", ["A", None]),
        ("CS", b" A \\B ", ["A", "B"]),
        ("SH", b"\\", [None, None]),
        ("UI", b"1.2\\1.3\0", ["1.2", "1.3"]),
        ("UC", b" A\\B  ", [" A", "B"]),
        ("LT", b"one\\two\r\n ", ["one\\two\r\n"]),
        ("ST", b"a\\b", ["a\\b"]),
        ("UT", b" a\\b", [" a\\b"]),
        ("UR", b"http://x/\\y ", ["http://x/\\y"]),
        ("DA", b"20240102", ["20240102"]),
        ("TM", b"101112\\ ", ["101112", None]),
        ("AS", b"042Y", ["042Y"]),
        ("PN", b"DOE^JANE^^^", [{"Alphabetic": "DOE^JANE^^^"}]),
        ("PN", b"A^B=C=D ", [{"Alphabetic": "A^B", "Ideographic": "C", "Phonetic": "D"}]),
        ("PN", b"=C", [{"Ideographic": "C"}]),
        ("PN", b"A\\\\B", [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}]),
        ("PN", b"==\\A", [None, {"Alphabetic": "A"}]),
        ("IS", b" 12 \\-3\\+4\\007", [12, -3, 4, 7]),
        ("IS", b"1.5 \\x ", ["1.5", "x"]),
        ("IS", b"9007199254740993", ["9007199254740993"]),
        ("AT", struct.pack("<4H", 0x0020, 0x000D, 0x7FE0, 0x00AB), ["0020000D", "7FE000AB"]),
        ("US", struct.pack("<2H", 1, 65535), [1, 65535]),
        ("SS", struct.pack("<h", -1), [-1]),
        ("SL", struct.pack("<i", -(2**31)), [-(2**31)]),
        ("UV", struct.pack("<2Q", 2**53, 2**53 + 1), [2**53, "9007199254740993"]),
        ("SV", struct.pack("<2q", -(2**53), -(2**53) - 1), [-(2**53), "-9007199254740993"]),
        ("FD", struct.pack("<3d", float("nan"), float("inf"), float("-inf")), ["NaN", "inf", "-inf"]),
        ("FL", struct.pack("<2f", 0.1, 3.0), [struct.unpack("<f", struct.pack("<f", 0.1))[0], 3]),
    ],
)
def test_shows_values_by_their_vr(vr: str, data: bytes, value: object) -> None:
    assert shown(vr, data) == ({} if value is None else {"Value": value})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.50", "1.50"),
        ("-0.5", "-0.5"),
        ("1E+02", "1E+02"),
        ("+1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5.0"),
        ("007", "7"),
        ("0.1234567890123", "0.1234567890123"),
        ("1.00000000000000", "1.00000000000000"),
        ("0.12345678901234567", '"0.12345678901234567"'),
        ("12345678901234567", '"12345678901234567"'),
        ("1e400", '"1e400"'),
        ("1e-400", '"1e-400"'),
        ("0e5", "0e5"),
        ("0e99999999999999999999", '"0e99999999999999999999"'),
        ("1e-99999999999999999999", '"1e-99999999999999999999"'),
        pytest.param(f"{'0' * 5000}5", f'"{"0" * 5000}5"', id="more digits than Python reads"),
        ("NaN", '"NaN"'),
        ("1,5", '"1,5"'),
        ("٣", '"٣"'),
    ],
)
def test_shows_decimal_strings_as_numbers_that_keep_their_value(text: str, value: str) -> None:
    attribute = attribute_of(PRIVATE)
    assert dicom_json.from_text(attribute, "DS", f" {text} ") == (
        f'"00091001":{{"vr":"DS","Value":[{value}]}}'.encode()
    )


def test_splits_behind_the_decoding() -> None:
    # The second byte of this letter is a backslash in Shift JIS and in GB 18030.
    assert shown("LO", "表\\A".encode("shift_jis"), b"ISO_IR 13")["Value"] == ["表", "A"]
    assert shown("LO", "俓\\B".encode("gb18030"), b"GB18030")["Value"] == ["俓", "B"]
    name = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
    assert shown("PN", name, b"\\ISO 2022 IR 87")["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}
    ]


@pytest.mark.parametrize("vr", ["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
def test_names_binary_values_above_one_mebibyte(vr: str) -> None:
    assert shown(vr, b"") == {}
    assert shown(vr, bytes(8)) == {"InlineBinary": "AAAAAAAAAAA="}
    assert "InlineBinary" in shown(vr, bytes(1 << 20))
    assert shown(vr, bytes((1 << 20) + 8)) == {"BulkDataURI": dicom_json.bulk_name("00091001")}


def test_keeps_long_texts_in_the_json() -> None:
    assert len(shown("UT", b"a" * (1 << 21))["Value"][0]) == 1 << 21


def test_shows_binary_values_in_little_endian_order() -> None:
    assert shown("OW", b"\1\0\2\0", big=True) == {"InlineBinary": "AAEAAg=="}
    assert shown("US", b"\1\0", big=True) == {"Value": [256]}


def test_shows_bytes_that_do_not_fit_their_vr_as_un() -> None:
    attribute = attribute_of(0x00280010)
    text = dicom_json.from_reader(attribute, "US", 3, lambda: b"abc", charset_of(b""), attribute.hex)
    assert text == b'"00280010":{"vr":"UN","InlineBinary":"YWJj"}'


def made(*elements: bytes, syntax: str = headers.EXPLICIT) -> dict[str, Any]:
    """What a file with the UIDs that it needs and these elements shows."""
    form = {headers.IMPLICIT: "implicit", headers.BIG: "big"}.get(syntax, "explicit")
    instance = headers.read(headers.image(*elements, syntax=syntax, form=form))
    found: dict[str, Any] = json.loads(b"{%s}" % instance.dicom)
    return found


def test_shows_the_whole_data_set_in_tag_order_with_attributes_only() -> None:
    found = made(
        headers.element(0x00080000, "UL", struct.pack("<I", 4)),
        headers.element(0x00083002, "UI", "1.2.840.10008.1.2"),
        headers.element(0x00100010, "PN", "DOE^JANE"),
        headers.element(0x00090010, "LO", "LIGHT"),
        headers.element(0x00091001, "UN", b"ab"),
        headers.sequence(0x00081140, headers.item()),
        headers.sequence(0x00081115),
        headers.element(0x7FE00001, "OV", bytes(8)),
    )
    assert list(found) == sorted(found)
    assert not {"00020010", "00080000", "7FE00001"} & found.keys()
    assert found["00083002"] == {"vr": "UI"}  # for `dicom_json_lines.complete_lines` to fill
    assert found["00081140"] == {"vr": "SQ", "Value": [{}]}
    assert found["00081115"] == {"vr": "SQ"}
    assert found["00091001"] == {"vr": "UN", "InlineBinary": "YWI="}


def test_reads_un_of_undefined_length_as_a_sequence() -> None:
    inner = headers.item(headers.element(0x00080100, "SH", "X", form="implicit"), undefined=True)
    private = headers.element(0x00090010, "LO", "LIGHT")
    found = made(private, headers.sequence(0x00091002, inner, undefined=True, vr="UN"))
    assert found["00091002"] == {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["X"]}}]}


@pytest.mark.parametrize("syntax", [headers.EXPLICIT, headers.IMPLICIT, headers.BIG])
def test_names_long_values_inside_sequences_by_their_path(syntax: str) -> None:
    form = {headers.IMPLICIT: "implicit", headers.BIG: "big"}.get(syntax, "explicit")
    order = ">" if form == "big" else "<"
    long = headers.element(0x00282000, "OB", bytes((1 << 20) + 2), form=form)
    short = headers.element(0x00282000, "OB", bytes(2), form=form)
    items = [headers.item(each, order=order) for each in (short, long)]
    found = made(headers.sequence(0x00480105, *items, form=form), syntax=syntax)
    first, second = found["00480105"]["Value"]
    assert first["00282000"] == {"vr": "OB", "InlineBinary": "AAA="}
    name = dicom_json.bulk_name("00480105/1/00282000")
    assert second["00282000"] == {"vr": "OB", "BulkDataURI": name}


# Against pydicom --------------------------------------------------------------------------------------------


def compare(data: bytes, name: str) -> bool:
    """Assert that pydicom shows the same; False for what is no file that is imported."""
    try:
        ours = json.loads(b"{%s}" % dicom_json.lines(parse_fully(headers.opened(data)).elements))
    except InputError:
        return False
    del ours["00083002"]
    theirs = consistency.by_pydicom(data)
    theirs.pop("00083002", None)
    wrong = consistency.unlike(consistency.without_urls(consistency.normal(ours)), theirs)
    assert not wrong, f"{name}: {wrong}"
    return True


def test_shows_what_pydicom_shows_of_its_own_files() -> None:
    paths = [*(WHEEL / "test_files").glob("*.dcm"), *(WHEEL / "charset_files").glob("*.dcm")]
    assert sum(compare(path.read_bytes(), path.name) for path in paths) > 80


def test_shows_what_pydicom_shows_of_files_of_many_kinds() -> None:
    every = specimens()
    assert sum(compare(each.data, each.name) for each in every[:: max(1, len(every) // 40)]) > 30


@needs_shared
@pytest.mark.parametrize("folder", ["ct-head-phantom", "mr-sagittal", "enhanced-mr", "syntaxes"])
def test_shows_what_pydicom_shows_of_real_files(folder: str) -> None:
    paths = sorted(path for path in (SHARED / folder).rglob("*") if path.is_file())
    if folder != "syntaxes":
        paths = paths[:: max(1, len(paths) // 12)]
    assert sum(compare(path.read_bytes(), path.name) for path in paths) > len(paths) // 2


# Lines ------------------------------------------------------------------------------------------------------

LINES = dicom_json_lines.join_elements(
    [b'"00080018":{"vr":"UI","Value":["1"]}', b'"00100010":{"vr":"PN"}', b'"00101000":{"vr":"LO"}']
)


def test_replaces_lines() -> None:
    new, other = b'"00100020":{"vr":"LO","Value":["P"]}', b'"00100010":{"vr":"PN","Value":[null]}'
    changed = dicom_json_lines.replace_lines(
        LINES, {0x00100020: new, 0x00100010: other, 0x00101000: None, 0x00083002: None}
    )
    assert changed.split(b",\n") == [
        b'"00080018":{"vr":"UI","Value":["1"]}', b'"00083002":{"vr":"UI"}', other, new
    ]  # fmt: skip
    assert dicom_json_lines.replace_lines(LINES, {}) == LINES
    assert dicom_json_lines.find_line(changed, 0x00100020) == new
    assert dicom_json_lines.find_line(changed, 0x00080018) == b'"00080018":{"vr":"UI","Value":["1"]}'
    assert dicom_json_lines.find_line(changed, 0x00101000) is None


def test_fills_in_syntax_and_addresses() -> None:
    path = dicom_json_lines.instance_path("1.2", "1.3", "a b")
    bulk = dicom_json_lines.join_elements(
        [LINES.split(b",\n")[0], b'"00420011":{"vr":"OB","BulkDataURI":"ab"}']
    )
    text = dicom_json_lines.as_object(dicom_json_lines.complete_lines(bulk, "1.2.840", path), "1.2.840")
    text = dicom_json_lines.insert_base_url(text, "https://x%y/datastore/1", "set")
    found = json.loads(text)
    assert list(found) == ["00020010", "00080018", "00083002", "00420011"]
    assert found["00083002"] == found["00020010"] == {"vr": "UI", "Value": ["1.2.840"]}
    assert found["00420011"]["BulkDataURI"] == (
        "https://x%y/datastore/1/studies/1.2/series/1.3/instances/a%20b/bulkdata/ab?imageSetId=set"
    )
