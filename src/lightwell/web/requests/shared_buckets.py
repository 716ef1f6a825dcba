"""Token buckets for keys that nobody knows beforehand, in memory that the processes of a server share.

Addresses, access key IDs and callers are without number, and some are made up. So there is a table of a fixed
size: a key is hashed to one of many groups of a few places each, and if its group is full, the place whose
bucket has been full for longest is taken over. Hashes are keyed, so that nobody can choose whom to share a
group with. A bucket is one number, as in `web.requests.throttle`, and the locks are of the same kind.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from hashlib import blake2b
from math import inf
from time import monotonic

from lightwell.clock import Ids
from lightwell.web.requests.rates import Rate
from lightwell.web.requests.throttle import shared_memory

_PLACES = 8
_ENTRY = 32  # bytes: the hash, when the bucket is full again, when it last rang, and how often it was taken
_GROUPS = 1024


class SharedBuckets:
    """The buckets; make them before the fork. Call each method from one thread of a process only.

    ``now`` returns the seconds of a monotonic clock that all processes share.
    """

    def __init__(self, *, groups: int = _GROUPS, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._groups = groups
        self._seed = Ids().id().encode()
        self._file, self._memory = shared_memory(groups * _PLACES * _ENTRY)
        self._hashes = memoryview(self._memory).cast("Q")
        self._numbers = memoryview(self._memory).cast("d")

    def take(self, key: str, rate: Rate) -> float:
        """Take a token. Returns how many seconds it takes until there is one, 0 if one was taken."""
        return self._take(key, rate, inf)[0]

    def ring(self, key: str, rate: Rate, quiet: float) -> tuple[float, int]:
        """Take a token, and ring a bell if there is none, unless it rang less than ``quiet`` seconds ago.

        Returns what `take` does, and how often the bucket was asked for a token since the bell rang last; 0
        if it does not ring.
        """
        return self._take(key, rate, quiet)

    def _take(self, key: str, rate: Rate, quiet: float) -> tuple[float, int]:
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16, key=self._seed).digest()
        group = int.from_bytes(digest[:8]) % self._groups * _PLACES * _ENTRY
        name = int.from_bytes(digest[8:]) or 1
        interval = 1 / rate.per_second
        fcntl.lockf(self._file, fcntl.LOCK_EX, _PLACES * _ENTRY, group)
        try:
            now = self._now()
            place = self._place(group // 8, name)
            full_at = max(self._numbers[place + 1], now)
            wait = full_at - now - (rate.burst - 1) * interval
            count = self._numbers[place + 3] = self._numbers[place + 3] + 1
            # A token that has just come back may be short by a rounding error: no reason to refuse.
            if wait < 1e-6:
                self._numbers[place + 1] = full_at + interval
                return 0.0, 0
            if now - self._numbers[place + 2] < quiet:
                return wait, 0
            self._numbers[place + 2], self._numbers[place + 3] = now, 0
            return wait, int(count)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _PLACES * _ENTRY, group)

    def _place(self, start: int, name: int) -> int:
        """The place of this hash in the group that begins at ``start``, in numbers; taken over if need be."""
        places = range(start, start + _PLACES * 4, 4)
        for place in places:
            if self._hashes[place] == name:
                return place
        place = min(places, key=self._full_at)
        self._hashes[place] = name
        self._numbers[place + 1], self._numbers[place + 2], self._numbers[place + 3] = 0.0, -inf, 0.0
        return place

    def _full_at(self, place: int) -> float:
        return self._numbers[place + 1]

    def close(self) -> None:
        """Release the memory in this process."""
        self._hashes.release()
        self._numbers.release()
        self._memory.close()
        os.close(self._file)
