"""How long something will still take, from how fast it went lately; nothing where that is not known."""

from __future__ import annotations

import time
from collections import deque

_WINDOW_SECONDS = 60.0
#: a rate of fewer seconds says little
_LEAST_SECONDS = 5.0


class RecentRate:
    """Progress over the last minute. Times are seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, done: float, now: float) -> None:
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # it has begun anew
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW_SECONDS:
            self._seen.popleft()

    def seconds_left(self, total: float | None) -> float | None:
        """None while the total is not known, at the beginning, and while nothing goes on."""
        if total is None or len(self._seen) < 2:
            return None
        (first, before), (last, done) = self._seen[0], self._seen[-1]
        if done >= total or last - first < _LEAST_SECONDS or done <= before:
            return None
        return (total - done) * (last - first) / (done - before)


def words(seconds: float | None) -> str:
    """``about 3 min left``, as coarse as an estimate is; "" for None."""
    if seconds is None:
        return ""
    if seconds < 55:
        return f"about {max(10, round(seconds / 10) * 10)} s left"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {max(1, minutes)} min left"
    hours = round(seconds / 3600)
    return f"about {hours} h left" if hours < 48 else f"about {round(seconds / 86_400)} days left"


def now() -> float:
    """Seconds of the clock that `RecentRate` is for."""
    return time.monotonic()
