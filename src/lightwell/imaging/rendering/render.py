"""From the samples of one frame and its attributes to a picture.

The order is PS3.18's (§8.3.5.1): how the image itself is shown (PS3.4 N.2), then the region, then the
viewport.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from lightwell.domain.rendering import Rendering
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import RenderFailure
from lightwell.imaging.pixels.samples import Samples
from lightwell.imaging.rendering.colour import MONOCHROME, PALETTE, colours
from lightwell.imaging.rendering.frame_attributes import frame_attributes
from lightwell.imaging.rendering.greyscale import greys
from lightwell.imaging.rendering.image_encoders import encode
from lightwell.imaging.rendering.overlays import draw_overlays
from lightwell.imaging.rendering.scaling import Bytes
from lightwell.imaging.rendering.viewport import aspect, shown


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """A picture as a file; ``notes`` say what of the request or the image is not in it."""

    data: bytes
    notes: tuple[str, ...] = ()


def render(
    samples: Samples,
    image: ImageDescription,
    photometric: str,
    data_set: Dataset,
    frame: int,
    asked: Rendering,
) -> RenderedImage:
    """The picture of one frame.

    ``samples`` are those of `stored_frames.decode_verified`, ``photometric`` is their photometric
    interpretation; ``frame`` counts from 0. Raises `RenderFailure`.
    """
    attributes = frame_attributes(data_set, frame)
    picture, notes = full_picture(samples, image, photometric, attributes, asked)
    picture, left_out = draw_overlays(picture, data_set, frame)
    picture = shown(picture, asked, aspect(attributes))
    return RenderedImage(encode(picture, asked.media_type, asked.quality), (*notes, *left_out))


def full_picture(
    samples: Samples, image: ImageDescription, photometric: str, attributes: Dataset, asked: Rendering
) -> tuple[Bytes, list[str]]:
    """The whole frame in 8 bits, in grey or in colour, and notes. Raises `RenderFailure`."""
    _check_alignment(samples, image, attributes)
    if image.samples == 1 and photometric != PALETTE:
        known = photometric in MONOCHROME
        note = [] if known else [f"The photometric interpretation {photometric!r} is shown as MONOCHROME2"]
        return greys(samples, image, attributes, asked.window), note
    note = ["The parameter window does not apply to images in colour"] if asked.window else []
    return colours(samples, image, attributes, photometric), note


def _check_alignment(samples: Samples, image: ImageDescription, attributes: Dataset) -> None:
    """Refuse samples that may not stand in the lowest bits of their words, as PS3.5 8.1.1 now asks of all.

    HighBit alone does not tell: some writers give a wrong one. So samples that BitsStored can hold are shown.
    """
    high, stored = attributes.get("HighBit"), image.bits_stored
    if not isinstance(high, int) or not 1 <= stored <= high < image.bits_allocated:
        return
    if samples.dtype.kind in "iu" and np.any(((samples >> stored) + 1) >> 1):
        raise RenderFailure(
            f"HighBit is {high} where BitsStored is {stored}, and samples have more bits than that: which of"
            " them are the picture cannot be told."
        )
