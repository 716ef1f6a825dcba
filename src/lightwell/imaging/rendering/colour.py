"""Stored values of a colour frame → red, green and blue of 8 bits.

Source: PS3.3 C.7.6.3.1.2 (photometric interpretations), C.7.6.3.1.5 (palettes); by pydicom's functions.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import PixelFailure, RenderFailure
from lightwell.imaging.pixels.codestream_header import marker_at, segment_length
from lightwell.imaging.pixels.samples import Samples
from lightwell.imaging.rendering.scaling import Bytes

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
_CHANNELS = ("Red", "Green", "Blue")
# ITU-R BT.601, limited range: 16 to 235 and 16 to 240.
_FROM_PARTIAL = np.array(
    [[1.164383, 1.164383, 1.164383], [0.0, -0.391762, 2.017232], [1.596027, -0.812968, 0.0]], np.float32
)


def colours(samples: Samples, image: ImageDescription, attributes: Dataset, photometric: str) -> Bytes:
    """(rows, columns, 3) of red, green and blue.

    ``photometric`` is that of the decoded samples. Raises `RenderFailure`.
    """
    if photometric == PALETTE:
        return _palette(samples, attributes)
    if image.samples != 3 or samples.dtype.kind not in "iu":
        raise RenderFailure(
            f"{image.samples} samples per pixel of photometric interpretation {photometric or '(none)'}"
            " cannot be rendered."
        )
    eight_bit = _eight_bits(samples, image)
    if photometric == "RGB":
        return eight_bit
    if photometric == "YBR_FULL":
        return convert_color_space(eight_bit, "YBR_FULL", "RGB").astype(np.uint8, copy=False)
    if photometric == "YBR_PARTIAL":
        centred = eight_bit.astype(np.float32) - np.array([16, 128, 128], np.float32)
        rgb: Bytes = np.floor(centred @ _FROM_PARTIAL + 0.5).clip(0, 255).astype(np.uint8)
        return rgb
    raise RenderFailure(f"The photometric interpretation {photometric or '(none)'} cannot be rendered.")


def in_described_colours(samples: Samples, image: ImageDescription, photometric: str) -> tuple[Samples, str]:
    """A decoded JPEG frame of 8 bits in the colour space that clients expect by the attributes.

    ``photometric`` is that of ``samples``; both are returned after the conversion. The attributes describe
    the coded frame, and a decoded frame is never YBR_FULL_422: clients take such a frame for RGB, and for
    YBR_FULL only if the attributes say YBR_FULL.
    """
    expected = "YBR_FULL" if image.photometric == "YBR_FULL" else "RGB"
    if image.samples != 3 or samples.dtype != np.uint8 or image.bits_stored != 8 or photometric == expected:
        return samples, photometric
    if photometric not in ("RGB", "YBR_FULL", "YBR_PARTIAL"):
        return samples, photometric
    if photometric != "RGB":
        samples = colours(samples, image, Dataset(), photometric)
    if expected != "RGB":
        samples = convert_color_space(samples, "RGB", expected).astype(np.uint8, copy=False)
    return samples, expected


def header_photometric(data: bytes, codec: str, photometric: str) -> str:
    """The photometric interpretation of the samples of a verbatim frame, corrected by its JPEG header.

    ``photometric`` is that of the attributes. Components named R, G and B are RGB; a JFIF marker means YCbCr
    (ITU-T T.871), Adobe's marker means YCbCr with transform 1 and RGB with 0. pydicom uses the first two.
    """
    if codec != "jpeg" or photometric in MONOCHROME:
        return photometric
    position = 2
    try:
        while True:
            marker, position = marker_at(data, position)
            length = segment_length(data, position)
            body = data[position + 2 : position + length]
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                named_rgb = body[6:15:3] in (b"RGB", b"rgb")
                return "RGB" if named_rgb else photometric
            if marker == 0xE0 and body.startswith(b"JFIF") and "YBR" not in photometric:
                return "YBR_FULL"
            if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
                return "RGB" if body[11] == 0 else "YBR_FULL"
            position += length
    except (PixelFailure, struct.error, IndexError):
        return photometric


def _eight_bits(samples: NDArray[Any], image: ImageDescription) -> Bytes:
    if samples.dtype == np.uint8 and image.bits_stored == 8:
        return samples
    maximum = (1 << max(image.bits_stored, 1)) - 1
    masked = samples.astype(np.int64) & maximum
    return ((masked * 255 + maximum // 2) // maximum).astype(np.uint8)


def _palette(samples: Samples, attributes: Dataset) -> Bytes:
    if samples.ndim != 2 or samples.dtype.kind not in "iu" or samples.dtype.itemsize > 2:
        raise RenderFailure("Palette images must have one sample of 8 or 16 bits per pixel.")
    _widen_entries(attributes)
    low = int(samples.min())
    values = np.arange(low, int(samples.max()) + 1, dtype=np.int32)
    try:
        table = apply_color_lut(values, attributes)[:, :3]
        bits = int(attributes.RedPaletteColorLookupTableDescriptor[2])
    except (ValueError, AttributeError, TypeError, IndexError, NotImplementedError) as error:
        raise RenderFailure(f"The palette is not valid: {error}") from error
    if bits > 8:
        table = (table.astype(np.uint32) >> (bits - 8)).clip(0, 255)
    return table.astype(np.uint8)[samples.astype(np.int32) - low]


def _widen_entries(attributes: Dataset) -> None:
    """Widen 8-bit entries to 16 bits: pydicom indexes with their type, in which larger samples wrap."""
    descriptor = attributes.get("RedPaletteColorLookupTableDescriptor")
    count = (int(descriptor[0]) or 1 << 16) if descriptor else 0
    for channel in _CHANNELS:
        keyword = f"{channel}PaletteColorLookupTableData"
        data = attributes.get(keyword)
        if isinstance(data, bytes) and count <= len(data) <= count + 1:
            attributes[keyword].value = np.frombuffer(data, np.uint8, count).astype("<u2").tobytes()
