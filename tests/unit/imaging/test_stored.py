import imagecodecs
import numpy as np
import pytest

from lightwell.imaging.failure import PixelFailure
from lightwell.imaging.stored import EncodedFrame, Pieces, decode_stored, decoded_photometric
from tests.unit.imaging.pixel_files import (
    EXPLICIT,
    image,
    image_of,
    items,
    noise,
    store_encapsulated,
    store_native,
)

HTJ2K = "1.2.840.10008.1.2.4.202"


@pytest.mark.parametrize("store", ["HTJ2K", "JPEG_2000_LOSSLESS"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("shape", [(4, 6), (1, 7), (4, 6, 3), (4, 6, 4)])
def test_decodes_what_was_stored(store: str, kind: str, shape: tuple[int, ...]):
    samples = noise(shape, kind)
    description = image_of(samples)
    stream = store_native(samples.tobytes(), description, store=store)
    (frame,) = stream
    again = decode_stored(frame.data, frame.head, stream.stored.stored_syntax, description)
    assert again.dtype == samples.dtype
    assert np.array_equal(again, samples)


def test_decodes_kept_frames():
    samples = np.full((8, 8), 77, np.uint8)
    coded = bytes(imagecodecs.jpeg8_encode(samples, 100))
    stream = store_encapsulated(items(coded), image_of(samples), "1.2.840.10008.1.2.4.50")
    (frame,) = stream
    assert np.array_equal(
        decode_stored(frame.data, 0, stream.stored.stored_syntax, image_of(samples)), samples
    )


def test_decodes_bits_and_halved_chrominance():
    bits = image(rows=2, columns=4, bits_allocated=1)
    assert decode_stored(b"\x21", 0, EXPLICIT, bits).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    halved = image(rows=1, columns=2, samples=3, bits_allocated=8, photometric="YBR_FULL_422")
    assert decode_stored(b"\1\2\3\4", 0, EXPLICIT, halved).tolist() == [[[1, 3, 4], [2, 3, 4]]]


def test_refuses_a_frame_that_is_not_of_this_image():
    samples = noise((4, 6), "u2")
    (frame,) = store_native(samples.tobytes(), image_of(samples))
    for changes in ({"rows": 6, "columns": 4}, {"signed": True}):
        with pytest.raises(PixelFailure):
            decode_stored(frame.data, frame.head, HTJ2K, image_of(samples, **changes))


@pytest.mark.parametrize("tail", ["4.102", "4.100", "4.112", "9.9"])
def test_refuses_what_it_cannot_decode(tail: str):
    with pytest.raises(PixelFailure):
        decode_stored(b"\0\0\1", 0, "1.2.840.10008.1.2." + tail, image())


@pytest.mark.parametrize(
    ("attribute", "true"),
    [
        ("RGB", "RGB"),
        ("YBR_RCT", "RGB"),
        ("YBR_ICT", "RGB"),
        ("YBR_FULL_422", "YBR_FULL"),
        ("YBR_FULL", "YBR_FULL"),
        ("PALETTE COLOR", "PALETTE COLOR"),
        ("MONOCHROME1", "MONOCHROME1"),
    ],
)
def test_names_the_colours_of_decoded_samples(attribute: str, true: str):
    assert decoded_photometric(image(photometric=attribute)) == true


def test_gives_a_small_frame_in_one_piece():
    frame = EncodedFrame(b"abc", 0, 1, None, None)
    assert (frame.data, frame.length, list(frame.pieces())) == (b"abc", 3, [b"abc"])


def test_gives_a_large_frame_in_pieces_as_often_as_asked():
    frame = EncodedFrame(Pieces(4, lambda: iter([b"ab", b"cd"])), 0, 1, None, None)
    assert frame.length == 4
    assert [list(frame.pieces()) for _ in range(2)] == [[b"ab", b"cd"]] * 2
    with pytest.raises(ValueError, match="pieces"):
        _ = frame.data
