import struct

import numpy as np
import pytest
from rle.rle import encode_frame, encode_segment

from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.rle import decode
from tests.unit.imaging.pixel_files import image, image_of, noise


def frame(*segments: bytes) -> bytes:
    offsets = [64]
    for segment in segments:
        offsets.append(offsets[-1] + len(segment))
    header = [len(segments), *offsets[:-1], *[0] * 15][:16]
    return struct.pack("<16I", *header) + b"".join(segments)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_decodes_every_width(kind: str, shape: tuple[int, ...]) -> None:
    samples = noise(shape, kind)
    coded = encode_frame(
        samples.tobytes(), shape[0], shape[1], 3 if len(shape) == 3 else 1, samples.itemsize * 8, "<"
    )
    assert np.array_equal(decode(bytes(coded), image_of(samples)), samples)


def test_decodes_packed_bits() -> None:
    bits = np.random.default_rng(1).integers(0, 2, (5, 7), np.uint8)
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    coded = frame(bytes(encode_segment(packed, len(packed))))
    assert np.array_equal(decode(coded, image(rows=5, columns=7, bits_allocated=1)), bits)


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (b"\1\0\0\0", image()),
        (frame(b"\x81\0"), image(rows=128, columns=2, bits_allocated=8)),
        (frame(b"\x7f\0"), image(rows=128, columns=1, bits_allocated=8)),
        (frame(b"\x81\0", b"\x81\0"), image(rows=16, columns=8, bits_allocated=8)),
        (frame(b"\x81\0"), image(rows=16, columns=8, bits_allocated=16)),
        (frame(b"\x81\0"), image(rows=65535, columns=65535, bits_allocated=8)),
        (frame(b"\x81\0" * 1000), image(rows=16, columns=8, bits_allocated=8)),
        (frame(b"\x81\0" * 100), image(rows=16, columns=8, bits_allocated=1)),
        (struct.pack("<16I", 1, 4000, *[0] * 14) + b"\x81\0", image(rows=16, columns=8, bits_allocated=8)),
    ],
)
def test_refuses_a_broken_frame(data: bytes, description: ImageDescription) -> None:
    with pytest.raises(PixelFailure):
        decode(data, description)
