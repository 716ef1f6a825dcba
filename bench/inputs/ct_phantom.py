"""CT-like pixels: a body of ellipsoids with the noise of a filtered back projection. Deterministic."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 512

# centre (x, y, z), radii (x, y, z), what it adds in Hounsfield units; the slices lie at z from -1 to 1
_BODY: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...] = (
    ((0.00, 0.00, 0.0), (0.86, 0.62, 9.0), 905.0),  # fat, on air at -1000
    ((0.00, 0.02, 0.0), (0.80, 0.56, 9.0), 140.0),  # muscle
    ((-0.38, -0.06, 0.4), (0.28, 0.36, 0.9), -870.0),  # lungs
    ((0.40, -0.06, 0.4), (0.27, 0.35, 0.9), -870.0),
    ((0.04, -0.16, 0.1), (0.20, 0.18, 0.5), 60.0),  # heart
    ((-0.30, 0.00, -0.7), (0.42, 0.36, 0.5), 25.0),  # liver
    ((0.38, 0.18, -0.6), (0.16, 0.14, 0.3), 40.0),  # spleen
    ((0.06, 0.30, 0.0), (0.06, 0.06, 9.0), 95.0),  # aorta
    ((0.00, 0.40, 0.0), (0.11, 0.10, 9.0), 420.0),  # vertebrae, with marrow and canal
    ((0.00, 0.40, 0.0), (0.07, 0.06, 9.0), -230.0),
    ((0.00, 0.50, 0.0), (0.05, 0.04, 9.0), -160.0),
)
_RIBS = 11
_VESSELS = 40


def ct_slice(seed: int, number: int, count: int, *, noise: float = 72.0) -> NDArray[np.int16]:
    """Slice ``number`` of ``count``: 512 by 512 little-endian int16, Hounsfield units of -1024 and more.

    ``noise`` is the standard deviation in tissue; with the default, lossless HTJ2K has a ratio of about 2.4.
    """
    z = 2 * number / max(1, count - 1) - 1
    axis = np.linspace(-1, 1, SIZE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    image = np.full((SIZE, SIZE), -1000, np.float32)
    for (cx, cy, cz), (rx, ry, rz), value in _BODY:
        _add(image, x, y, _Ellipse(cx, cy, rx, ry, value, 1 - ((z - cz) / rz) ** 2))
    for rib in range(_RIBS):
        angle = np.pi * (rib + 0.5) / _RIBS + 0.5 * z
        for side in (-1, 1):
            cx, cy = side * 0.76 * np.sin(angle), 0.52 * np.cos(angle)
            section = 0.5 + 0.5 * np.sin(9 * z + 2 * rib)
            _add(image, x, y, _Ellipse(float(cx), float(cy), 0.045, 0.028, 480.0, section))
    places = np.random.default_rng([seed, 1])
    for cx, cy, tilt_x, tilt_y, radius in places.uniform(-1, 1, (_VESSELS, 5)):
        centre = 0.42 * np.sign(cx) + 0.2 * cx + 0.08 * tilt_x * z, 0.28 * cy + 0.08 * tilt_y * z
        size = 0.008 + 0.012 * abs(float(radius))
        _add(image, x, y, _Ellipse(float(centre[0]), float(centre[1]), size, size, 650.0))
    _add(image, x, y, _Ellipse(0.0, 0.74, 0.9, 0.012, 380.0))  # the table
    image += _noise(np.random.default_rng([seed, 2, number])) * noise * (0.65 + 0.35 * (image > -500))
    image[x * x + y * y > 0.98] = -1024  # outside the reconstructed circle
    return np.clip(np.rint(image), -1024, 3071).astype("<i2")


class _Ellipse(NamedTuple):
    """Centre and radii of an ellipsoid in one slice, and the Hounsfield units that it adds.

    ``section`` is the square of what is left of the radii in this slice; it is not in the slice at 0 or less.
    """

    cx: float
    cy: float
    rx: float
    ry: float
    value: float
    section: float = 1.0


def _add(
    image: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32], ellipse: _Ellipse
) -> None:
    """Add an ellipse with a soft edge; ``x`` and ``y`` are the coordinates of each pixel, from -1 to 1."""
    if ellipse.section <= 0:
        return
    cx, cy = ellipse.cx, ellipse.cy
    scale = float(np.sqrt(ellipse.section))
    rx, ry = ellipse.rx * scale, ellipse.ry * scale
    left, right = (np.clip((cx + s * rx * 1.2 + 1) / 2 * SIZE + s * 4, 0, SIZE) for s in (-1, 1))
    top, bottom = (np.clip((cy + s * ry * 1.2 + 1) / 2 * SIZE + s * 4, 0, SIZE) for s in (-1, 1))
    box = np.s_[int(top) : int(bottom), int(left) : int(right)]
    distance = np.hypot((x[box] - cx) / rx, (y[box] - cy) / ry)
    image[box] += ellipse.value * np.clip((1 - distance) * min(rx, ry) * SIZE / 4 + 0.5, 0, 1)


def _noise(random: np.random.Generator) -> NDArray[np.float32]:
    """Noise of unit variance whose power rises with frequency and falls near the limit: a ramp, windowed."""
    white = np.fft.rfft2(random.standard_normal((SIZE, SIZE), dtype=np.float32))
    fy, fx = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :]
    radius = np.hypot(fy, fx)
    shaped = np.fft.irfft2(white * np.sqrt(radius) * np.exp(-((radius / 0.42) ** 2)), (SIZE, SIZE))
    return np.asarray(shaped / shaped.std(), np.float32)
