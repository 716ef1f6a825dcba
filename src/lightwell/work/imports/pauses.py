"""Jobs that are paused while something is unavailable: the database, an object store, room on a disk.

Nothing is to blame for that, and no file's tries are used up: the engine leaves the job alone for a while,
longer each time, and tries again for as long as it takes. Each engine does so for itself, since what one
machine cannot reach another may; a job that one has paused is open to the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from lightwell.clock import Clock
from lightwell.domain.backoff import AGAIN

log = logging.getLogger(__name__)

# A try costs seconds itself, since clients of S3 try again on their own.
BACKOFF = AGAIN
# A job that is still paused is logged again after this; one that is paused again and again, so often at most.
_LOG_MS = 300_000
_AGAIN_MS = 60_000
# So many jobs' times are remembered.
_MOST = 1000


@dataclass(slots=True)
class _Pause:
    name: str
    until: int
    count: int
    is_told: bool


def _holds(pause: _Pause, now: int) -> bool:
    """Not where it ends later than any pause can: then the clock has been set back since it began."""
    return 0 < pause.until - now <= BACKOFF.longest_ms


class Pauses:
    """For all threads of one engine; jobs by key. ``tell`` is told what jobs wait for, else the log is."""

    def __init__(self, clock: Clock, tell: Callable[[str], None] | None = None) -> None:
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._pauses: dict[int, _Pause] = {}
        # When each was last told of, ms since the epoch: some of a job's work may go on while the rest waits.
        self._told: dict[int, int] = {}

    def begin(self, job: int, name: str, reason: str, in_full: str | None = None) -> int:
        """Something that the job needs is unavailable. Returns when to try again, ms since the epoch.

        ``in_full`` is for whoever is told, and may name files; ``reason`` is for the log.
        """
        now = self._clock.now()
        with self._lock:
            pause = self._pauses.get(job)
            if pause is not None and _holds(pause, now):
                return pause.until  # another thread has noticed already
            if pause is None:
                pause = self._pauses[job] = _Pause(name, 0, 0, False)
            pause.count += 1
            pause.until = now + BACKOFF.delay_ms(pause.count)
            until = pause.until
            if pause.is_told and self._tell is not None:
                return until  # a person has seen it
            if not self._is_due(job, _LOG_MS if pause.is_told else _AGAIN_MS, now):
                return until
            pause.is_told = True
        text = f"{name} is paused, and none of its files is lost"
        if self._tell is None:
            log.warning("%s: %s", text, reason)
        else:
            self._tell(f"{text}: {reason if in_full is None else in_full}")
        return until

    def _is_due(self, job: int, pace: int, now: int) -> bool:
        told = self._told.get(job)
        if told is not None and 0 <= now - told < pace:
            return False
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told[job] = now
        return True

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
            if pause is None or not pause.is_told:
                return
            text = f"{pause.name} goes on after a pause"
            if self._tell is None:
                log.info("%s", text)
            else:
                self._tell(text)
