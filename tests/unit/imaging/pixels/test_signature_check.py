import pytest

from lightwell.imaging.dataset.transfer_syntaxes import SYNTAXES
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.signature_check import check_signature

DICOM = "1.2.840.10008.1.2.4."
TRANSPORT = (b"\x47" + bytes(187)) * 3
STAMPED = (bytes(4) + b"\x47" + bytes(187)) * 2


@pytest.mark.parametrize(
    ("tail", "head"),
    [
        ("50", b"\xff\xd8\xff\xe0"),
        ("91", b"\xff\x4f\xff\x51"),
        ("91", b"\0\0\0\x0cjP  \r\n\x87\n"),
        ("203", b"\xff\x4f\xff\x51"),
        ("112", b"\xff\x0a"),
        ("110", b"\0\0\0\x0cJXL \r\n\x87\n"),
        ("100", b"\0\0\1\xb3"),
        ("100", b"\0\0\1\xba"),
        ("101", TRANSPORT),
        ("102", b"\0\0\0\x18ftypmp42"),
        ("103", STAMPED),
        ("104.1", b"\0\0\0\1\x09"),
        ("107", b"\0\0\1\x40"),
    ],
)
def test_takes_what_begins_as_its_syntax(tail: str, head: bytes) -> None:
    check_signature(head, SYNTAXES[DICOM + tail])


@pytest.mark.parametrize(
    ("tail", "head"),
    [
        ("50", b"\xff\x4f\xff\x51"),
        ("91", b"\xff\xd8\xff\xe0"),
        ("203", b""),
        ("112", b"\xff\xd8\xff"),
        ("100", b"\xff\xd8\xff\xe0"),
        ("102", b"\xff\xd8\xff\xe0"),
        ("102", b"\x47" + bytes(400)),
        ("107", bytes(600)),
    ],
)
def test_refuses_what_begins_otherwise(tail: str, head: bytes) -> None:
    with pytest.raises(PixelFailure):
        check_signature(head, SYNTAXES[DICOM + tail])
