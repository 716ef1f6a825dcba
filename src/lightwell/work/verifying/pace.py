"""How fast `data verify` reads, beside clients who wait."""

from __future__ import annotations

import threading
import time


class Pace:
    """At most ``rate`` bytes a second, None for as fast as it goes. For several threads."""

    def __init__(self, rate: float | None, stopping: threading.Event) -> None:
        self._rate = rate
        self._stopping = stopping
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, size: int) -> None:
        """Wait until ``size`` bytes more may have been read."""
        if not self._rate:
            return
        with self._lock:
            takes = size / self._rate  # some of which it has taken already
            self._free_at = max(self._free_at, time.monotonic() - takes) + takes
            wait = self._free_at - time.monotonic()
        if wait > 0:
            self._stopping.wait(wait)
