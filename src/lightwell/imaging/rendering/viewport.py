"""The region of an image that a picture shows, and the size of the picture.

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
"""Most pixels of a picture without a viewport."""

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")


def pixel_aspect_ratio(attributes: Dataset) -> float:
    """Height of a pixel divided by its width; 1 if the attributes have no valid value."""
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


def crop_and_scale(picture: Bytes, rendering: Rendering, pixel_ratio: float) -> Bytes:
    """The requested region of ``picture``, mirrored and scaled as requested.

    Without a viewport every sample is one pixel. Raises `RenderFailure` if the region is outside the image,
    or if the picture would be too large.
    """
    rows, columns = picture.shape[:2]
    left, top, right, bottom = _region_bounds(rendering.region, columns, rows)
    width, height = _picture_size(right - left, (bottom - top), rendering, pixel_ratio)
    if width * height > LARGEST_PICTURE:
        raise RenderFailure(f"A picture of {width} × {height} pixels is too large; request a viewport.")
    if (left, top, right, bottom) != (0, 0, width, height) or (width, height) != (columns, rows):
        picture = scaled(picture, (left, top, right, bottom), width, height)
    if rendering.region is not None and (rendering.region.width or 1) < 0:
        picture = picture[:, ::-1]
    if rendering.region is not None and (rendering.region.height or 1) < 0:
        picture = picture[::-1]
    return picture


def _region_bounds(region: Region | None, columns: int, rows: int) -> tuple[float, float, float, float]:
    if region is None:
        return 0.0, 0.0, float(columns), float(rows)
    region_width, region_height = (columns, rows) if region.relative else (1, 1)
    left, top = region.left * region_width, region.top * region_height
    right = columns if region.width is None else left + abs(region.width) * region_width
    bottom = rows if region.height is None else top + abs(region.height) * region_height
    if not (left < right <= columns + 1e-6 and top < bottom <= rows + 1e-6):
        raise RenderFailure(
            f"The region is not within the image, which has {columns} columns and {rows} rows.",
            bad=True,
        )
    return left, top, min(float(right), columns), min(float(bottom), rows)


def _picture_size(
    region_width: float, region_height: float, rendering: Rendering, pixel_ratio: float
) -> tuple[int, int]:
    """The largest size within the viewport with the aspect ratio of the region, in square pixels."""
    if rendering.width is None and rendering.height is None:
        return max(round(region_width), 1), max(round(region_height), 1)
    displayed_height = region_height * pixel_ratio
    by_width = rendering.width / region_width if rendering.width is not None else float("inf")
    by_height = rendering.height / displayed_height if rendering.height is not None else float("inf")
    factor = min(by_width, by_height)
    return max(round(region_width * factor), 1), max(round(displayed_height * factor), 1)
