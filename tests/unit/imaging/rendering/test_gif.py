"""GIF: greys and few colours exactly, many colours closely, and all frames of an animation."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import pytest

from lightwell.imaging.rendering.gif import encode_gif
from lightwell.imaging.rendering.render import frame_time

_RNG = np.random.default_rng(1)


def test_keeps_greys_and_up_to_256_colours_as_they_are() -> None:
    greys = _RNG.integers(0, 256, (3, 50, 61), dtype=np.uint8)
    found = imagecodecs.gif_decode(encode_gif(list(greys), 40))
    assert np.array_equal(found, np.repeat(greys[..., None], 3, 3))
    colours = _RNG.integers(0, 256, (256, 3), dtype=np.uint8)[_RNG.integers(0, 256, (30, 30))]
    assert np.array_equal(imagecodecs.gif_decode(encode_gif([colours], 0)), colours)


@pytest.mark.parametrize("many", [False, True])
def test_approximates_more_colours(many: bool) -> None:
    rows, columns = np.mgrid[:240, :320]
    picture = np.stack([columns * 255 // 319, rows * 255 // 239, (rows + columns) % 256], -1).astype(np.uint8)
    picture = picture if many else picture // 8 * 8
    found = imagecodecs.gif_decode(encode_gif([picture], 0)).astype(int)
    assert np.abs(found - picture).mean() < 8


def test_shows_each_frame_as_long_as_the_instance_says() -> None:
    data = encode_gif([np.zeros((4, 4), np.uint8)] * 2, 333.3)
    assert data.count(b"\x21\xf9\x04\x04\x21\x00\x00\x00") == 2 and b"NETSCAPE2.0" in data

    def time(**attributes: Any) -> float:
        return frame_time(SimpleNamespace(get=attributes.get))  # type: ignore[arg-type]

    assert time() == 100 and time(FrameTime=33.3, CineRate=5) == 33.3 and time(CineRate=5) == 200
    assert time(FrameTimeVector=[0, 10, 30]) == 20 and time(FrameTime=0) == 100 == time(FrameTime="x")
    assert time(FrameTimeVector=[0, Decimal("Infinity")], FrameTime=Decimal("NaN"), CineRate=4) == 250
    assert time(FrameTimeVector=[0, "x", None]) == 100
