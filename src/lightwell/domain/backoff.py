"""How long to wait before something is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from ``first_ms`` up to ``longest_ms``, in milliseconds."""

    first_ms: int
    longest_ms: int

    def delay_ms(self, failures: int) -> int:
        """The wait after so many failures in a row, at least one."""
        return min(self.first_ms << min(failures - 1, 20), self.longest_ms)


AGAIN = Backoff(500, 30_000)
"""Before a chunk, a phase of a job, or whatever waits for something that is away is tried again."""
