"""Native pixel data: frames one after the other, read one at a time by their place.

Source: PS3.5 8.1.1, 8.2 (1-bit frames follow each other without byte alignment), 7.3 (big endian).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import cannot_extract, wrong_number
from lightwell.imaging.pixels.samples import is_subsampled, native_bits

if TYPE_CHECKING:
    from lightwell.imaging.dataset.part10 import Source


class NativeFrames:
    """Frames of a native pixel element that lies at ``offset`` of ``source``, ``length`` bytes long.

    ``swapped`` is the width in bytes of the units whose bytes stand in big-endian order, 1 for none. Raises
    `PixelFailure` where the bytes cannot be ``image.frames`` such frames; nothing is allocated before that.
    """

    def __init__(
        self, source: Source, offset: int, length: int, image: ImageDescription, swapped: int = 1
    ) -> None:
        self._source, self._offset, self._swapped = source, offset, swapped
        self._bits = native_bits(image)
        self._aligned = self._bits % 8 == 0
        self._present = min(length, max(source.size - offset, 0))
        self._check(image, length)

    def _check(self, image: ImageDescription, length: int) -> None:
        need = (self._bits * image.frames + 7) // 8
        if self._present < need:
            raise cannot_extract(
                f"{image.pixel_keyword} has {self._present} bytes where {image.frames} frames of"
                f" {image.rows} × {image.columns} need {need}: it is cut off, or its attributes are wrong"
            )
        if is_subsampled(image) and length // 2 == (image.frame_bytes * image.frames) // 2:
            raise cannot_extract(
                f"PixelData has {length} bytes, which fits full chrominance and not {image.photometric}:"
                " PhotometricInterpretation is wrong"
            )
        if is_subsampled(image) and image.columns % 2:
            raise cannot_extract(f"{image.photometric} needs an even number of columns, not {image.columns}")
        if (length - need) * 8 >= self._bits and length - need >= 2:
            raise wrong_number(
                f"{image.pixel_keyword} has {length} bytes, enough for {length * 8 // self._bits} frames,"
                f" NumberOfFrames says {image.frames}"
            )

    def read(self, number: int) -> bytes:
        """Frame ``number`` (from 0): its bytes in little-endian order, beginning at its first bit.

        A 1-bit frame that starts inside a byte is shifted; the spare bits of its last byte are 0.
        """
        first, last = number * self._bits, (number + 1) * self._bits
        data = self._bytes(first // 8, (last + 7) // 8)
        if self._aligned:
            return data
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        start = first % 8
        return np.packbits(bits[start : start + self._bits], bitorder="little").tobytes()

    def _bytes(self, start: int, end: int) -> bytes:
        unit = self._swapped
        low = start - start % unit
        high = min(end + -end % unit, self._present - self._present % unit) if unit > 1 else end
        data = self._source.read(self._offset + low, high - low)
        if len(data) != high - low or high < end:
            raise cannot_extract(
                f"the file ends inside the pixel data, at byte {self._offset + low + len(data)}"
            )
        if unit > 1:
            data = np.frombuffer(data, f">u{unit}").astype(f"<u{unit}").tobytes()
        return data[start - low : end - low]


def swap_unit(image: ImageDescription, vr: str, big_endian: bool) -> int:
    """Width in bytes of the units to swap: a sample's, or a 16-bit word's where OW holds smaller samples."""
    if not big_endian:
        return 1
    width = image.bits_allocated // 8
    if width > 1:
        return width
    return 2 if vr == "OW" else 1
