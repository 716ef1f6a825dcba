"""A circuit breaker: a storage that is away is not asked by every request, and nobody waits in vain."""

from __future__ import annotations

import time
from collections.abc import Callable

_FAILURES = 5
_FIRST_SECONDS, _MOST_SECONDS = 1.0, 10.0


class Circuit:
    """Opens after five failures in a row; then one attempt at a time is let through, after one second first
    and after ten at most, until one succeeds. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._seconds = _FIRST_SECONDS
        self._probe_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= _FAILURES

    def admits(self) -> bool:
        """Whether an attempt may be made now. An attempt that is made because of this reports its end."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._probe_at:
            return False
        self._probe_at = now + self._seconds  # the next one, should this one never end
        return True

    @property
    def seconds_left(self) -> float:
        """Until the next attempt is admitted."""
        return max(0.0, self._probe_at - self._clock()) if self.is_open else 0.0

    def succeeded(self) -> bool:
        """The storage has answered; true if that closes the circuit."""
        was_open = self.is_open
        self._failures, self._seconds = 0, _FIRST_SECONDS
        return was_open

    def failed(self) -> bool:
        """The storage has not answered; true if that opens the circuit."""
        was_open = self.is_open
        self._failures += 1
        if self.is_open:
            self._seconds = min(2 * self._seconds, _MOST_SECONDS) if was_open else _FIRST_SECONDS
            self._probe_at = self._clock() + self._seconds
        return self.is_open and not was_open
