"""Jobs that wait for what is away: the database, the object store, the network, room on a disk.

Nobody is to blame for that and no file's tries are used up: the engine leaves the job alone for a while,
longer each time, and tries again for as long as it takes. Each engine does so for itself, since what is away
for one machine may be there for another; what is paused lies ready for the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass

from lightwell.clock import Clock

log = logging.getLogger(__name__)

# The first wait and the longest. A try costs seconds itself, since clients of S3 try again on their own.
FIRST_MS, LONGEST_MS = 500, 30_000
# A job that still waits says so again after this.
_SAY_MS = 300_000


@dataclass(slots=True)
class _Pause:
    until: int
    count: int
    said: int


class Pauses:
    """For all threads of one engine; jobs by key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pauses: dict[int, _Pause] = {}

    def begin(self, job: int, name: str, reason: str) -> int:
        """Something that the job needs is away; answers when to try again, ms since the epoch."""
        now = self._clock.now()
        with self._lock:
            pause = self._pauses.get(job)
            if pause is not None and now < pause.until:
                return pause.until  # another thread has found the same out
            if pause is None:
                pause = self._pauses[job] = _Pause(0, 0, now - _SAY_MS)
            pause.until = now + min(FIRST_MS << min(pause.count, 20), LONGEST_MS)
            pause.count += 1
            if now - pause.said < _SAY_MS:
                return pause.until
            pause.said = now
        log.warning("%s waits, none of its files is lost: %s", name, reason)
        return pause.until

    def waiting(self) -> Collection[int]:
        """The jobs to leave alone now."""
        if not self._pauses:
            return ()
        now = self._clock.now()
        with self._lock:
            return {job for job, pause in self._pauses.items() if now < pause.until}

    def end(self, job: int) -> None:
        """What the job needs is there."""
        if job in self._pauses:
            with self._lock:
                self._pauses.pop(job, None)
            log.info("an import job goes on after a pause")
