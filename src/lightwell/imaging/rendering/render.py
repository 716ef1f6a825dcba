"""Rendering one frame: from its samples and attributes to a picture.

The order is that of PS3.18 §8.3.5.1: the grayscale or colour transformations (PS3.4 N.2), then the region,
then the viewport.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from pydicom.dataset import Dataset

from lightwell.domain.rendering import Rendering
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import RenderFailure
from lightwell.imaging.pixels.samples import Samples
from lightwell.imaging.rendering.colour import MONOCHROME, PALETTE, colours
from lightwell.imaging.rendering.frame_attributes import frame_attributes
from lightwell.imaging.rendering.gif import encode_gif
from lightwell.imaging.rendering.greyscale import greys
from lightwell.imaging.rendering.image_encoders import encode
from lightwell.imaging.rendering.overlays import draw_overlays
from lightwell.imaging.rendering.scaling import Bytes
from lightwell.imaging.rendering.viewport import crop_and_scale, pixel_aspect_ratio

LARGEST_ANIMATION = 1 << 26
"""Most samples of all frames of an animation."""

# Of an instance that recommends no speed, in milliseconds.
_FRAME_TIME = 100.0


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """An encoded picture; ``notes`` say which parts of the request or the image it lacks."""

    data: bytes
    notes: tuple[str, ...] = ()


def render(
    samples: Samples,
    image: ImageDescription,
    photometric: str,
    data_set: Dataset,
    frame: int,
    rendering: Rendering,
) -> RenderedImage:
    """The picture of one frame.

    ``samples`` are those of `stored_frames.decode_verified`, ``photometric`` is their photometric
    interpretation; ``frame`` counts from 0. Raises `RenderFailure`.
    """
    picture, notes = _picture(samples, image, photometric, data_set, frame, rendering)
    return RenderedImage(encode(picture, rendering.media_type, rendering.quality), notes)


def animate(
    frames: Iterable[tuple[Samples, str]], image: ImageDescription, data_set: Dataset, rendering: Rendering
) -> RenderedImage:
    """All frames, from the first one on, as an animated GIF at the speed that the instance recommends.

    ``frames``: the samples of each with their photometric interpretation. Raises `RenderFailure`, also if the
    animation would be too large.
    """
    pictures: list[Bytes] = []
    notes: dict[str, None] = {}
    for number, (samples, photometric) in enumerate(frames):
        picture, of_frame = _picture(samples, image, photometric, data_set, number, rendering)
        pictures.append(picture)
        notes.update(dict.fromkeys(of_frame))
        if picture.size * image.frames > LARGEST_ANIMATION:
            raise RenderFailure(
                f"An animation of {image.frames} frames with {picture.shape[1]} × {picture.shape[0]} pixels "
                "is too large; request a smaller viewport, or single frames."
            )
    return RenderedImage(encode_gif(pictures, frame_time(data_set)), tuple(notes))


def frame_time(data_set: Dataset) -> float:
    """How long each frame is shown, in milliseconds (PS3.3 C.7.6.5)."""
    times = data_set.get("FrameTimeVector")
    if isinstance(times, Sequence) and not isinstance(times, str) and len(times) > 1:
        shown = [_positive(value) for value in times[1:]]
        if all(shown):
            return sum(shown) / len(shown)
    for keyword, is_rate in (("FrameTime", False), ("RecommendedDisplayFrameRate", True), ("CineRate", True)):
        if value := _positive(data_set.get(keyword)):
            return 1000 / value if is_rate else value
    return _FRAME_TIME


def _positive(value: object) -> float:
    """A number of a data set above 0 and small enough to reckon with; 0 for anything else."""
    number = float(value) if isinstance(value, int | float | Decimal) else 0.0
    return number if 1e-9 < number < 1e9 else 0.0


def _picture(
    samples: Samples,
    image: ImageDescription,
    photometric: str,
    data_set: Dataset,
    frame: int,
    rendering: Rendering,
) -> tuple[Bytes, tuple[str, ...]]:
    attributes = frame_attributes(data_set, frame)
    picture, notes = full_picture(samples, image, photometric, attributes, rendering)
    picture, overlay_notes = draw_overlays(picture, data_set, frame)
    picture = crop_and_scale(picture, rendering, pixel_aspect_ratio(attributes))
    return picture, (*notes, *overlay_notes)


def full_picture(
    samples: Samples, image: ImageDescription, photometric: str, attributes: Dataset, rendering: Rendering
) -> tuple[Bytes, list[str]]:
    """The whole frame with 8 bits per sample, in grey or colour, and notes. Raises `RenderFailure`."""
    _check_alignment(samples, image, attributes)
    if image.samples == 1 and photometric != PALETTE:
        known = photometric in MONOCHROME
        note = [] if known else [f"The photometric interpretation {photometric!r} is rendered as MONOCHROME2"]
        return greys(samples, image, attributes, rendering.window), note
    note = ["The parameter window does not apply to images in colour"] if rendering.window else []
    return colours(samples, image, attributes, photometric), note


def _check_alignment(samples: Samples, image: ImageDescription, attributes: Dataset) -> None:
    """Refuse samples that may not be in the lowest bits of their words, as PS3.5 8.1.1 now requires.

    HighBit alone is not conclusive: some writers give a wrong one. So samples that fit BitsStored are shown.
    """
    high, stored = attributes.get("HighBit"), image.bits_stored
    if not isinstance(high, int) or not 1 <= stored <= high < image.bits_allocated:
        return
    if samples.dtype.kind in "iu" and np.any(((samples >> stored) + 1) >> 1):
        raise RenderFailure(
            f"HighBit is {high} and BitsStored is {stored}, but samples have more bits:"
            " it is not clear which of them are the image."
        )
