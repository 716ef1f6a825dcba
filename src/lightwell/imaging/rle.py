"""RLE Lossless frames (PS3.5 Annex G)."""

from __future__ import annotations

import struct

import numpy as np
from rle.rle import decode_frame, decode_segment

from lightwell.imaging.failure import cannot_transcode
from lightwell.imaging.image import ImageDescription
from lightwell.imaging.samples import Samples, from_native, native_bits, sample_type

_HEADER = struct.Struct("<16I")


def decode(data: bytes, image: ImageDescription) -> Samples:
    """Samples of one frame, interleaved; 1-bit samples as bytes of 0 and 1. Raises `PixelFailure`."""
    need = (native_bits(image) + 7) // 8
    _check_size(data, image, need)
    try:
        if image.bits_allocated == 1:
            packed = bytes(decode_segment(data[_HEADER.size :]))
            if not need <= len(packed) <= need + 1:
                raise ValueError(f"a segment decodes to {len(packed)} bytes, not {need}")
            return from_native(packed, image)
        frame = decode_frame(data, image.rows * image.columns, image.bits_allocated, "<")
    except ValueError as error:
        raise cannot_transcode(f"an RLE frame cannot be decoded: {error}") from error
    if len(frame) != need:
        raise cannot_transcode(f"an RLE frame decodes to {len(frame)} bytes where {need} are needed")
    flat = np.frombuffer(frame, sample_type(image))
    if image.samples == 1:
        return flat.reshape(image.rows, image.columns)
    planes = flat.reshape(image.samples, image.rows, image.columns)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _check_size(data: bytes, image: ImageDescription, need: int) -> None:
    """The number of segments, and that runs of at most 128 can give what is needed, but not far more."""
    if len(data) < _HEADER.size:
        raise cannot_transcode("an RLE frame ends inside its header")
    segments = _HEADER.unpack_from(data)[0]
    wanted = image.samples * max(image.bits_allocated // 8, 1)
    if segments != wanted:
        raise cannot_transcode(f"an RLE frame has {segments} segments, its attributes need {wanted}")
    coded = len(data) - _HEADER.size
    if coded * 64 < need:
        raise cannot_transcode(f"an RLE frame of {len(data)} bytes cannot hold {need}")
    if coded > 2 * need + 64 * segments:
        raise cannot_transcode(f"an RLE frame of {len(data)} bytes is too long for {need}")
