"""Decoded pixels in transfer syntaxes without a codec for images, for files like those that were imported.

Source: PS3.5 Annex A: Explicit VR Big Endian (retired), Encapsulated Uncompressed, Deflated Image Frame, and
Deflated Explicit VR Little Endian (A.5).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lightwell.errors import InputError
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.part10 import EXPLICIT_BIG, IMPLICIT_LITTLE
from lightwell.imaging.dataset.transfer_syntaxes import DEFLATED, EXPLICIT_LITTLE
from lightwell.imaging.instances.writer import PixelValue, encapsulate
from lightwell.imaging.pixels.native import swapped_word_size

ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

BY_NATIVE_FORM = {
    EXPLICIT_LITTLE: EXPLICIT_LITTLE,
    IMPLICIT_LITTLE: IMPLICIT_LITTLE,
    EXPLICIT_BIG: EXPLICIT_LITTLE,
    DEFLATED: EXPLICIT_LITTLE,
    ENCAPSULATED_UNCOMPRESSED: EXPLICIT_LITTLE,
    DEFLATED_FRAMES: EXPLICIT_LITTLE,
}
"""These syntaxes, and in which the native frames are made that `convert` takes."""


def convert(pixel: PixelValue, syntax: str, image: ImageDescription) -> PixelValue:
    """Native pixels in ``syntax``, one of `BY_NATIVE_FORM`.

    A deflated data set is deflated as a whole by whoever writes it. Raises `InputError` where frames are no
    whole bytes and the syntax wants each apart.
    """
    if syntax == EXPLICIT_BIG:
        size = swapped_word_size(image, pixel.vr, True)
        return replace(pixel, syntax=syntax, pieces=_swapped(pixel, size))
    if syntax in (ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAMES):
        if image.frames > 1 and image.frame_bits % 8:
            raise InputError(f"frames of {image.frame_bits} bits cannot be told apart any more")
        frames = pixel.pieces if syntax == ENCAPSULATED_UNCOMPRESSED else map(_deflate_frame, pixel.pieces)
        pieces = encapsulate((len(frame), [frame]) for frame in frames)
        return replace(pixel, syntax=syntax, vr="OB", length=None, size=None, pieces=pieces)
    return pixel


def _swapped(pixel: PixelValue, size: int) -> Iterator[bytes]:
    """Pieces are whole frames, and so whole words."""
    for piece in pixel.pieces:
        yield np.frombuffer(piece, f"<u{size}").astype(f">u{size}").tobytes() if size > 1 else piece


def _deflate_frame(frame: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(frame) + packer.flush()
