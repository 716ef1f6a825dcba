"""What the viewer drew of `study.py`, compared with the files: planes, segments, a slide, a curve."""

from __future__ import annotations

import base64
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from tests.console.browser.pixels import linear
from tests.console.browser.study import ORIGIN, SPACING, WINDOW, Study

_COLOURS = np.array([[0xE6, 0x9F, 0x00], [0x56, 0xB4, 0xE9]])
_OPACITY = 0.45
_MM = 96 / 25.4


def picture(text: str) -> NDArray[Any]:
    """(row, column, sample) of a PNG in Base64."""
    return np.asarray(imagecodecs.png_decode(base64.b64decode(text)))


def check_plane(seen: dict[str, Any], study: Study) -> NDArray[np.float64]:
    """Each pixel of a plane shows what lies there in the volume, interpolated. Answers its middle in mm."""
    canvas = picture(seen["png"])
    corner, right, down = (np.asarray(seen[name], float) for name in ("corner", "right", "down"))
    rows, columns = canvas.shape[:2]
    # Not each of some hundred thousand.
    y, x = np.mgrid[2:rows:3, 2:columns:3]
    places = corner + (x[..., None] + 0.5) * (right - corner) + (y[..., None] + 0.5) * (down - corner)
    # Millimetres are x, y, z; the volume is slice, row, column.
    index = (places[..., ::-1] - np.asarray(ORIGIN[::-1])) / np.asarray(SPACING)
    most = np.asarray(study.volume.shape) - 1
    is_inside = np.all((index > 0.6) & (index < most - 0.6), axis=-1)
    assert np.count_nonzero(is_inside) > 0.3 * is_inside.size
    wanted = linear(_interpolated(study.volume, index[is_inside]), *WINDOW)
    grey = canvas[2:rows:3, 2:columns:3][is_inside]
    assert np.array_equal(grey[:, 0], grey[:, 1]) and np.array_equal(grey[:, 0], grey[:, 2])
    off = np.abs(grey[:, 0].astype(float) - wanted)
    assert off.max() <= 2, f"{np.count_nonzero(off > 2)} of {off.size} are off by up to {off.max()}"
    is_outside = np.any((index < -1) | (index > most + 1), axis=-1)
    assert not canvas[2:rows:3, 2:columns:3][is_outside][..., :3].any()
    middle: NDArray[np.float64] = corner + columns / 2 * (right - corner) + rows / 2 * (down - corner)
    return middle


def _interpolated(volume: NDArray[Any], index: NDArray[np.float64]) -> NDArray[np.float64]:
    low = np.floor(index).astype(int)
    part = index - low
    found = np.zeros(len(index))
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(np.asarray(corner), part, 1 - part), axis=1)
        z, y, x = (low + corner).T
        found += share * volume[z, y, x]
    return found


def check_segments(seen: dict[str, Any], study: Study, segments: list[int]) -> None:
    """The canvas has the colour of each of these segments exactly where its mask has it."""
    canvas = picture(seen["png"])
    corner, right, down = (np.asarray(seen[name], float) for name in ("corner", "right", "down"))
    there = np.linalg.inv(np.column_stack([right - corner, down - corner]))
    y, x = np.mgrid[0 : canvas.shape[0], 0 : canvas.shape[1]] + 0.5
    across, along = there @ (np.stack([x.ravel(), y.ravel()]) - corner[:, None])
    column, row = np.floor(across).astype(int), np.floor(along).astype(int)
    height, width = study.volume.shape[1:]
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    is_within = (np.abs(across - column - 0.5) < 0.4) & (np.abs(along - row - 0.5) < 0.4)
    colour, alpha = np.zeros((len(row), 3)), np.zeros(len(row))
    for segment in segments:
        mask = np.zeros(len(row), bool)
        mask[is_inside] = study.masks[segment, seen["index"]][row[is_inside], column[is_inside]]
        colour[mask] = _OPACITY * _COLOURS[segment] + (1 - _OPACITY) * colour[mask]
        alpha[mask] = _OPACITY + (1 - _OPACITY) * alpha[mask]
    checked = is_within | ~is_inside
    found = canvas.reshape(-1, 4)[checked].astype(float)
    assert np.abs(found[:, 3] / 255 - alpha[checked]).max() < 0.01
    # Colours of PNG are not multiplied by how opaque they are.
    assert np.abs(found[:, :3] * found[:, 3:] / 255 - colour[checked]).max() < 3
    if segments:
        assert np.count_nonzero(alpha[checked]) > 1000


def check_slide(seen: dict[str, Any], study: Study) -> None:
    """The slide lies in the middle, at the scale that is written beside it, with its colours."""
    canvas = picture(seen["png"])[..., :3].astype(float)
    base = study.slide
    rows, columns = canvas.shape[:2]
    # Its base has a micrometre a pixel. In the middle of each of its squares.
    y, x = np.mgrid[16 : base.shape[0] : 32, 16 : base.shape[1] : 32]
    down = np.round(rows / 2 + (y - base.shape[0] / 2) / seen["microns"]).astype(int)
    across = np.round(columns / 2 + (x - base.shape[1] / 2) / seen["microns"]).astype(int)
    off = np.abs(canvas[down, across] - base[y, x])
    assert off.max() <= 12, f"off by up to {off.max()}"
    edge = int(columns / 2 + base.shape[1] / 2 / seen["microns"]) + 3
    assert not canvas[rows // 2, edge : edge + 20].any()


def check_curve(png: str, ecg: Dataset) -> None:
    """At 25 mm/s and 10 mm/mV each channel is drawn where it is; a row is 22 mm high."""
    canvas = picture(png).astype(int)
    # The curve is the lightest, as letters are.
    is_curve: NDArray[np.bool_] = canvas[..., :3].min(axis=-1) > 170
    group: NDArray[Any] = np.asarray(ecg.waveform_array(0))
    frequency = float(ecg.WaveformSequence[0].SamplingFrequency)
    units = [
        each.ChannelSensitivityUnitsSequence[0].CodeValue
        for each in ecg.WaveformSequence[0].ChannelDefinitionSequence
    ]
    factors = {"uV": 0.001, "mV": 1.0}
    # Letters stand at the left.
    columns = np.arange(120, min(canvas.shape[1] - 20, int(len(group) / frequency * 25 * _MM) - 5), 7)
    missed = 0
    for channel, unit in enumerate(units):
        values: NDArray[Any] = group[:, channel] * factors[unit]
        for column in columns:
            first, last = ((column + each) / (25 * _MM) * frequency for each in (0, 1))
            near: NDArray[Any] = values[int(first) : int(last) + 2]
            y = (channel + 0.55) * 22 * _MM - near * 10 * _MM
            top, bottom = max(0, int(np.min(y)) - 1), int(np.max(y)) + 3
            drawn = is_curve[top:bottom, column]
            missed += not drawn.any()
    assert missed <= 0.01 * len(units) * len(columns), f"{missed} of {len(units) * len(columns)}"
