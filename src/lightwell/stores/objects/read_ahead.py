"""How far to read ahead in an object, in blocks, from where it was read last."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_FIRST = 4
_NEAR = 8
_SECONDS = 10.0
_OBJECTS = 1024


@dataclass(slots=True)
class _Run:
    end: int  # the block behind the last one that was asked for
    window: int
    at: float


class ReadAhead:
    """Windows that double while an object is read from place to place near by, from a megabyte to ``most``
    blocks, and halve at every jump; once a window is being read, the next one has ``most``. What begins an
    object is taken for the beginning of a series."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    def window(self, key: str, first: int, end: int) -> int:
        """How many blocks to fetch behind ``end`` when the blocks from ``first`` on are missing."""
        run = self._runs.get(key)
        now = self._clock()
        if run is None or now - run.at > _SECONDS:
            window = _FIRST if not first else 0
        elif run.end - self.most - _NEAR <= first <= run.end + _NEAR:
            window = max(2 * run.window, _FIRST)
        else:
            window = run.window // 2
        return self._go_on(key, end, min(window, self.most), now)

    def onward(self, key: str) -> tuple[int, int] | None:
        """``(first, count)`` of the blocks to fetch now that the last window is being read."""
        run = self._runs.get(key)
        if run is None:
            return None
        first = run.end
        count = self._go_on(key, first, self.most, self._clock())
        return first, count

    def _go_on(self, key: str, end: int, window: int, now: float) -> int:
        self._runs[key] = _Run(end + window, window, now)
        self._runs.move_to_end(key)
        while len(self._runs) > _OBJECTS:
            self._runs.popitem(last=False)
        return window

    def forget(self, key: str) -> None:
        self._runs.pop(key, None)
