"""Jobs that are paused while something is unavailable: the database, an object store, room on a disk.

Nothing is to blame for that, and no file's tries are used up: the engine leaves the job alone for a while,
longer each time, and tries again for as long as it takes. Each engine does so for itself, since what one
machine cannot reach another may; a job that one has paused is open to the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass

from lightwell.clock import Clock
from lightwell.domain.backoff import AGAIN

log = logging.getLogger(__name__)

# A try costs seconds itself, since clients of S3 try again on their own.
BACKOFF = AGAIN
# A job that is still paused is logged again after this.
_LOG_MS = 300_000


@dataclass(slots=True)
class _Pause:
    name: str
    until: int
    count: int
    logged: int


def _holds(pause: _Pause, now: int) -> bool:
    """Not where it ends later than any pause can: then the clock has been set back since it began."""
    return 0 < pause.until - now <= BACKOFF.longest_ms


class Pauses:
    """For all threads of one engine; jobs by key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pauses: dict[int, _Pause] = {}

    def begin(self, job: int, name: str, reason: str) -> int:
        """Something that the job needs is unavailable. Returns when to try again, ms since the epoch."""
        now = self._clock.now()
        with self._lock:
            pause = self._pauses.get(job)
            if pause is not None and _holds(pause, now):
                return pause.until  # another thread has noticed already
            if pause is None:
                pause = self._pauses[job] = _Pause(name, 0, 0, now - _LOG_MS)
            pause.count += 1
            pause.until = now + BACKOFF.delay_ms(pause.count)
            if 0 <= now - pause.logged < _LOG_MS:
                return pause.until
            pause.logged = now
        log.warning("%s is paused, and none of its files is lost: %s", name, reason)
        return pause.until

    def waiting(self) -> Collection[int]:
        """The jobs to leave alone now."""
        if not self._pauses:
            return ()
        now = self._clock.now()
        with self._lock:
            return {job for job, pause in self._pauses.items() if _holds(pause, now)}

    def end(self, job: int) -> None:
        """What the job needs is available again."""
        if job in self._pauses:
            with self._lock:
                pause = self._pauses.pop(job, None)
            if pause is not None:
                log.info("%s goes on after a pause", pause.name)
