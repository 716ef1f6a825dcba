"""Which part of an image a picture shows, and how large it becomes.

Source: PS3.18 §8.3.5.1.3 (viewport), §9.5.2 (rows, columns, region of the URI service); PS3.3 C.7.6.3.1.7
(pixel aspect ratio).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from lightwell.domain.rendering import Region, Rendering
from lightwell.imaging.errors import RenderFailure
from lightwell.imaging.rendering.scaling import Bytes, scaled

LARGEST_PICTURE = 1 << 26
"""Pixels that a picture may have where no viewport bounds it."""

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")


def aspect(attributes: Dataset) -> float:
    """Height of a pixel by its width; 1 where the attributes say nothing of use."""
    for keyword in _SPACINGS:
        value = attributes.get(keyword)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
            try:
                ratio = float(value[0]) / float(value[1])
            except (TypeError, ValueError, ZeroDivisionError):
                continue
            if 1 / 64 <= ratio <= 64:
                return ratio
    return 1.0


def shown(picture: Bytes, asked: Rendering, pixel_aspect: float) -> Bytes:
    """The part of ``picture`` that is asked for, mirrored and scaled as asked.

    Without a viewport every sample is one pixel. Raises `RenderFailure` where the region lies outside of the
    image, or the picture would be too large.
    """
    rows, columns = picture.shape[:2]
    left, top, right, bottom = _box(asked.region, columns, rows)
    width, height = _size(right - left, (bottom - top), asked, pixel_aspect)
    if width * height > LARGEST_PICTURE:
        raise RenderFailure(f"A picture of {width} × {height} pixels is too large: ask for a viewport.")
    if (left, top, right, bottom) != (0, 0, width, height) or (width, height) != (columns, rows):
        picture = scaled(picture, (left, top, right, bottom), width, height)
    if asked.region is not None and (asked.region.width or 1) < 0:
        picture = picture[:, ::-1]
    if asked.region is not None and (asked.region.height or 1) < 0:
        picture = picture[::-1]
    return picture


def _box(region: Region | None, columns: int, rows: int) -> tuple[float, float, float, float]:
    if region is None:
        return 0.0, 0.0, float(columns), float(rows)
    across, down = (columns, rows) if region.relative else (1, 1)
    left, top = region.left * across, region.top * down
    right = columns if region.width is None else left + abs(region.width) * across
    bottom = rows if region.height is None else top + abs(region.height) * down
    if not (left < right <= columns + 1e-6 and top < bottom <= rows + 1e-6):
        raise RenderFailure(
            f"The region does not lie within the image, which has {columns} columns and {rows} rows.",
            bad=True,
        )
    return left, top, min(float(right), columns), min(float(bottom), rows)


def _size(across: float, down: float, asked: Rendering, pixel_aspect: float) -> tuple[int, int]:
    """The largest size within the viewport that has the aspect of the part, as the pixels are on a screen."""
    if asked.width is None and asked.height is None:
        return max(round(across), 1), max(round(down), 1)
    tall = down * pixel_aspect
    by_width = asked.width / across if asked.width is not None else float("inf")
    by_height = asked.height / tall if asked.height is not None else float("inf")
    factor = min(by_width, by_height)
    return max(round(across * factor), 1), max(round(tall * factor), 1)
