"""How the pixels of one instance are described: the Image Pixel module, as decoding needs it.

Source: PS3.3 C.7.6.3. Kept with the pixels at import, so that later edits never change decoding.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """Shape and sample format of every frame of an instance.

    ``pixel_keyword`` is PixelData, FloatPixelData or DoubleFloatPixelData. ``frames`` is NumberOfFrames, 1
    where absent. ``frames_declared`` tells whether the file had NumberOfFrames at all. ``idle_bits`` is how
    many bits of a sample lie above BitsStored and hold nothing by the attributes (PS3.5 8.1.1): 0 where
    HighBit is another than BitsStored - 1, or where an overlay lies in them (OverlayBitPosition, retired).
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
