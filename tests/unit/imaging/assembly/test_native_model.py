"""XML metadata: read as they were written, and nothing else is read."""

from __future__ import annotations

import json

import pytest

from lightwell.errors import InputError
from lightwell.imaging.assembly.native_model import data_set
from lightwell.imaging.dataset.dicom_xml import native_model


def _document(content: str, root: str = "<NativeDicomModel>") -> bytes:
    return f'<?xml version="1.0"?>{root}{content}</NativeDicomModel>'.encode()


def test_reads_what_the_server_writes() -> None:
    dataset = {
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
        "00081140": {
            "vr": "SQ",
            "Value": [{"00081150": {"vr": "UI", "Value": ["1.2"]}}, {"00081155": {"vr": "UI"}}],
        },
        "00090010": {"vr": "LO", "Value": ["ACME & Co"]},
        "00091001": {"vr": "SH", "Value": ["<é>"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B^^D", "Ideographic": "山田"}]},
        "00104000": {"vr": "LT", "Value": [" spaces\rand lines\n"]},
        "00280010": {"vr": "US", "Value": ["512"]},
        "00420011": {"vr": "OB", "InlineBinary": "AAAA"},
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://x/1?a&b"},
    }
    assert data_set(native_model(json.dumps(dataset).encode())) == dataset


def test_gives_private_elements_blocks() -> None:
    found = data_set(
        _document(
            '<DicomAttribute tag="00090010" vr="LO"><Value number="1">ONE</Value></DicomAttribute>'
            '<DicomAttribute tag="00090001" vr="US" privateCreator="TWO"><Value number="1"> 5 </Value>'
            '</DicomAttribute><DicomAttribute tag="00090002" vr="US" privateCreator="ONE"/>'
        )
    )
    assert found == {
        "00090010": {"vr": "LO", "Value": ["ONE"]},
        "00090011": {"vr": "LO", "Value": ["TWO"]},
        "00091101": {"vr": "US", "Value": ["5"]},
        "00091002": {"vr": "US"},
    }


_LAUGHS = '<!DOCTYPE n [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><NativeDicomModel>'
_OUTSIDE = '<!DOCTYPE n [<!ENTITY a SYSTEM "file:///etc/passwd">]><NativeDicomModel>'
_NAME = '<DicomAttribute tag="00100020" vr="LO"><Value number="1">{}</Value></DicomAttribute>'


@pytest.mark.parametrize(
    "document",
    [
        _document(_NAME.format("&b;"), _LAUGHS),
        _document(_NAME.format("&a;"), _OUTSIDE),
        _document(_NAME.format("&a;")),
        _document(_NAME.format("")).replace(b"</NativeDicomModel>", b""),
        b"",
        b"\xff\xfe",
        b"<html/>",
        _document("<Value number='1'/>"),
        _document(_NAME.format("") * 2),
        _document(_NAME.replace('tag="00100020" ', "")),
        _document(_NAME.replace("00100020", "0010002é")),
        _document(_NAME.replace('number="1"', 'number="0"')),
        _document(_NAME.replace('number="1"', "")),
        _document(_NAME.replace('number="1"', 'number="9999999"')),
        _document('<DicomAttribute tag="00080001" vr="LO" privateCreator="X"/>'),
        _document(
            '<DicomAttribute tag="00100010" vr="PN"><PersonName number="1"><Alphabetic><FamilyName>A^B'
            "</FamilyName></Alphabetic></PersonName></DicomAttribute>"
        ),
        _document('<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * 150),
    ],
)
def test_refuses(document: bytes) -> None:
    with pytest.raises(InputError):
        data_set(document)
