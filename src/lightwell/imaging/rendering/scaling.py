"""Scaling pictures: a triangle filter as wide as the area of one new pixel.

So larger pictures are interpolated linearly and smaller ones averaged, without the aliasing of skipped
pixels. Only the stripe of pixels for a few new rows is processed at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
# New rows per stripe, and most pixels of the picture that are converted to floats at a time.
_STRIPE = 64
_PIXELS = 1 << 22


def scaled(picture: Bytes, region: tuple[float, float, float, float], width: int, height: int) -> Bytes:
    """The ``region`` (left, top, right, bottom, in pixels) of a picture, scaled to ``width`` × ``height``.

    ``picture`` is (rows, columns) or (rows, columns, 3). Pixels outside the region do not count, except
    those on its edge.
    """
    left, top, right, bottom = region
    floats: NDArray[Any] = _along_rows(picture, top, bottom, height)
    floats = _along_rows(floats.swapaxes(0, 1), left, right, width).swapaxes(0, 1)
    return np.ascontiguousarray((floats + 0.5).clip(0, 255).astype(np.uint8))


def _along_rows(picture: NDArray[Any], start: float, end: float, count: int) -> NDArray[np.float32]:
    first, last = int(start), min(-int(-end // 1), len(picture))
    scale = (end - start) / count
    radius = max(scale, 1.0)
    flat = picture[first:last].reshape(last - first, -1)
    out = np.empty((count, flat.shape[1]), np.float32)
    stripe_rows = min(max(int(_PIXELS / (2 * radius * flat.shape[1])), 1), _STRIPE)
    for begin in range(0, count, stripe_rows):
        centers = start - first + (np.arange(begin, min(begin + stripe_rows, count)) + 0.5) * scale
        low = max(int(centers[0] - radius), 0)
        high = min(int(centers[-1] + radius) + 1, len(flat))
        distance = np.abs(np.arange(low, high) + 0.5 - centers[:, None]) / radius
        weights = np.maximum(1.0 - distance, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
        stripe = flat[low:high].astype(np.float32, copy=False)
        np.matmul(weights.astype(np.float32), stripe, out=out[begin : begin + len(centers)])
    return out.reshape((count, *picture.shape[1:]))
