"""The Image Pixel module of an instance, as far as decoding needs it.

Source: PS3.3 C.7.6.3. Stored with the pixels at import, so that later edits never change decoding.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """Shape and sample format of every frame of an instance.

    ``pixel_keyword`` is PixelData, FloatPixelData or DoubleFloatPixelData. ``frames`` is NumberOfFrames, 1 if
    absent; ``frames_declared`` tells whether the file has NumberOfFrames. ``idle_bits`` is the number of bits
    of a sample above BitsStored that are unused by the attributes (PS3.5 8.1.1): 0 if HighBit is not
    BitsStored - 1, or if an overlay is in them (OverlayBitPosition, retired).
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: int
    frames: int
    frames_declared: bool
    pixel_keyword: str
    idle_bits: int = 0

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame, without padding."""
        return self.rows * self.columns * self.samples * self.bits_allocated

    @property
    def frame_bytes(self) -> int:
        """Bytes of one native frame, its bits rounded up."""
        return (self.frame_bits + 7) // 8


def described_image(described: bytes) -> tuple[ImageDescription, str]:
    """The description of frames and the transfer syntax in which they came, from the JSON that imports store.

    Not for a pixel element without frames, which may lack a part of the description.
    """
    found = json.loads(described)
    original_syntax = found.pop("original_syntax")
    return ImageDescription(**found), original_syntax
