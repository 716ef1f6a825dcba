"""RLE Lossless frames (PS3.5 Annex G): a segment for each byte plane, the most significant byte first."""

from __future__ import annotations

import struct
from itertools import pairwise

import imagecodecs
import numpy as np

from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import cannot_transcode
from lightwell.imaging.pixels.samples import Samples, frame_shape, from_native, native_bits, sample_type

_HEADER = struct.Struct("<16I")


def decode(data: bytes, image: ImageDescription) -> Samples:
    """Samples of one frame, interleaved; 1-bit samples as bytes of 0 and 1. Raises `PixelFailure`.

    No segment is decoded to more bytes than the attributes require.
    """
    if image.bits_allocated == 1:
        expected = (native_bits(image) + 7) // 8
        (segment,) = _segments(data, 1)
        return from_native(_unpack_bits(segment, expected), image)
    width, pixels = image.bits_allocated // 8, image.rows * image.columns
    segments = _segments(data, image.samples * width)
    if len(data) * 64 < pixels * len(segments):
        raise cannot_transcode(f"an RLE frame of {len(data)} bytes cannot decode to {pixels * len(segments)}")
    frame = np.empty((pixels, image.samples, width), np.uint8)
    for index, segment in enumerate(segments):
        sample, byte = divmod(index, width)
        frame[:, sample, width - 1 - byte] = np.frombuffer(_unpack_bits(segment, pixels), np.uint8)
    return frame.reshape(-1).view(sample_type(image)).reshape(frame_shape(image))


def _segments(data: bytes, expected: int) -> list[bytes]:
    """The segments by the offsets in the header; each ends where the next begins."""
    if len(data) < _HEADER.size:
        raise cannot_transcode("an RLE frame ends inside its header")
    count, *offsets = _HEADER.unpack_from(data)
    if count != expected or expected > len(offsets):
        raise cannot_transcode(f"an RLE frame has {count} segments, but its attributes need {expected}")
    bounds = [*offsets[:count], len(data)]
    if bounds[0] < _HEADER.size or any(last <= first for first, last in pairwise(bounds)):
        raise cannot_transcode("the header of an RLE frame has offsets that are not valid")
    return [data[first:last] for first, last in pairwise(bounds)]


def _unpack_bits(segment: bytes, expected: int) -> bytes:
    """The ``expected`` bytes of a segment; one more is accepted as padding to an even length."""
    try:
        plane = bytes(imagecodecs.packbits_decode(segment, out=expected + expected % 2))
    except (RuntimeError, ValueError) as error:
        raise cannot_transcode(f"an RLE frame cannot be decoded: {error}") from error
    if len(plane) < expected:
        raise cannot_transcode(f"a segment of an RLE frame has {len(plane)} bytes, {expected} are expected")
    return plane[:expected]


def encode(samples: Samples) -> bytes:
    """One frame of 8 or 16 bits, (rows, columns) or (rows, columns, 3), in RLE Lossless.

    Each row is packed by itself, as PS3.5 G.3.1 requires, and each segment has an even length (G.3.2). Raises
    `PixelFailure` if the frame does not decode to the same samples.
    """
    rows, columns = samples.shape[:2]
    width = samples.dtype.itemsize
    planes = np.ascontiguousarray(samples).reshape(rows, columns, -1)
    octets = planes.view(np.uint8).reshape(rows, columns, planes.shape[2], width)
    segments = []
    for sample in range(planes.shape[2]):
        for byte in reversed(range(width)):
            plane = np.ascontiguousarray(octets[:, :, sample, byte])
            segment = bytes(imagecodecs.packbits_encode(plane, axis=-1))
            if _unpack_bits(segment, plane.size) != plane.tobytes():
                raise cannot_transcode("a frame encoded as RLE did not decode to the same pixels")
            segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = [_HEADER.size]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    unused = [0] * (15 - len(offsets))
    return b"".join((_HEADER.pack(len(segments), *offsets, *unused), *segments))
