"""Units that a process has claimed and not begun: how many it claims at once, and which are left of them.

To claim several units at once costs hardly more than to claim one, and nothing else makes short units cheap.
But while one process has units that it has not begun, others may be idle. So it claims no more than it has
begun of that job in the last second, nor more than its share of what waits, and it gives back what it does
not get round to (`old`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lightwell.domain.imports.fairness import OpenJob
from lightwell.domain.imports.units import Token
from lightwell.domain.states import JobPhase

Place = tuple[int, JobPhase]
"""One phase of one job."""

_MOST_AT_ONCE = 16
_SECONDS = 1.0


class ClaimedAhead:
    """For all threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[Place, deque[tuple[float, Token]]] = {}
        self._asking: dict[Place, threading.Lock] = {}
        self._takers: Counter[Place] = Counter()
        self._begun: deque[tuple[float, Place]] = deque(maxlen=256)

    @contextmanager
    def taker(self, place: Place) -> Iterator[threading.Lock]:
        """A thread wants a unit of ``place``; with the lock that this yields it may claim some for all."""
        with self._lock:
            self._takers[place] += 1
            asking = self._asking.setdefault(place, threading.Lock())
        try:
            yield asking
        finally:
            with self._lock:
                self._takers[place] -= 1
                if not self._takers[place]:
                    del self._takers[place], self._asking[place]

    def count(self, place: Place, job: OpenJob) -> int:
        """How many units to claim at once.

        As many as threads want now, and more while units take moments only, up to the share of a process in
        what waits: so few are left that others could begin at the end of a job.
        """
        now = time.monotonic()
        with self._lock:
            begun = sum(at > now - _SECONDS and where == place for at, where in self._begun)
            wanted = max(self._takers[place], min(begun, job.waiting // max(job.claimed, 1)), 1)
        return min(wanted, _MOST_AT_ONCE)

    def put(self, place: Place, tokens: Sequence[Token]) -> None:
        now = time.monotonic()
        with self._lock:
            self._left.setdefault(place, deque()).extend((now, token) for token in tokens)

    def take(self, place: Place) -> Token | None:
        with self._lock:
            left = self._left.get(place)
            if not left:
                return None
            _, token = left.popleft()
            if not left:
                del self._left[place]
            return token

    def has_begun(self, place: Place) -> None:
        """A unit has been begun."""
        with self._lock:
            self._begun.append((time.monotonic(), place))

    def places(self) -> set[Place]:
        with self._lock:
            return set(self._left)

    def has(self, job: int, phase: JobPhase) -> bool:
        with self._lock:
            return (job, phase) in self._left

    def old(self, seconds: float) -> list[Token]:
        """Take out what was claimed so long ago."""
        until = time.monotonic() - seconds
        found: list[Token] = []
        with self._lock:
            for place, left in list(self._left.items()):
                while left and left[0][0] <= until:
                    found.append(left.popleft()[1])
                if not left:
                    del self._left[place]
        return found
