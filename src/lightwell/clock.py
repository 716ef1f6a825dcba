"""The clock and new ids: where time and randomness come from, so that tests can put their own in their
place."""

from __future__ import annotations

import secrets
import time


class Clock:
    """Time from the system; tests put their own in its place."""

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class Ids:
    """New keys and ids from the system's random source."""

    def key(self) -> int:
        """A random 63-bit integer above 0, the key of a row."""
        return secrets.randbits(63) or 1

    def id(self) -> str:
        """32 lowercase hex digits, an id that the API shows."""
        return secrets.token_hex(16)
