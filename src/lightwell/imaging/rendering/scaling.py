"""Pictures in other sizes: a triangle filter as wide as what one new pixel covers.

Larger pictures are so interpolated linearly and smaller ones averaged, without the patterns that leaving
pixels out would make. Only the stripe of pixels that a few new rows need is multiplied at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
# New rows made at a time, and how many pixels of the old ones may be floats for them.
_STRIPE = 64
_PIXELS = 1 << 22


def scaled(picture: Bytes, box: tuple[float, float, float, float], width: int, height: int) -> Bytes:
    """The part ``box`` (left, top, right, bottom, in pixels) of a picture, ``width`` × ``height`` large.

    ``picture`` is (rows, columns) or (rows, columns, 3). Pixels outside of the box do not count, but for
    those that it cuts.
    """
    left, top, right, bottom = box
    floats: NDArray[Any] = _along_rows(picture, top, bottom, height)
    floats = _along_rows(floats.swapaxes(0, 1), left, right, width).swapaxes(0, 1)
    return np.ascontiguousarray((floats + 0.5).clip(0, 255).astype(np.uint8))


def _along_rows(picture: NDArray[Any], start: float, end: float, count: int) -> NDArray[np.float32]:
    first, last = int(start), min(-int(-end // 1), len(picture))
    scale = (end - start) / count
    reach = max(scale, 1.0)
    flat = picture[first:last].reshape(last - first, -1)
    out = np.empty((count, flat.shape[1]), np.float32)
    stripe_rows = min(max(int(_PIXELS / (2 * reach * flat.shape[1])), 1), _STRIPE)
    for begin in range(0, count, stripe_rows):
        centers = start - first + (np.arange(begin, min(begin + stripe_rows, count)) + 0.5) * scale
        low = max(int(centers[0] - reach), 0)
        high = min(int(centers[-1] + reach) + 1, len(flat))
        distance = np.abs(np.arange(low, high) + 0.5 - centers[:, None]) / reach
        weights = np.maximum(1.0 - distance, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
        stripe = flat[low:high].astype(np.float32, copy=False)
        np.matmul(weights.astype(np.float32), stripe, out=out[begin : begin + len(centers)])
    return out.reshape((count, *picture.shape[1:]))
