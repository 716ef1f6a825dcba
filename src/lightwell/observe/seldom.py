"""What would be logged again and again while something lasts, such as a disk that is full."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

SECONDS: Final = 60.0


class Seldom:
    """Logs each kind of line at most once in so many `SECONDS`. For all threads.

    ``now`` are seconds that only go forward.
    """

    def __init__(self, log: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._logged: dict[str, float] = {}

    def __call__(self, level: int, line: str, *args: object) -> None:
        """Log ``line``, one of few, with ``args`` filled in, unless it was logged within the last minute."""
        now = self._now()
        if now - self._logged.get(line, -SECONDS) >= SECONDS:
            self._logged[line] = now
            self._log.log(level, line, *args)
