import numpy as np
import pytest

from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.samples import (
    check_description,
    expand_chrominance,
    extend_sign,
    from_native,
    has_lossless_form,
    native_bits,
    sample_type,
    to_native,
    whole_frame,
)
from tests.unit.imaging.pixel_files import image, image_of, noise


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
def test_comes_back_from_its_native_form(kind: str, planar: int, shape: tuple[int, ...]) -> None:
    samples = noise(shape, kind)
    description = image_of(samples, planar=planar)
    native = to_native(samples, description)
    assert len(native) * 8 == native_bits(description)
    assert np.array_equal(from_native(native, description), samples)


def test_interleaves_planes() -> None:
    description = image(rows=1, columns=2, samples=3, bits_allocated=8, planar=1)
    assert from_native(b"rRgGbB", description).tobytes() == b"rgbRGB"


def test_ignores_the_planar_configuration_of_one_sample() -> None:
    assert from_native(bytes(48), image(planar=1)).shape == (4, 6)


def test_unpacks_bits_from_the_lowest() -> None:
    description = image(rows=1, columns=10, bits_allocated=1)
    assert from_native(b"\x05\x02", description).tolist() == [[1, 0, 1, 0, 0, 0, 0, 0, 0, 1]]


def test_packs_bits_again() -> None:
    description = image(rows=3, columns=5, bits_allocated=1)
    assert to_native(from_native(b"\xa5\x4a", description), description) == b"\xa5\x4a"


def test_keeps_bits_above_bits_stored() -> None:
    samples = np.array([[0xF001, 0x0FFF]], np.uint16)
    assert from_native(samples.tobytes(), image_of(samples, bits_stored=12)).tolist() == [[0xF001, 0x0FFF]]


@pytest.mark.parametrize(("keyword", "bits"), [("FloatPixelData", 32), ("DoubleFloatPixelData", 64)])
def test_reads_floats(keyword: str, bits: int) -> None:
    description = image(rows=1, columns=2, bits_allocated=bits, pixel_keyword=keyword)
    values = np.array([[1.5, -2.25]], f"<f{bits // 8}")
    assert from_native(values.tobytes(), description).tolist() == [[1.5, -2.25]]
    assert sample_type(description).kind == "f"


def test_doubles_halved_chrominance() -> None:
    description = image(rows=1, columns=4, samples=3, bits_allocated=8, photometric="YBR_FULL_422")
    samples = expand_chrominance(bytes([1, 2, 10, 20, 3, 4, 30, 40]), description)
    assert samples.tolist() == [[[1, 10, 20], [2, 10, 20], [3, 30, 40], [4, 30, 40]]]


def test_refuses_a_frame_that_is_too_short() -> None:
    with pytest.raises(PixelFailure):
        from_native(bytes(47), image())


def test_takes_off_the_byte_that_makes_a_frame_even() -> None:
    description = image(rows=3, columns=3, bits_allocated=8)
    assert whole_frame(bytes(10), description) == bytes(9)
    for length in (8, 11):
        with pytest.raises(PixelFailure):
            whole_frame(bytes(length), description)


@pytest.mark.parametrize(
    ("changes", "type"),
    [
        ({"rows": 0}, "FramesExtractionFailure"),
        ({"columns": 0}, "FramesExtractionFailure"),
        ({"samples": 0}, "FramesExtractionFailure"),
        ({"frames": 0}, "FramesExtractionFailure"),
        ({"frames": -1}, "FramesExtractionFailure"),
        ({"bits_allocated": 0}, "TranscodingException"),
        ({"bits_allocated": 12}, "TranscodingException"),
        ({"pixel_keyword": "FloatPixelData"}, "FramesExtractionFailure"),
        ({"pixel_keyword": "DoubleFloatPixelData", "bits_allocated": 32}, "FramesExtractionFailure"),
    ],
)
def test_refuses_descriptions_that_no_frame_can_have(changes: dict[str, object], type: str) -> None:
    with pytest.raises(PixelFailure) as failure:
        check_description(image(**changes))
    assert failure.value.warning.type == type


@pytest.mark.parametrize(
    "changes",
    [
        {"bits_allocated": 1},
        {"bits_allocated": 32},
        {"samples": 4},
        {"rows": 1},
        {"columns": 1},
        {"pixel_keyword": "FloatPixelData", "bits_allocated": 32},
    ],
)
def test_keeps_native_what_the_lossless_formats_do_not_serve(changes: dict[str, object]) -> None:
    assert not has_lossless_form(image(**changes))


def test_encodes_eight_and_sixteen_bits() -> None:
    assert has_lossless_form(image())
    assert has_lossless_form(image(bits_allocated=8, samples=3, signed=True))


@pytest.mark.parametrize("kind", ["i1", "i2"])
def test_writes_the_sign_above_bits_stored(kind: str) -> None:
    right = np.arange(-8, 8, dtype=kind).reshape(4, 4)
    description = image_of(right, bits_stored=4, idle_bits=right.dtype.itemsize * 8 - 4)
    for written in (right & 15, np.where(right % 2, right & 15, right), right):
        samples = extend_sign(written.astype(kind), description)
        assert samples.dtype == right.dtype
        assert np.array_equal(samples, right)


def test_leaves_bits_above_bits_stored_that_are_in_use() -> None:
    negative = np.full((4, 4), 0x0FFF, "i2")
    description = image_of(negative, bits_stored=12, idle_bits=4)
    for used in (0x1FFF, -0x0801, 0x7800, 0x1001):
        samples = negative.copy()
        samples[2, 3] = used
        assert np.array_equal(extend_sign(samples, description), samples)
    for other in ({"idle_bits": 0}, {"signed": False, "idle_bits": 4}):
        assert np.array_equal(extend_sign(negative, image_of(negative, bits_stored=12, **other)), negative)
