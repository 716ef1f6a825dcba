from __future__ import annotations

import pytest

from lightwell.cli.time_left import RecentRate, words


def seen(*points: tuple[float, float]) -> RecentRate:
    rate = RecentRate()
    for now, done in points:
        rate.add(done, now)
    return rate


def test_says_nothing_while_it_does_not_know() -> None:
    assert seen().seconds_left(100) is None
    assert seen((0, 0)).seconds_left(100) is None
    assert seen((0, 0), (4, 40)).seconds_left(100) is None, "too early"
    assert seen((0, 0), (60, 50)).seconds_left(None) is None, "the end is not known"
    assert seen((0, 50), (30, 50), (60, 50)).seconds_left(100) is None, "nothing goes on"
    assert seen((0, 0), (60, 100)).seconds_left(100) is None, "done"


def test_goes_by_the_last_minute() -> None:
    assert seen((0, 0), (10, 100)).seconds_left(200) == 10
    fast_then_slow = [(float(second), 100.0 * second) for second in range(100)]
    fast_then_slow += [(100.0 + second, 10_000.0 + second) for second in range(120)]
    left = seen(*fast_then_slow).seconds_left(10_719)
    assert left == pytest.approx(600)


def test_begins_anew_with_what_is_measured() -> None:
    assert seen((0, 90), (10, 100), (20, 0), (30, 10)).seconds_left(20) == 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.5, "about 10 s left"),
        (44, "about 40 s left"),
        (56, "about 1 min left"),
        (170, "about 3 min left"),
        (80 * 60, "about 80 min left"),
        (5 * 3600 + 100, "about 5 h left"),
        (80 * 3600, "about 3 days left"),
    ],
)
def test_is_as_coarse_as_an_estimate(seconds: float | None, text: str) -> None:
    assert words(seconds) == text
