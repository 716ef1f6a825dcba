from __future__ import annotations

import pytest

from lightwell.imaging.dataset.part10 import BytesSource
from lightwell.imaging.instances.dicom_signs import has_sign_of_dicom
from tests.unit.imaging import headers
from tests.unit.imaging.headers import element, part10

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + b"\x3e\x00\x03\x00\xfe\xff\x09\x00" + bytes(5000)
DS_STORE = b"\0\0\0\1Bud1\0\0\x10\0\0\0\x08\0\0\0\x10\0" + bytes(6000)
SQLITE = b"SQLite format 3\0\x10\0\1\1\0\x40\x20\x20" + bytes(4000)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x05\x08\x02" + bytes(300)
EXE = b"MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff\0\0" + bytes(112) + b"PE\0\0d\x86\x06\0" + bytes(500)
UTF16 = "Read me: 1.2.840.10008.1.2\r\n".encode("utf-16")
APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2\0\0\0\t" + bytes(4000)
UIDS = b'{"StudyInstanceUID": "1.2.840.10008", "prefix": "DICM"}' * 9


@pytest.mark.parametrize(
    "data", [b"", b"hello\n", OLE, DS_STORE, SQLITE, PNG, EXE, UTF16, UIDS, b"\xff" * 999]
)
def test_finds_none_in_what_lies_between_images(data: bytes) -> None:
    assert not has_sign_of_dicom(BytesSource(data), "folder/README")


def test_finds_none_in_what_macos_writes_beside_an_image() -> None:
    assert not has_sign_of_dicom(BytesSource(APPLE_DOUBLE), "x.zip/__MACOSX/._1.dcm")


@pytest.mark.parametrize("form", ["explicit", "implicit", "big"])
@pytest.mark.parametrize("tag", [0x00080000, 0x00080005, 0x00080008, 0x00080016, 0x00020000, 0x00020010])
def test_finds_it_in_a_data_set_without_preamble(tag: int, form: str) -> None:
    first = element(tag, "UL", bytes((4, 0, 0, 0)), form=form)
    data = first + element(0x00080018, "UI", "1.2.3", form=form) + bytes(100)
    assert has_sign_of_dicom(BytesSource(data), "IM1")


def test_finds_it_in_what_is_left_of_a_part_10_file() -> None:
    whole = part10(element(0x00080018, "UI", "1.2.3"))
    damaged_prefix = whole[:128] + b"????" + whole[132:]
    without_preamble = whole[128:]
    filled_preamble = b"x" * 128 + b"????" + whole[132:]
    for data in (whole, damaged_prefix, without_preamble, filled_preamble, whole[:60], bytes(5000)):
        assert has_sign_of_dicom(BytesSource(data), "IM1")


@pytest.mark.parametrize("data", [b"", OLE, b"hello"])
def test_finds_it_in_an_ending(data: bytes) -> None:
    assert has_sign_of_dicom(BytesSource(data), "a/IM1.DCM")
    assert has_sign_of_dicom(BytesSource(data), "x.zip/1.dcm")


def test_finds_it_in_bytes_of_an_encoding_that_nobody_has_seen() -> None:
    assert has_sign_of_dicom(BytesSource(b"\0\1" * 200 + b"DICM" + headers.meta()), "IM1")
