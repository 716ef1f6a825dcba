"""Elements of the DICOM JSON Model become the bytes that they say, or are refused."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pydicom
import pytest
from pydicom.filereader import read_dataset

from lightwell.errors import InputError
from lightwell.imaging.assembly import model_text
from lightwell.imaging.assembly.bulk_parts import BulkPart, BulkParts
from lightwell.imaging.assembly.encoded_elements import encode

_NO_PARTS = BulkParts([])


def _encoded(dataset: Any, parts: BulkParts = _NO_PARTS) -> bytes:
    text = dataset if isinstance(dataset, str) else json.dumps(dataset)
    found = encode(model_text.data_set(text.encode()), parts)
    pieces = [piece if isinstance(piece, bytes) else b"#" * piece.length for piece in found.pieces]
    assert sum(map(len, pieces)) == found.length
    return b"".join(pieces)


def _read(data: bytes) -> pydicom.Dataset:
    return read_dataset(io.BytesIO(data), is_implicit_VR=False, is_little_endian=True)


def test_encodes_every_vr_as_pydicom_reads_it() -> None:
    values: dict[str, dict[str, Any]] = {
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00081030": {"vr": "LO", "Value": ["Schädel"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Phonetic": "やまだ^たろう"}]},
        "00104000": {"vr": "LT", "Value": ["one\\line\r\nanother"]},
        "0020000D": {"vr": "UI"},
        "00200032": {"vr": "DS", "Value": [1.50, "-0.1230", 3]},
        "00200013": {"vr": "IS", "Value": [7]},
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00280010": {"vr": "US", "Value": [512]},
        "00189087": {"vr": "FD", "Value": [0.1, "NaN", "-inf"]},
        "00189219": {"vr": "SS", "Value": [-3]},
        "00720082": {"vr": "SV", "Value": ["-9007199254740993"]},
        "00280106": {"vr": "US", "Value": [0, 65535.0]},
        "00291010": {"vr": "FL", "Value": [0.10000000149011612]},
        "00420011": {"vr": "OB", "InlineBinary": base64.b64encode(b"%PDF-").decode()},
    }
    found = _read(_encoded(values))
    assert found[0x00080008].value == ["ORIGINAL", "", "AXIAL"]
    assert found[0x0020000D].is_empty
    assert [str(each) for each in found[0x00200032].value] == ["1.5", "-0.1230", "3"]
    assert found[0x00280009].value == 0x00181063 and found[0x00280010].value == 512
    assert found[0x00189087].value[0] == 0.1 and found[0x00189087].value[2] == -float("inf")
    assert found[0x00720082].value == -9007199254740993 and found[0x00280106].value == [0, 65535]
    assert found[0x00420011].value == b"%PDF-\0"
    raw = _encoded(values)
    assert "Yamada^Tarou==やまだ^たろう".encode() in raw and "Schädel".encode() in raw
    assert b"one\\line\r\nanother" in raw


def test_keeps_the_digits_of_a_decimal_string() -> None:
    text = '{"00180050": {"vr": "DS", "Value": [2.50]}, "00101030": {"vr": "DS", "Value": [1e999999]}}'
    assert b"DS\x04\x002.50" in _encoded(text) and b"1e999999" in _encoded(text)


def test_nests_sequences() -> None:
    item = {"00080100": {"vr": "SH", "Value": ["T-1"]}, "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}
    found = _read(_encoded({"00081140": {"vr": "SQ", "Value": [item, None, {"00081140": {"vr": "SQ"}}]}}))
    assert found[0x00081140].value[0].CodeValue == "T-1" and 0x00080005 not in found[0x00081140].value[0]
    assert len(found[0x00081140].value) == 3 and len(found[0x00081140].value[2][0x00081140].value) == 0


def test_gives_a_value_too_long_for_its_vr_to_un() -> None:
    found = _encoded({"30060050": {"vr": "DS", "Value": [1.25] * 20_000}})
    assert found[4:6] == b"UN" and int.from_bytes(found[8:12], "little") == len(found) - 12 == 100_000


def test_takes_bulk_data_of_any_vr_but_sequences() -> None:
    parts = BulkParts([BulkPart("u", "application/octet-stream", None, 0, 7)])
    found = _encoded({"00420011": {"vr": "OB", "BulkDataURI": "u"}}, parts)
    assert found == b"\x42\x00\x11\x00OB\0\0\x08\0\0\0#######\0"
    for dataset in (
        {"00081140": {"vr": "SQ", "BulkDataURI": "u"}},
        {"00420011": {"vr": "OW", "BulkDataURI": "u"}},
        {"00420011": {"vr": "OB", "BulkDataURI": "file:///etc/passwd"}},
        {"00420011": {"vr": "OB", "BulkDataURI": 5}},
        {"00420011": {"vr": "OB", "BulkDataURI": "u", "Value": []}},
    ):
        with pytest.raises(InputError):
            _encoded(dataset, parts)


@pytest.mark.parametrize(
    "element",
    [
        {"vr": "US", "Value": [65536]},
        {"vr": "US", "Value": [-1]},
        {"vr": "US", "Value": [1.5]},
        {"vr": "US", "Value": [None]},
        {"vr": "US", "Value": [True]},
        {"vr": "US", "Value": ["x"]},
        {"vr": "FL", "Value": [1e300]},
        {"vr": "FL", "Value": [1e-300]},
        {"vr": "FD", "Value": ["1e999999"]},
        {"vr": "FD", "Value": ["sNaN"]},
        {"vr": "FD", "Value": ["9" * 5000]},
        {"vr": "IS", "Value": [1.5]},
        {"vr": "LO", "Value": [5]},
        {"vr": "LO", "Value": ["a\\b"]},
        {"vr": "LO", "Value": ["\ud800"]},
        {"vr": "LO", "Value": [["a"]]},
        {"vr": "LO", "Value": "a"},
        {"vr": "ST", "Value": ["a", "b"]},
        {"vr": "PN", "Value": [{"Alphabetic": "a", "Latin": "b"}]},
        {"vr": "PN", "Value": [{"Alphabetic": "a=b"}]},
        {"vr": "PN", "Value": ["a=b=c=d"]},
        {"vr": "AT", "Value": ["0018106"]},
        {"vr": "OB", "Value": [1]},
        {"vr": "OB", "InlineBinary": "****"},
        {"vr": "OW", "InlineBinary": "AA=="},
        {"vr": "LO", "InlineBinary": "AAAA"},
        {"vr": "SQ", "Value": [5]},
        {"vr": "SQ", "Value": [{"00100010": 5}]},
        {"vr": "ZZ", "Value": []},
        {"Value": []},
        {"vr": "LO", "value": ["a"]},
        [],
    ],
)
def test_refuses_what_it_would_have_to_change(element: Any) -> None:
    with pytest.raises(InputError):
        _encoded({"00091010": element})


@pytest.mark.parametrize("key", ["PatientName", "0010001", "00000010", "FFFEE000", "00100010 "])
def test_refuses_what_is_no_tag(key: str) -> None:
    with pytest.raises(InputError):
        _encoded({key: {"vr": "LO"}})


def test_refuses_deep_nesting_repeated_members_and_what_is_no_json() -> None:
    deep: dict[str, Any] = {}
    for _ in range(102):
        deep = {"00081140": {"vr": "SQ", "Value": [deep]}}
    with pytest.raises(InputError, match="levels"):
        _encoded(deep)
    for text in (
        '{"00100010":{"vr":"PN"},"00100010":{"vr":"PN"}}',
        '{"0010001a":{"vr":"PN"},"0010001A":{"vr":"PN"}}',
        '{"00189087":{"vr":"FD","Value":[NaN]}}',
        "[" * 100_000,
        '{"00100010":',
        "[]",
        "{} {}",
    ):
        with pytest.raises(InputError):
            _encoded(text)


def test_finds_each_data_set_of_a_document_by_its_bytes() -> None:
    text = ' [ {"00100010":{"vr":"PN","Value":["Ä"]}} ,\n{"00080018":{"vr":"UI"}}]\n'.encode()
    found = list(model_text.each_data_set(text))
    assert [json.loads(text[start : start + size]) for start, size, _ in found] == json.loads(text)
    assert [dataset for _, _, dataset in found] == json.loads(text)
    assert [(a, b) for a, b, _ in model_text.each_data_set(b' {"a":{}} ')] == [(1, 8)]
    for wrong in (b"", b"[]", b"[{}", b"[{},]", b"[{}] x", b"{} x", b"[5]", b"\xff", b"5", b"[{} {}]"):
        with pytest.raises(InputError):
            list(model_text.each_data_set(wrong))
