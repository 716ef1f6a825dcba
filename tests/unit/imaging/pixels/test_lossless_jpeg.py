"""Coded data of lossless JPEG measured against what it decodes to; frames are coded here, bit by bit."""

from __future__ import annotations

import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels import lossless_jpeg
from lightwell.imaging.pixels.lossless_jpeg import check_coded_length
from tests.unit.imaging.pixel_files import noise


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def coded(planes: NDArray[Any], predictor: int, shift: int, precision: int, restart: int) -> bytes:
    """One scan of planes (components, rows, columns), interleaved: every category has a code of 5 bits."""
    count, rows, columns = planes.shape
    values = planes.astype(int) >> shift
    out = bytearray()
    bits = ""
    interval = 0

    def flush() -> None:
        nonlocal bits
        bits += "1" * (-len(bits) % 8)
        data = int(bits or "0", 2).to_bytes(len(bits) // 8) if bits else b""
        out.extend(data.replace(b"\xff", b"\xff\x00"))
        bits = ""

    for row in range(rows):
        fresh = row == 0 or bool(restart and row % restart == 0)
        if restart and row and fresh:
            flush()
            out += bytes((0xFF, 0xD0 + interval % 8))
            interval += 1
        for column in range(columns):
            for index in range(count):
                plane = values[index]
                if fresh:
                    guess = plane[row, column - 1] if column else 1 << (precision - shift - 1)
                elif not column:
                    guess = plane[row - 1, 0]
                else:
                    a, b, c = plane[row, column - 1], plane[row - 1, column], plane[row - 1, column - 1]
                    guess = (a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1)[
                        predictor - 1
                    ]
                difference = (int(plane[row, column]) - int(guess)) & 0xFFFF
                if difference > 32768:
                    difference -= 65536
                category = 16 if difference == 32768 else abs(difference).bit_length()
                bits += f"{category:05b}"
                if 0 < category < 16:
                    more = difference if difference > 0 else difference + (1 << category) - 1
                    bits += f"{more:0{category}b}"
    flush()
    return bytes(out)


def frame(
    samples: NDArray[Any], predictor: int = 1, shift: int = 0, bits: int = 16, restart: int = 0
) -> bytes:
    rows, columns = samples.shape[:2]
    planes = samples[None] if samples.ndim == 2 else samples.transpose(2, 0, 1)
    count = len(planes)
    parts = b"".join(bytes((index + 1, 0x11, 0)) for index in range(count))
    chosen = b"".join(bytes((index + 1, 0)) for index in range(count))
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xC3, struct.pack(">BHHB", bits, rows, columns, count) + parts),
            segment(0xC4, bytes((0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)))),
            segment(0xDD, struct.pack(">H", restart * columns)) if restart else b"",
            segment(0xDA, bytes((count,)) + chosen + bytes((predictor, 0, shift))),
            coded(planes, predictor, shift, bits, restart),
            b"\xff\xd9",
        )
    )


def decoded(data: bytes, samples: int = 1) -> NDArray[Any]:
    space = "ycbcr" if samples == 3 else None
    found: NDArray[Any] = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=space)
    return found


def image(shape: tuple[int, ...], bits: int) -> NDArray[Any]:
    return noise(shape, "u2") >> (16 - bits) if bits > 8 else noise(shape, "u1")


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("predictor", range(1, 8))
def test_takes_whole_frames(predictor: int, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = image((7, 9), bits)
    data = frame(samples, predictor, bits=bits)
    assert np.array_equal(decoded(data), samples)
    check_coded_length(data, samples)
    monkeypatch.setattr(lossless_jpeg, "_BLOCK", 18)
    check_coded_length(data, samples)


@pytest.mark.parametrize("restart", [1, 2, 3, 10])
@pytest.mark.parametrize("predictor", [1, 4, 7])
def test_follows_restarts(predictor: int, restart: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = image((7, 9), 16)
    data = frame(samples, predictor, restart=restart)
    assert np.array_equal(decoded(data), samples)
    check_coded_length(data, samples)
    monkeypatch.setattr(lossless_jpeg, "_BLOCK", 18)
    check_coded_length(data, samples)


def test_follows_a_point_transform() -> None:
    samples = image((6, 5), 12) & 0xFFFC
    data = frame(samples, 6, shift=2, bits=12)
    assert np.array_equal(decoded(data), samples)
    check_coded_length(data, samples)


def test_follows_interleaved_components() -> None:
    samples = image((6, 5, 3), 8)
    data = frame(samples, 5, bits=8)
    assert np.array_equal(decoded(data, 3), samples)
    check_coded_length(data, samples)


def test_takes_one_sample_and_flat_frames() -> None:
    for samples in (image((1, 1), 16), np.full((4, 4), 32768, np.uint16), np.array([[0, 65535]], np.uint16)):
        check_coded_length(frame(samples), samples)


@pytest.mark.parametrize("damage", ["gone", "twice", "zeroed"])
def test_refuses_frames_with_damage_inside(damage: str) -> None:
    samples = image((40, 30), 12)
    data = frame(samples, bits=12)
    half = len(data) // 2
    broken = {
        "gone": data[:half] + data[half + 60 :],
        "twice": data[:half] + data[half - 60 :],
        "zeroed": data[:half] + bytes(60) + data[half + 60 :],
    }[damage]
    wrong = decoded(broken)
    assert not np.array_equal(wrong, samples)
    with pytest.raises(PixelFailure, match="damaged") as failure:
        check_coded_length(broken, wrong)
    assert failure.value.warning.type == "TranscodingException"


def test_refuses_damaged_tables() -> None:
    samples = image((4, 4), 16)
    data = frame(samples)
    with pytest.raises(PixelFailure, match="damaged"):
        check_coded_length(data.replace(b"\xff\xc4", b"\xff\xc5"), samples)
    place = data.index(b"\xff\xc4") + 5
    shorter = data[: place + 4] + b"\3" + data[place + 5 :]
    with pytest.raises(PixelFailure, match="cannot code"):
        check_coded_length(shorter, samples)


@pytest.mark.parametrize("damage", ["shift", "columns"])
def test_refuses_headers_that_cannot_be_reckoned_with(damage: str) -> None:
    samples = image((4, 4), 8)
    data = bytearray(frame(samples, bits=8))
    if damage == "shift":  # the point transform takes more bits than there are
        data[data.index(b"\xff\xda") + 9] = 15
    else:
        place = data.index(b"\xff\xc3")
        data[place + 7 : place + 9] = b"\0\0"
        data[place:place] = b"\xff\xdd\0\4\0\4"
    with pytest.raises(PixelFailure, match="damaged"):
        check_coded_length(bytes(data), samples)


def test_does_not_measure_subsampled_components() -> None:
    samples = image((4, 4, 3), 8)
    data = frame(samples, bits=8)
    place = data.index(b"\xff\xc3") + 10
    check_coded_length(data[: place + 1] + b"\x22" + data[place + 2 :], samples)
