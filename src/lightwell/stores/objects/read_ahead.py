"""What to fetch of objects before it is asked for: the windows that follow where they are being read."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lightwell.stores.objects.block_cache import BLOCK

T = TypeVar("T")

WINDOW = 16
"""Blocks of a window, 4 MiB. Windows lie side by side from the beginning of an object on, so that the
processes of a machine divide them among themselves by claims."""

_BEGINNING = 4  # blocks
_NEAR = 2  # windows
_SECONDS = 10.0
_OBJECTS = 4096


@dataclass(slots=True)
class _Run:
    at: int  # the window that is being read
    steady: int  # how often the next read was near the last one
    until: float


class ReadAhead:
    """How an object is read decides how much of it comes unasked.

    A read from the middle brings what was asked for, one from the beginning a megabyte more. With the second
    read near by comes the rest of its window, and with each further one a window more, up to ``depth``; a
    jump halves that. Where objects are known to follow one another (`follow`), windows go on over their
    borders.
    """

    def __init__(self, depth: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.depth = depth
        self._clock = clock
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._next: OrderedDict[str, str] = OrderedDict()

    def size(self, key: str) -> int | None:
        """Its length in bytes, if that is known."""
        return self._sizes.get(key)

    def learn(self, key: str, size: int) -> bool:
        """Note the length of an object; whether it was not known."""
        is_new = key not in self._sizes
        _put(self._sizes, key, size)
        return is_new

    def follow(self, objects: Sequence[tuple[str, int]]) -> None:
        """These objects, with their lengths, are read one after the other."""
        for key, size in objects:
            self.learn(key, size)
        for (key, _), (following, _) in itertools.pairwise(objects):
            _put(self._next, key, following)

    def missed(self, key: str, first: int, end: int) -> int:
        """Where to end the fetch of blocks that are asked for, from ``first`` to ``end``, and not here."""
        is_new = self._run(key) is None
        steady = self.read(key, first)
        if steady:
            most = -(-end // WINDOW) * WINDOW
        else:
            most = end + _BEGINNING if is_new and not first else end
        size = self._sizes.get(key)
        return most if size is None else max(end, min(most, -(-size // BLOCK)))

    def read(self, key: str, block: int) -> int:
        """Note that this block is read now; how steadily the object is."""
        window = block // WINDOW
        run = self._run(key)
        steady = 0
        if run is not None:
            # Who goes on from the beginning is likely to read all of it.
            step = 1 if run.steady or run.at else 2
            steady = run.steady + step if abs(window - run.at) <= _NEAR else run.steady // 2
        _put(self._runs, key, _Run(window, min(steady, self.depth), self._clock() + _SECONDS))
        return steady

    def windows(self, key: str) -> list[tuple[str, int]]:
        """``(object, number)`` of the windows to have now that this object is read, in their order."""
        run = self._run(key)
        found: list[tuple[str, int]] = []
        at, left = (run.at, run.steady) if run is not None else (0, 0)
        for _ in range(left):
            count = self._count(key)
            some = range(at, min(count, at + left))
            found += [(key, window) for window in some]
            left -= len(some)
            if not left or key not in self._next:
                break
            key, at = self._next[key], 0
        return found

    def turn(self, key: str) -> tuple[str, int] | None:
        """The window after the one that is being read: when it is read, `read` is to be told."""
        run = self._run(key)
        if run is None or not run.steady:
            return None
        if run.at + 1 < self._count(key):
            return key, run.at + 1
        following = self._next.get(key)
        if following is None:
            return None
        if self._run(following) is None:
            _put(self._runs, following, _Run(0, run.steady, run.until))
        return following, 0

    def forget(self, key: str) -> None:
        for known in (self._runs, self._sizes, self._next):
            known.pop(key, None)

    def _run(self, key: str) -> _Run | None:
        run = self._runs.get(key)
        return run if run is not None and self._clock() <= run.until else None

    def _count(self, key: str) -> int:
        return -(-self._sizes.get(key, 0) // (WINDOW * BLOCK))


def _put(known: OrderedDict[str, T], key: str, value: T) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > _OBJECTS:
        known.popitem(last=False)
