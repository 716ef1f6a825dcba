"""Token buckets that all HTTP processes of one server share: the setting ``throttle``.

A bucket is one number in shared memory, the time at which it will be full again (GCRA); each request moves it
by one interval, and is refused if that would be further away than the burst allows. It is guarded by a record
lock on the file behind the memory, which the system releases when its process dies, however it dies. Both are
made before the fork, so the rates apply to the server as a whole. Servers that share a database throttle
independently.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable, Mapping
from math import ceil
from time import monotonic

from lightwell.errors import ThrottlingError
from lightwell.web.requests.rates import Rate

_SIZE = 8


def shared_memory(size: int) -> tuple[int, mmap.mmap]:
    """Memory for this process and those that it forks, and the file behind it, for locks.

    The file has no name, lies in memory where the system can, and disappears with the last process that has
    it open.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("lightwell-buckets")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor, mmap.mmap(descriptor, size)


class Throttle:
    """The buckets of one account, one for each operation that ``rates`` names.

    ``now`` returns the seconds of a monotonic clock that all processes share.
    """

    def __init__(self, rates: Mapping[str, Rate], *, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._rates = {operation: (place, rate) for place, (operation, rate) in enumerate(rates.items())}
        self._file, self._memory = shared_memory(max(1, len(rates)) * _SIZE)
        self._full_at = memoryview(self._memory).cast("d")

    def take(self, operation: str) -> None:
        """Take a token. Raises `ThrottlingError` if the bucket is empty; an operation without one passes.

        Call it from one thread of a process only.
        """
        known = self._rates.get(operation)
        if known is None:
            return
        place, rate = known
        interval = 1 / rate.per_second
        fcntl.lockf(self._file, fcntl.LOCK_EX, _SIZE, place * _SIZE)
        try:
            now = self._now()
            full_at = max(self._full_at[place], now)
            wait = full_at - now - (rate.burst - 1) * interval
            # A token that has just come back may be short by a rounding error: no reason to refuse.
            if wait < 1e-6:
                self._full_at[place] = full_at + interval
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _SIZE, place * _SIZE)
        if wait >= 1e-6:
            raise ThrottlingError(
                f"Rate exceeded: {operation} may be called {rate.per_second:g} times a second. "
                f"Try again in {_words(wait)}.",
                retry_after=ceil(wait),
            )

    def close(self) -> None:
        """Release the memory in this process."""
        self._full_at.release()
        self._memory.close()
        os.close(self._file)


def _words(seconds: float) -> str:
    return f"{ceil(seconds)} seconds" if seconds > 1 else f"{ceil(seconds * 1000)} milliseconds"
