import struct
from typing import Any

import imagecodecs
import pytest

from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.codestream_header import (
    CodestreamHeader,
    check_header,
    read_header,
)
from tests.unit.imaging.pixel_files import image, slope

GREY = slope((40, 60), "u1")


def jpeg(**changes: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(GREY, **changes))


def test_reads_the_header_of_jpeg() -> None:
    assert read_header(jpeg(), "jpeg") == CodestreamHeader(40, 60, 1, 8, process=0xC0)


def test_reads_the_header_of_lossless_jpeg() -> None:
    twelve = slope((40, 60), "u2") & 0xFFF
    data = bytes(imagecodecs.jpeg8_encode(twelve, lossless=True, bitspersample=12))
    assert read_header(data, "jpeg") == CodestreamHeader(40, 60, 1, 12, process=0xC3)


def test_reads_the_header_of_jpeg_ls() -> None:
    data = bytes(imagecodecs.jpegls_encode(slope((40, 60, 3), "u1")))
    assert read_header(data, "jpegls") == CodestreamHeader(40, 60, 3, 8, process=0xF7)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
def test_reads_the_header_of_jpeg_2000(kind: str) -> None:
    samples = slope((40, 60), kind)
    data = bytes(imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True))
    expected = CodestreamHeader(40, 60, 1, samples.itemsize * 8, signed=kind[0] == "i")
    assert read_header(data, "jpeg2000") == expected


def test_sees_the_colour_transform_of_jpeg_2000() -> None:
    samples = slope((40, 60, 3), "u1")
    for mct in (True, False):
        data = bytes(imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, mct=mct))
        assert read_header(data, "jpeg2000").transform is mct


@pytest.mark.parametrize("codec", ["jpeg", "jpegls", "jpeg2000"])
def test_refuses_a_header_cut_anywhere(codec: str) -> None:
    data, last = {
        "jpeg": (jpeg(), b"\xff\xc0"),
        "jpegls": (bytes(imagecodecs.jpegls_encode(GREY)), b"\xff\xf7"),
        "jpeg2000": (bytes(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k")), b"\xff\x90"),
    }[codec]
    for length in range(data.index(last) + 1):
        with pytest.raises(PixelFailure):
            read_header(data[:length], codec)


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (b"", "jpeg"),
        (b"\xff\xd8\xff\xd9", "jpeg"),
        (b"\xff\xd8\xff\xda\0\2", "jpeg"),
        (b"\xff\xd8\0\0", "jpeg"),
        (b"\xff\xd8\xff\xe0\0\1\xff\xc0", "jpeg"),
        (b"\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\x10\x01\x01\x11\0", "jpeg"),
        (b"\xff\xd8\xff\xff\xff", "jpeg"),
        (jpeg(), "jpegls"),
        (jpeg(), "jpeg2000"),
    ],
)
def test_refuses_what_is_not_such_a_frame(data: bytes, codec: str) -> None:
    with pytest.raises(PixelFailure):
        read_header(data, codec)


def siz(components: list[tuple[int, int, int]], capabilities: int = 0, right: int = 60) -> bytes:
    body = struct.pack(">HIIIIIIII", capabilities, right, 40, 0, 0, 60, 40, 0, 0)
    body += struct.pack(">H", len(components)) + b"".join(struct.pack(">BBB", *c) for c in components)
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(body) + 2) + body + b"\xff\x90"


def test_takes_a_plain_codestream() -> None:
    assert read_header(siz([(11, 1, 1)]), "jpeg2000") == CodestreamHeader(40, 60, 1, 12)


@pytest.mark.parametrize(
    "data",
    [
        siz([(7, 1, 1), (7, 2, 2), (7, 2, 2)]),
        siz([(7, 1, 1), (11, 1, 1), (7, 1, 1)]),
        siz([]),
        siz([(7, 1, 1)], right=0),
        siz([(7, 1, 1)], capabilities=0x8100),
    ],
)
def test_refuses_codestreams_that_dicom_does_not_have(data: bytes) -> None:
    with pytest.raises(PixelFailure):
        read_header(data, "jpeg2000")


@pytest.mark.parametrize(
    "changes",
    [{"rows": 39}, {"columns": 61}, {"samples": 3}, {"bits_allocated": 1}, {"rows": 60, "columns": 40}],
)
def test_refuses_a_frame_of_another_size_than_the_attributes_say(changes: dict[str, int]) -> None:
    header = read_header(jpeg(), "jpeg")
    same = {"rows": 40, "columns": 60, "bits_allocated": 8}
    check_header(header, image(**same))
    with pytest.raises(PixelFailure):
        check_header(header, image(**(same | changes)))
