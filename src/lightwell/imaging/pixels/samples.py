"""Decoded samples of one frame: their types, shapes and native layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import cannot_extract, cannot_transcode

Samples = NDArray[Any]
"""Stored values of one frame, (rows, columns) or (rows, columns, samples per pixel), row-major."""

SUBSAMPLED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})
"""Whose native frames hold two chrominance samples for every two pixels (PS3.3 C.7.6.3.1.2)."""

_FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


def check_description(image: ImageDescription) -> None:
    """Refuse a description that no frame can have; raises `PixelFailure`."""
    if image.rows < 1 or image.columns < 1 or image.samples < 1 or image.frames < 1:
        raise cannot_extract(
            f"{image.frames} frames of {image.rows} rows, {image.columns} columns and {image.samples} samples"
            " hold no pixels: Rows, Columns, SamplesPerPixel and NumberOfFrames must be at least 1"
        )
    wanted = _FLOATS.get(image.pixel_keyword)
    if wanted is not None and image.bits_allocated != wanted:
        raise cannot_extract(
            f"{image.pixel_keyword} has BitsAllocated {image.bits_allocated}, it must be {wanted}"
        )
    if image.bits_allocated not in (1, 8, 16, 32, 64):
        raise cannot_transcode(
            f"BitsAllocated {image.bits_allocated} is not supported: 1, 8, 16, 32 and 64 are"
        )


def sample_type(image: ImageDescription) -> np.dtype[Any]:
    """The little-endian type that holds one sample; 1-bit samples unpack to bytes."""
    if image.pixel_keyword in _FLOATS:
        return np.dtype(f"<f{image.bits_allocated // 8}")
    return np.dtype(f"<{'i' if image.signed else 'u'}{max(image.bits_allocated // 8, 1)}")


def frame_shape(image: ImageDescription) -> tuple[int, ...]:
    """(rows, columns), with a third axis where a pixel has several samples."""
    if image.samples == 1:
        return (image.rows, image.columns)
    return (image.rows, image.columns, image.samples)


def has_lossless_form(image: ImageDescription) -> bool:
    """Whether HTJ2K and JPEG 2000 keep these frames exactly, and readers of the field open them.

    Not so for 1, 32 and 64 bits and floats; for other than 1 or 3 samples, which JP2 boxes need a palette or
    channel table for; for one row or column, which OpenJPH 0.32.0 encodes wrongly.
    """
    return (
        image.pixel_keyword == "PixelData"
        and image.bits_allocated in (8, 16)
        and image.samples in (1, 3)
        and min(image.rows, image.columns) > 1
    )


def is_subsampled(image: ImageDescription) -> bool:
    """Whether a native frame of this image has its chrominance halved along the rows."""
    return image.photometric in SUBSAMPLED and image.samples == 3 and image.bits_allocated in (8, 16)


def native_bits(image: ImageDescription) -> int:
    """Bits of one native frame without padding (PS3.5 8.1.1, 8.2)."""
    if is_subsampled(image):
        return image.rows * image.columns * 2 * image.bits_allocated
    return image.frame_bits


def whole_frame(data: bytes, image: ImageDescription) -> bytes:
    """One native frame out of ``data``, less the byte that may make it even; raises `PixelFailure`."""
    need = (native_bits(image) + 7) // 8
    if not need <= len(data) <= need + 1:
        raise cannot_extract(f"a frame has {len(data)} bytes where {need} are needed")
    return data if len(data) == need else data[:need]


def from_native(data: bytes | memoryview, image: ImageDescription) -> Samples:
    """Samples of one native little-endian frame that starts at the first bit of ``data``.

    Several samples a pixel come out interleaved, whatever PlanarConfiguration says; 1-bit samples as bytes
    of 0 and 1. Raises `PixelFailure` where ``data`` is too short, ValueError for subsampled chrominance.
    """
    if is_subsampled(image):
        raise ValueError("a frame with halved chrominance is no array of samples")
    need = (native_bits(image) + 7) // 8
    if len(data) < need:
        raise cannot_extract(f"a frame has {len(data)} bytes where {need} are needed")
    count = image.rows * image.columns * image.samples
    if image.bits_allocated == 1:
        flat = np.unpackbits(np.frombuffer(data, np.uint8, need), count=count, bitorder="little")
    else:
        flat = np.frombuffer(data, sample_type(image), count)
    if image.samples > 1 and image.planar == 1:
        planes = flat.reshape(image.samples, image.rows, image.columns)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    return flat.reshape(frame_shape(image))


def extend_sign(samples: Samples, image: ImageDescription) -> Samples:
    """Signed samples whose sign was not written to the bits above BitsStored, with it there.

    Of those bits a reader may assume nothing (PS3.5 8.1.1), but one that decodes a frame goes by its type. A
    frame comes back as it is where its values are right already, where the attributes say that these bits
    are in use (``idle_bits``), and where any sample has others than zeros or its sign there.
    """
    stored = image.bits_allocated - image.idle_bits
    half = 1 << (stored - 1)
    if not (image.signed and image.idle_bits) or (samples.max() < half and samples.min() >= -half):
        return samples
    above = samples >> stored
    if np.any((above != 0) & ((above != -1) | (samples & half == 0))):
        return samples
    return (samples << image.idle_bits) >> image.idle_bits


def expand_chrominance(data: bytes | memoryview, image: ImageDescription) -> Samples:
    """Samples of a native frame with halved chrominance, (rows, columns, 3), each chrominance value used
    twice.

    The order of its samples is Y1 Y2 CB CR for every two pixels of a row (PS3.3 C.7.6.3.1.2).
    """
    count = image.rows * image.columns * 2
    if len(data) < count * image.bits_allocated // 8:
        raise cannot_extract(
            f"a frame has {len(data)} bytes where {count * image.bits_allocated // 8} are needed"
        )
    pairs = np.frombuffer(data, sample_type(image), count).reshape(-1, 4)
    full = np.empty((len(pairs), 2, 3), pairs.dtype)
    full[:, :, 0] = pairs[:, :2]
    full[:, :, 1] = pairs[:, 2:3]
    full[:, :, 2] = pairs[:, 3:4]
    return full.reshape(image.rows, image.columns, 3)


def native_view(samples: Samples, image: ImageDescription) -> bytes | memoryview:
    """What `to_native` gives, without a copy where ``samples`` lie in memory as a native frame does."""
    if image.bits_allocated == 1 or (image.samples > 1 and image.planar == 1):
        return to_native(samples, image)
    plain = np.ascontiguousarray(samples.astype(sample_type(image), copy=False))
    return plain.reshape(-1).view(np.uint8).data


def to_native(samples: Samples, image: ImageDescription) -> bytes:
    """One native little-endian frame of ``samples``, planar where the image says so, 1-bit samples packed.

    The last bits of a 1-bit frame are 0; an odd length stays odd.
    """
    if image.samples > 1 and image.planar == 1:
        samples = samples.transpose(2, 0, 1)
    if image.bits_allocated == 1:
        return np.packbits(samples.reshape(-1), bitorder="little").tobytes()
    return samples.astype(sample_type(image), copy=False).tobytes()
