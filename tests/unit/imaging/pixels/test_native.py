import numpy as np
import pytest

from lightwell.imaging.dataset.byte_source import BytesSource
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.native import NativeFrames, swapped_word_size
from tests.unit.imaging.pixel_files import image


def frames(value: bytes, description: ImageDescription, word_size: int = 1) -> NativeFrames:
    return NativeFrames(BytesSource(value), 0, len(value), description, word_size)


def refusal(value: bytes, description: ImageDescription) -> str:
    with pytest.raises(PixelFailure) as failure:
        frames(value, description)
    return failure.value.warning.type


def test_reads_each_frame_by_its_place() -> None:
    value = bytes(range(12))
    found = frames(value, image(rows=2, columns=2, bits_allocated=8, frames=3))
    assert [found.read(n) for n in (2, 0, 1)] == [value[8:], value[:4], value[4:8]]


def test_reads_from_where_the_element_starts() -> None:
    found = NativeFrames(BytesSource(b"head" + b"abcd" + b"tail"), 4, 4, image(rows=2, columns=1))
    assert found.read(0) == b"abcd"


def test_leaves_padding_alone() -> None:
    assert frames(b"abcd" + b"\0" * 3, image(rows=2, columns=1)).read(0) == b"abcd"


def test_leaves_the_pad_byte_of_an_odd_length_alone() -> None:
    description = image(rows=1, columns=1, bits_allocated=8)
    assert frames(b"a\0", description).read(0) == b"a"


def test_shifts_one_bit_frames_that_start_inside_a_byte() -> None:
    bits = np.random.default_rng(3).integers(0, 2, (3, 5, 7), np.uint8)
    value = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    found = frames(value, image(rows=5, columns=7, bits_allocated=1, frames=3))
    for number, frame in enumerate(bits):
        assert found.read(number) == np.packbits(frame.reshape(-1), bitorder="little").tobytes()


def test_swaps_words_of_big_endian() -> None:
    found = frames(b"\x01\x02\x03\x04", image(rows=1, columns=2), 2)
    assert found.read(0) == b"\x02\x01\x04\x03"


def test_swaps_across_frames_of_odd_length() -> None:
    word_size = b"\x02\x01\x04\x03\x06\x05"
    found = frames(word_size, image(rows=1, columns=3, bits_allocated=8, frames=2), 2)
    assert [found.read(0), found.read(1)] == [b"\x01\x02\x03", b"\x04\x05\x06"]


@pytest.mark.parametrize(
    ("bits", "vr", "unit"),
    [
        (8, "OB", 1),
        (8, "OW", 2),
        (1, "OB", 1),
        (1, "OW", 2),
        (16, "OW", 2),
        (32, "OW", 4),
        (32, "OF", 4),
        (64, "OD", 8),
    ],
)
def test_swaps_by_sample_or_word(bits: int, vr: str, unit: int) -> None:
    assert swapped_word_size(image(bits_allocated=bits), vr, big_endian=True) == unit
    assert swapped_word_size(image(bits_allocated=bits), vr, big_endian=False) == 1


def test_refuses_an_element_that_is_cut_off() -> None:
    assert refusal(bytes(47), image()) == "FramesExtractionFailure"


def test_refuses_a_file_that_ends_before_the_element_does() -> None:
    with pytest.raises(PixelFailure, match="48"):
        NativeFrames(BytesSource(bytes(40)), 0, 48, image())


def test_refuses_the_absurd_without_reading() -> None:
    class Untouched(BytesSource):
        def read(self, offset: int, length: int) -> bytes:
            raise AssertionError("nothing is read")

    with pytest.raises(PixelFailure):
        NativeFrames(Untouched(bytes(1024)), 0, 1024, image(rows=65535, columns=65535, frames=2**31 - 1))


def test_refuses_more_frames_than_the_attributes_say() -> None:
    assert refusal(bytes(96), image()) == "FrameNumberMismatch"


def test_refuses_full_chrominance_under_the_name_of_halved() -> None:
    ybr = image(samples=3, bits_allocated=8, photometric="YBR_FULL_422")
    assert refusal(bytes(4 * 6 * 3), ybr) == "FramesExtractionFailure"
    assert frames(bytes(4 * 6 * 2), ybr).read(0) == bytes(48)


def test_refuses_halved_chrominance_of_odd_columns() -> None:
    ybr = image(columns=5, samples=3, bits_allocated=8, photometric="YBR_FULL_422")
    assert refusal(bytes(4 * 5 * 2), ybr) == "FramesExtractionFailure"
