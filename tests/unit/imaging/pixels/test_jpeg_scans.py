"""Bytes behind the end marker of a JPEG frame: ignored, but never where anything is missing before it."""

from __future__ import annotations

import io
import random
from typing import Any

import imagecodecs
import numpy as np
import pydicom.encaps
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.decoders.base import get_decoder

from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.decode import decode_frame
from lightwell.imaging.pixels.jpeg_scans import read_scans
from tests.unit.imaging.pixel_files import image_of, noise, slope
from tests.unit.imaging.pixels.test_lossless_jpeg import frame as lossless_frame

GREY = slope((40, 60), "u1") + noise((40, 60), "u1") // 16
COLOUR = np.dstack([GREY, GREY.T.reshape(40, 60), GREY[::-1]])
TWELVE = noise((40, 60), "u2") >> 4
END = b"\xff\xd9"
# What is left of a buffer: among it stuffed coded data, markers and another frame's end.
BEHIND = [
    b"\0\xbb",
    b"left over",
    bytes(1000) + b"\x13\xff\x00\xff\xd9",
    b"\xff\xd9\xff\xd9ab",
    b"\xff\xc4\0\x03\1",
]


def jpeg(samples: NDArray[Any] = GREY, **changes: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(samples, **changes))


def decoded(data: bytes, samples: NDArray[Any]) -> NDArray[Any]:
    described = image_of(samples, photometric="YBR_FULL_422" if samples.ndim == 3 else "MONOCHROME2")
    return decode_frame(data, "jpeg", described)[0]


FRAMES = {
    "lossless colour": (lossless_frame(COLOUR, bits=8), COLOUR),
    "baseline": (jpeg(level=90), GREY),
    "optimized": (jpeg(optimize=True, level=90), GREY),
    "colour": (jpeg(COLOUR, subsampling="422"), COLOUR),
    "colour420": (jpeg(COLOUR, subsampling="420"), COLOUR),
    "twelve bits": (jpeg(TWELVE, bitspersample=12, level=90), TWELVE),
    "lossless": (jpeg(TWELVE, lossless=True, bitspersample=12), TWELVE),
    "restarts": (lossless_frame(TWELVE, bits=12, restart=3), TWELVE),
}


@pytest.mark.parametrize("name", FRAMES)
def test_ignores_bytes_behind_the_end_marker(name: str) -> None:
    data, samples = FRAMES[name]
    expected = decoded(data, samples)
    for behind in BEHIND:
        assert np.array_equal(decoded(data + behind, samples), expected)


@pytest.mark.parametrize("name", FRAMES)
def test_finds_every_false_end_marker(name: str) -> None:
    data, samples = FRAMES[name]
    scan = read_scans(data).start
    # Everywhere near the end, where the least is missing, and here and there before.
    for place in [*range(scan + 1, len(data) - 60, 41), *range(len(data) - 60, len(data) - 4)]:
        early = data[:place] + END + data[place + 2 :] + b"more"
        with pytest.raises(PixelFailure):
            decoded(early, samples)


@pytest.mark.parametrize("name", FRAMES)
def test_decodes_nothing_else_where_a_bit_is_wrong_before_bytes_that_follow(name: str) -> None:
    """Whatever is accepted with bytes behind it is what the same frame without them decodes to."""
    data, samples = FRAMES[name]
    flips = random.Random(5)
    for _ in range(120):
        damaged = bytearray(data)
        damaged[flips.randrange(2, len(data) - 2)] ^= 1 << flips.randrange(8)
        try:
            found = decoded(bytes(damaged) + b"\0left over", samples)
        except PixelFailure:
            continue
        assert np.array_equal(found, decoded(bytes(damaged), samples))


def test_counts_the_restarts_of_a_frame_that_is_followed() -> None:
    data = with_restarts()
    expected = decoded(data, GREY)
    assert np.array_equal(decoded(data + b"left over", GREY), expected)
    marker = data.index(b"\xff\xd2")
    with pytest.raises(PixelFailure):
        decoded(data[: marker + 1] + b"\xd9" + data[marker + 2 :] + b"left over", GREY)


def with_restarts() -> bytes:
    """A baseline frame with a restart marker after each row of blocks."""
    return saved(GREY, restart_marker_rows=1)


def saved(samples: NDArray[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(samples).save(out, "JPEG", quality=90, **options)
    return out.getvalue()


def test_takes_a_whole_scan_and_its_padding() -> None:
    for end in (b"", b"\0", b"\xff", b" ", b"\xbb", b"\0\0\0\0"):
        assert not read_scans(jpeg() + end).followed
    assert read_scans(jpeg() + b"\0\xbb").followed


def test_takes_several_scans() -> None:
    progressive = saved(COLOUR, progressive=True)
    assert len(read_scans(progressive).coded) > 3
    expected = decoded(progressive, COLOUR)
    assert np.array_equal(decoded(progressive + b"\0", COLOUR), expected)


def test_refuses_bytes_behind_a_progressive_frame() -> None:
    with pytest.raises(PixelFailure, match="cannot be proven"):
        decoded(saved(COLOUR, progressive=True) + b"left over", COLOUR)


def test_refuses_a_scan_that_is_cut_anywhere() -> None:
    data = jpeg()
    for length in range(2, len(data), 7):
        with pytest.raises(PixelFailure):
            read_scans(data[:length])


@pytest.mark.parametrize("name", FRAMES)
def test_refuses_another_image_behind_the_first(name: str) -> None:
    data, samples = FRAMES[name]
    for between in (b"", b"\0", b"between"):
        with pytest.raises(PixelFailure, match="another image"):
            decoded(data + between + data, samples)


@pytest.mark.parametrize("reversible", [True, False])
def test_ignores_bytes_behind_jpeg_2000(reversible: bool) -> None:
    data = bytes(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k", reversible=reversible, level=40))
    expected = decode_frame(data, "jpeg2000", image_of(GREY))[0]
    for behind in BEHIND:
        assert np.array_equal(decode_frame(data + behind, "jpeg2000", image_of(GREY))[0], expected)
    with pytest.raises(PixelFailure, match="after its end"):
        decode_frame(data + data, "jpeg2000", image_of(GREY))


def test_ignores_bytes_behind_jpeg_ls() -> None:
    data = bytes(imagecodecs.jpegls_encode(GREY))
    for behind in BEHIND:
        assert np.array_equal(decode_frame(data + behind, "jpegls", image_of(GREY))[0], GREY)


@pytest.mark.parametrize(
    ("name", "syntax"), [("baseline", "1.2.840.10008.1.2.4.50"), ("lossless", "1.2.840.10008.1.2.4.70")]
)
def test_decodes_as_pydicom_does(name: str, syntax: str) -> None:
    data, samples = FRAMES[name]
    decoder = get_decoder(syntax)
    for behind in BEHIND:
        padded = data + behind + b"\0" * (len(data + behind) % 2)
        options: dict[str, Any] = {
            "rows": 40,
            "columns": 60,
            "samples_per_pixel": 1,
            "photometric_interpretation": "MONOCHROME2",
            "bits_allocated": samples.itemsize * 8,
            "bits_stored": 8 if samples.itemsize == 1 else 12,
            "pixel_representation": 0,
            "number_of_frames": 1,
            "pixel_keyword": "PixelData",
        }
        theirs, _ = decoder.as_array(pydicom.encaps.encapsulate([padded]), index=0, **options)
        assert np.array_equal(decoded(padded, samples), theirs)
