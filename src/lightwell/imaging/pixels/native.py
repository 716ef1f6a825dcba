"""Native pixel data: consecutive frames, read one at a time by their offset.

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
    """The frames of a native pixel element at ``offset`` of ``source``, ``length`` bytes long.

    ``word_size`` is the size in bytes of the words in big-endian order, 1 for none. Raises `PixelFailure` if
    the bytes cannot be ``image.frames`` such frames; nothing is allocated before.
    """

    def __init__(
        self, source: Source, offset: int, length: int, image: ImageDescription, word_size: int = 1
    ) -> None:
        self._source, self._offset, self._word_size = source, offset, word_size
        self._bits = native_bits(image)
        self._aligned = self._bits % 8 == 0
        self._present = min(length, max(source.size - offset, 0))
        self._check(image, length)

    def _check(self, image: ImageDescription, length: int) -> None:
        expected = (self._bits * image.frames + 7) // 8
        if self._present < expected:
            raise cannot_extract(
                f"{image.pixel_keyword} has {self._present} bytes, but {image.frames} frames of"
                f" {image.rows} × {image.columns} need {expected}: it is cut off, or its attributes are wrong"
            )
        if is_subsampled(image) and length // 2 == (image.frame_bytes * image.frames) // 2:
            raise cannot_extract(
                f"PixelData has {length} bytes, which fits full chrominance, not {image.photometric}:"
                " PhotometricInterpretation is wrong"
            )
        if is_subsampled(image) and image.columns % 2:
            raise cannot_extract(
                f"{image.photometric} needs an even number of columns, but Columns is {image.columns}"
            )
        if (length - expected) * 8 >= self._bits and length - expected >= 2:
            raise wrong_number(
                f"{image.pixel_keyword} has {length} bytes, enough for {length * 8 // self._bits} frames,"
                f" but NumberOfFrames is {image.frames}"
            )

    def read(self, number: int) -> bytes:
        """Frame ``number`` (from 0): its bytes in little-endian order, beginning at its first bit.

        A 1-bit frame that starts within a byte is shifted; the unused bits of its last byte are 0.
        """
        first, last = number * self._bits, (number + 1) * self._bits
        data = self._bytes(first // 8, (last + 7) // 8)
        if self._aligned:
            return data
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        start = first % 8
        return np.packbits(bits[start : start + self._bits], bitorder="little").tobytes()

    def _bytes(self, start: int, end: int) -> bytes:
        word_size = self._word_size
        low = start - start % word_size
        high = (
            min(end + -end % word_size, self._present - self._present % word_size) if word_size > 1 else end
        )
        data = self._source.read(self._offset + low, high - low)
        if len(data) != high - low or high < end:
            raise cannot_extract(
                f"the file ends inside the pixel data, at byte {self._offset + low + len(data)}"
            )
        if word_size > 1:
            data = np.frombuffer(data, f">u{word_size}").astype(f"<u{word_size}").tobytes()
        return data[start - low : end - low]


def swapped_word_size(image: ImageDescription, vr: str, big_endian: bool) -> int:
    """Size in bytes of the words to swap: a sample's, or a 16-bit word's if OW has smaller samples."""
    if not big_endian:
        return 1
    width = image.bits_allocated // 8
    if width > 1:
        return width
    return 2 if vr == "OW" else 1
