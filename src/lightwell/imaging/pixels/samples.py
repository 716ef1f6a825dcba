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
"""Photometric interpretations whose native frames have one CB and CR for two pixels (PS3.3 C.7.6.3.1.2)."""

_FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


def check_description(image: ImageDescription) -> None:
    """Refuse a description that is not valid for any frame; raises `PixelFailure`."""
    if image.rows < 1 or image.columns < 1 or image.samples < 1 or image.frames < 1:
        raise cannot_extract(
            f"{image.frames} frames of {image.rows} rows, {image.columns} columns and {image.samples} samples"
            " have no pixels: Rows, Columns, SamplesPerPixel and NumberOfFrames must be at least 1"
        )
    bits = _FLOAT_BITS.get(image.pixel_keyword)
    if bits is not None and image.bits_allocated != bits:
        raise cannot_extract(
            f"{image.pixel_keyword} has BitsAllocated {image.bits_allocated}, but must have {bits}"
        )
    if image.bits_allocated not in (1, 8, 16, 32, 64):
        raise cannot_transcode(
            f"BitsAllocated {image.bits_allocated} is not supported, only 1, 8, 16, 32 and 64 are"
        )


def sample_type(image: ImageDescription) -> np.dtype[Any]:
    """The little-endian type that holds one sample; 1-bit samples unpack to bytes."""
    if image.pixel_keyword in _FLOAT_BITS:
        return np.dtype(f"<f{image.bits_allocated // 8}")
    return np.dtype(f"<{'i' if image.signed else 'u'}{max(image.bits_allocated // 8, 1)}")


def frame_shape(image: ImageDescription) -> tuple[int, ...]:
    """(rows, columns), with a third axis if a pixel has several samples."""
    if image.samples == 1:
        return (image.rows, image.columns)
    return (image.rows, image.columns, image.samples)


def has_lossless_form(image: ImageDescription) -> bool:
    """Whether HTJ2K and JPEG 2000 encode these frames losslessly, for common readers.

    They do not for 1, 32 and 64 bits and floats; for other than 1 or 3 samples, for which JP2 needs a palette
    or a channel definition box; for one row or column, which OpenJPH 0.32.0 encodes wrongly.
    """
    return (
        image.pixel_keyword == "PixelData"
        and image.bits_allocated in (8, 16)
        and image.samples in (1, 3)
        and min(image.rows, image.columns) > 1
    )


def is_subsampled(image: ImageDescription) -> bool:
    """Whether the chrominance of native frames of this image is subsampled horizontally by two."""
    return image.photometric in SUBSAMPLED and image.samples == 3 and image.bits_allocated in (8, 16)


def native_bits(image: ImageDescription) -> int:
    """Bits of one native frame without padding (PS3.5 8.1.1, 8.2)."""
    if is_subsampled(image):
        return image.rows * image.columns * 2 * image.bits_allocated
    return image.frame_bits


def whole_frame(data: bytes, image: ImageDescription) -> bytes:
    """One native frame without the byte that may pad it to an even length; raises `PixelFailure`."""
    expected = (native_bits(image) + 7) // 8
    if not expected <= len(data) <= expected + 1:
        raise cannot_extract(f"a frame has {len(data)} bytes, {expected} are expected")
    return data if len(data) == expected else data[:expected]


def from_native(data: bytes | memoryview, image: ImageDescription) -> Samples:
    """Samples of one native little-endian frame that starts at the first bit of ``data``.

    Several samples per pixel are returned interleaved, whatever PlanarConfiguration; 1-bit samples as bytes
    of 0 and 1. Raises `PixelFailure` if ``data`` is too short, ValueError for subsampled chrominance.
    """
    if is_subsampled(image):
        raise ValueError("a frame with subsampled chrominance is not an array of samples")
    expected = (native_bits(image) + 7) // 8
    if len(data) < expected:
        raise cannot_extract(f"a frame has {len(data)} bytes, {expected} are expected")
    count = image.rows * image.columns * image.samples
    if image.bits_allocated == 1:
        flat = np.unpackbits(np.frombuffer(data, np.uint8, expected), count=count, bitorder="little")
    else:
        flat = np.frombuffer(data, sample_type(image), count)
    if image.samples > 1 and image.planar == 1:
        planes = flat.reshape(image.samples, image.rows, image.columns)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    return flat.reshape(frame_shape(image))


def as_unsigned(samples: Samples) -> Samples:
    """The same bits as unsigned samples, contiguous: the two's complement of signed ones."""
    plain: Samples = np.ascontiguousarray(samples).view(f"<u{samples.dtype.itemsize}")
    return plain


def extend_sign(samples: Samples, image: ImageDescription) -> Samples:
    """Signed samples with their sign extended to the bits above BitsStored.

    Readers may not assume anything about those bits (PS3.5 8.1.1), but decoded samples are used by their
    type. A frame is returned unchanged if its sign is extended already, if the attributes use these bits
    (``idle_bits``), or if any sample has bits there other than zeros or its sign.
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
    """Samples of a native frame with subsampled chrominance, (rows, columns, 3); each CB and CR is repeated.

    The order of its samples is Y1 Y2 CB CR for every two pixels of a row (PS3.3 C.7.6.3.1.2).
    """
    count = image.rows * image.columns * 2
    if len(data) < count * image.bits_allocated // 8:
        raise cannot_extract(
            f"a frame has {len(data)} bytes, {count * image.bits_allocated // 8} are expected"
        )
    pairs = np.frombuffer(data, sample_type(image), count).reshape(-1, 4)
    full = np.empty((len(pairs), 2, 3), pairs.dtype)
    full[:, :, 0] = pairs[:, :2]
    full[:, :, 1] = pairs[:, 2:3]
    full[:, :, 2] = pairs[:, 3:4]
    return full.reshape(image.rows, image.columns, 3)


def native_view(samples: Samples, image: ImageDescription) -> bytes | memoryview:
    """The bytes of `to_native`, without a copy if ``samples`` have the memory layout of a native frame."""
    if image.bits_allocated == 1 or (image.samples > 1 and image.planar == 1):
        return to_native(samples, image)
    contiguous = np.ascontiguousarray(samples.astype(sample_type(image), copy=False))
    return contiguous.reshape(-1).view(np.uint8).data


def to_native(samples: Samples, image: ImageDescription) -> bytes:
    """``samples`` as one native little-endian frame, planar if the image is, 1-bit samples packed.

    The unused bits of a 1-bit frame are 0; it is not padded to an even length.
    """
    if image.samples > 1 and image.planar == 1:
        samples = samples.transpose(2, 0, 1)
    if image.bits_allocated == 1:
        return np.packbits(samples.reshape(-1), bitorder="little").tobytes()
    return samples.astype(sample_type(image), copy=False).tobytes()
