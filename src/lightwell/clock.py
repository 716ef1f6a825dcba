"""The clock and new IDs: the source of time and randomness, which tests replace with their own."""

from __future__ import annotations

import os
import secrets
import time


class Clock:
    """The system clock."""

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class Ids:
    """New keys and IDs from the system's random source."""

    def key(self) -> int:
        """A random positive 63-bit integer, the key of a row."""
        return secrets.randbits(63) or 1

    def id(self) -> str:
        """32 lower-case hex digits, an ID shown in the API."""
        return os.urandom(16).hex()
