"""Pixel data within sequences, such as icons: found where it is encapsulated, and its native form.

Source: PS3.5 A.4: nested Pixel Data (7FE0,0010) may be native in every transfer syntax, and encapsulated only
in the file's own one. So it is kept in a file of that syntax, and made native everywhere else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lightwell.imaging.dataset.element_scanner import ElementScanner, ElementSpan

PIXEL_DATA, ICON_SEQUENCE = 0x7FE00010, 0x00880200
_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006


@dataclass(frozen=True, slots=True)
class NativePixels:
    """Decoded nested pixel data.

    ``value`` is native and little endian, padded to an even length; ``vr`` is OB or OW. ``photometric`` is
    the PhotometricInterpretation that is true of it, ``planar`` its PlanarConfiguration, None with one sample
    per pixel.
    """

    value: bytes
    vr: str
    photometric: str
    planar: int | None

    def elements(self) -> dict[int, tuple[str, bytes]]:
        """The VR and the little-endian value of each element of the item that differs from the coded one."""
        changed = {PIXEL_DATA: (self.vr, self.value)}
        if self.photometric:
            text = self.photometric.encode("ascii", "replace")
            changed[_PHOTOMETRIC] = ("CS", text + b" " * (len(text) % 2))
        if self.planar is not None:
            changed[_PLANAR] = ("US", struct.pack("<H", self.planar))
        return changed


DecodeNested = Callable[[ElementScanner, Sequence[ElementSpan], ElementSpan], "NativePixels | str | None"]
"""Decodes the pixel element of an item, given a scanner and the elements of the item.

Returns the reason why it cannot, or None to leave the element as it is.
"""


def encapsulated_pixels(elements: Sequence[ElementSpan]) -> ElementSpan | None:
    """The encapsulated pixel element among the elements of an item, which are in tag order."""
    if elements and elements[-1].tag >= PIXEL_DATA:
        for span in reversed(elements):
            if span.tag == PIXEL_DATA:
                return span if span.undefined else None
    return None
