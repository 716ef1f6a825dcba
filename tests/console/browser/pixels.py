"""What a viewport showed, compared with what pydicom decodes and with the formula of PS3.3 C.11.2.1.2."""

from __future__ import annotations

import base64
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

_TYPES = {
    "Uint8Array": "u1", "Uint8ClampedArray": "u1", "Int8Array": "i1", "Uint16Array": "<u2",
    "Int16Array": "<i2", "Uint32Array": "<u4", "Int32Array": "<i4",
}  # fmt: skip
_MOST_OFF = 1
_LEAST_SHARE = 0.25


def check_samples(seen: dict[str, Any], pixels: NDArray[Any]) -> None:
    """The decoded samples are exactly those of ``pixels``: (rows, columns), or (rows, columns, samples)."""
    found = np.frombuffer(base64.b64decode(seen["data"]), _TYPES[seen["type"]])
    assert (seen["height"], seen["width"]) == pixels.shape[:2]
    assert np.array_equal(found.reshape(pixels.shape), pixels)


def check_shown(seen: dict[str, Any], dataset: Dataset, pixels: NDArray[Any]) -> None:
    """The canvas shows each pixel of ``pixels`` as the window says, within one grey of 255."""
    window, inverse = seen["window"], seen["inverse"] != (dataset.PhotometricInterpretation == "MONOCHROME1")
    values = pixels * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    wanted = linear(values, float(window["center"]), float(window["width"]))
    if inverse:
        wanted = 255 - wanted
    grey, rows, columns = _at_centres(seen, *pixels.shape[:2])
    off = np.abs(grey.astype(float) - wanted[rows, columns])
    assert off.max() <= _MOST_OFF, (
        f"{np.count_nonzero(off > _MOST_OFF)} of {off.size} are off by up to {off.max()}"
    )


def linear(values: NDArray[Any], center: float, width: float) -> NDArray[Any]:
    """PS3.3 C.11.2.1.2.1, to 0…255."""
    if width == 1:
        return np.where(values <= center - 0.5, 0.0, 255.0)
    ramp = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255.0
    return np.asarray(np.clip(ramp, 0.0, 255.0))


def _at_centres(
    seen: dict[str, Any], rows: int, columns: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Greys of the canvas that lie well within one pixel of the image, and that pixel's row and column."""
    canvas = np.asarray(imagecodecs.png_decode(base64.b64decode(seen["png"])))
    assert np.array_equal(canvas[..., 0], canvas[..., 1]) and np.array_equal(canvas[..., 0], canvas[..., 2])
    corner, right, down = (np.asarray(seen[name]) for name in ("corner", "right", "down"))
    there = np.linalg.inv(np.column_stack([right - corner, down - corner]))
    y, x = np.mgrid[0 : canvas.shape[0], 0 : canvas.shape[1]] + 0.5
    across, along = there @ (np.stack([x.ravel(), y.ravel()]) - corner[:, None])
    column, row = np.floor(across).astype(int), np.floor(along).astype(int)
    is_inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    is_within = (np.abs(across - column - 0.5) < 0.3) & (np.abs(along - row - 0.5) < 0.3)
    chosen = is_inside & is_within
    assert np.unique(row[chosen] * columns + column[chosen]).size >= _LEAST_SHARE * rows * columns
    return canvas[..., 0].ravel()[chosen], row[chosen], column[chosen]
