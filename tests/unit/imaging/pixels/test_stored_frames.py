import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from lightwell.errors import DamagedError, LightwellError
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels import htj2k, jpeg2000, stored_frames
from lightwell.imaging.pixels.stored_frames import (
    EncodedFrame,
    Pieces,
    decode_verified,
    decoded_photometric,
    frame_damage,
)
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
J2K = "1.2.840.10008.1.2.4.90"


@pytest.mark.parametrize("store", ["HTJ2K", "JPEG_2000_LOSSLESS"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("shape", [(4, 6), (1, 7), (4, 6, 3), (4, 6, 4)])
def test_decodes_what_was_stored(store: str, kind: str, shape: tuple[int, ...]) -> None:
    samples = noise(shape, kind)
    description = image_of(samples)
    stream = store_native(samples.tobytes(), description, store=store)
    (frame,) = stream
    again = decode_verified(frame.data, frame.head, stream.stored.stored_syntax, description, frame.checksum)
    assert again.dtype == samples.dtype
    assert np.array_equal(again, samples)


def test_decodes_kept_frames() -> None:
    samples = np.full((8, 8), 77, np.uint8)
    coded = bytes(imagecodecs.jpeg8_encode(samples, 100))
    stream = store_encapsulated(items(coded), image_of(samples), "1.2.840.10008.1.2.4.50")
    (frame,) = stream
    syntax = stream.stored.stored_syntax
    assert np.array_equal(decode_verified(frame.data, 0, syntax, image_of(samples), frame.checksum), samples)


def test_decodes_bits_and_halved_chrominance() -> None:
    bits = image(rows=2, columns=4, bits_allocated=1)
    found = decode_verified(b"\x21", 0, EXPLICIT, bits, zlib.crc32(b"\x21"))
    assert found.tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
    ]
    halved = image(rows=1, columns=2, samples=3, bits_allocated=8, photometric="YBR_FULL_422")
    data = b"\1\2\3\4"
    found = decode_verified(data, 0, EXPLICIT, halved, zlib.crc32(data))
    assert found.tolist() == [[[1, 3, 4], [2, 3, 4]]]


def test_refuses_a_frame_that_is_not_of_this_image() -> None:
    samples = noise((4, 6), "u2")
    (frame,) = store_native(samples.tobytes(), image_of(samples))
    for changes in ({"rows": 6, "columns": 4}, {"signed": True}):
        with pytest.raises(LightwellError):
            decode_verified(frame.data, frame.head, HTJ2K, image_of(samples, **changes), frame.checksum)


@pytest.mark.parametrize("tail", ["4.102", "4.100", "4.112", "9.9"])
def test_refuses_what_it_cannot_decode(tail: str) -> None:
    with pytest.raises(PixelFailure):
        decode_verified(b"\0\0\1", 0, "1.2.840.10008.1.2." + tail, image(), zlib.crc32(b"\0\0\1"))


def other_sample(samples: NDArray[Any]) -> NDArray[Any]:
    """The same frame but for one sample, which differs by one."""
    changed = samples.copy()
    changed[-1, -1] ^= 1
    return changed


@pytest.mark.parametrize("store", ["HTJ2K", "JPEG_2000_LOSSLESS"])
def test_returns_no_sample_that_differs_from_the_imported_one(store: str) -> None:
    samples = noise((4, 6), "u2")
    stream = store_native(samples.tobytes(), image_of(samples), store=store)
    (frame,) = stream
    if store == "HTJ2K":
        data, head = htj2k.encode(other_sample(samples), "MONOCHROME2")
    else:
        data, head = jpeg2000.encode(other_sample(samples), "MONOCHROME2"), 0
    kept = data, head, stream.stored.stored_syntax, image_of(samples), frame.checksum
    with pytest.raises(DamagedError, match=r"other pixels.*lightwell data verify"):
        decode_verified(*kept)
    assert "checksum" in str(frame_damage(*kept))


@pytest.mark.parametrize("syntax", [EXPLICIT, "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"])
def test_decodes_no_kept_bytes_that_differ_from_the_imported_ones(
    syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.full((8, 8), 77, np.uint8)
    coded = {
        EXPLICIT: samples.tobytes(),
        "1.2.840.10008.1.2.4.50": bytes(imagecodecs.jpeg8_encode(samples, 100)),
        "1.2.840.10008.1.2.4.91": bytes(imagecodecs.jpeg2k_encode(samples, codecformat="j2k")),
    }[syntax]
    decode_verified(coded, 0, syntax, image_of(samples), zlib.crc32(coded))
    monkeypatch.setattr(stored_frames, "decode_frame", lambda *_: pytest.fail("a codec saw damaged bytes"))
    changed = coded[:-1] + bytes([coded[-1] ^ 1])
    with pytest.raises(DamagedError, match=r"other bytes.*lightwell data verify"):
        decode_verified(changed, 0, syntax, image_of(samples), zlib.crc32(coded))


@pytest.mark.parametrize(("bits", "signed"), [(12, True), (8, False)])
def test_proves_jpeg_2000_that_disagrees_with_the_attributes(bits: int, signed: bool) -> None:
    """The checksum is of what the codestream says, whatever the attributes make of it."""
    samples = noise((8, 8), "u1") if bits == 8 else noise((8, 8), "u2") & 0xFFF
    coded = imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, bitspersample=bits)
    description = image(rows=8, columns=8, bits_allocated=16, bits_stored=bits, signed=signed)
    stream = store_encapsulated(items(bytes(coded)), description, J2K, "JPEG_2000_LOSSLESS")
    (frame,) = stream
    found = decode_verified(frame.data, 0, J2K, description, frame.checksum)
    assert found.dtype == (np.int16 if signed else np.uint16)
    assert bool(found.min() < 0) is signed
    assert frame_damage(frame.data, 0, J2K, description, frame.checksum) is None


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
def test_names_the_colours_of_decoded_samples(attribute: str, true: str) -> None:
    assert decoded_photometric(image(photometric=attribute)) == true


def test_gives_a_small_frame_in_one_piece() -> None:
    frame = EncodedFrame(b"abc", 0, 1, None, None)
    assert (frame.data, frame.length, list(frame.pieces())) == (b"abc", 3, [b"abc"])


def test_gives_a_large_frame_in_pieces_as_often_as_asked() -> None:
    frame = EncodedFrame(Pieces(4, lambda: iter([b"ab", b"cd"])), 0, 1, None, None)
    assert frame.length == 4
    assert [list(frame.pieces()) for _ in range(2)] == [[b"ab", b"cd"]] * 2
    with pytest.raises(ValueError, match="pieces"):
        _ = frame.data
