"""Encoding pictures in the image formats of browsers."""

from __future__ import annotations

import imagecodecs

from lightwell.domain.rendering import GIF, IMAGE_TYPES, JPEG, PNG
from lightwell.imaging.rendering.gif import encode_gif
from lightwell.imaging.rendering.scaling import Bytes


def encode(picture: Bytes, media_type: str, quality: int) -> bytes:
    """A picture as one of `IMAGE_TYPES`; ``quality`` applies to image/jpeg.

    JPEG is the baseline process with Huffman codes (PS3.18 §8.7.4), without chroma subsampling from quality
    90.
    """
    if not picture.flags.c_contiguous:
        picture = picture.copy()
    if media_type == JPEG:
        colour = picture.ndim == 3
        return bytes(
            imagecodecs.jpeg8_encode(
                picture, level=quality, subsampling=("444" if quality >= 90 else "420") if colour else None
            )
        )
    if media_type == PNG:
        return bytes(imagecodecs.png_encode(picture, level=4))
    if media_type == GIF:
        return encode_gif([picture], 0)
    raise ValueError(f"{media_type} is not one of {IMAGE_TYPES}")
