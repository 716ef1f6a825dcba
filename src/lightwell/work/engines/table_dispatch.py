"""The database's own tables as the queue of units of work: the only engine on SQLite, a choice on PostgreSQL.

What waits is looked up now and then, and shared by all threads of the process; taking a unit is one short
statement, whoever else takes one at the same time. Claims end after a few seconds unless they are renewed,
which one thread does for all of them in one statement.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial

from sqlalchemy import Connection

from lightwell.domain.imports.fairness import OpenJob, in_turn
from lightwell.domain.imports.jobs import may_work_at_phase
from lightwell.domain.imports.units import QueuedJob, Token
from lightwell.domain.states import JobPhase
from lightwell.errors import StorageError
from lightwell.stores import Stores
from lightwell.stores.background.wakeups import Wakeups
from lightwell.stores.jobs import unit_claims, units
from lightwell.work.dispatch import Begin

log = logging.getLogger(__name__)

# How old what is known of the queue may be while units are being taken; only their fair order depends on it.
_FRESH_SECONDS = 1.0
# How often a process without work looks at the tables: as often while jobs are under way, whose workers may
# die, as seldom while there is none and whoever queues one wakes this process.
_BUSY_SECONDS, _IDLE_SECONDS = 1.0, 5.0
# And while it leaves jobs alone that it has paused, whose pauses end at any time.
_PAUSED_SECONDS = 0.25


class TableDispatch:
    """`work.dispatch.Dispatch` by rows of ``unit`` alone. ``owner`` begins the names of its claims.

    `open` starts its two threads, `close` ends them; without them everything works but that nothing is
    renewed, and `wait` wakes up for what this process does only.
    """

    def __init__(self, stores: Stores, owner: str) -> None:
        self._stores = stores
        self._owner = owner
        self._node = stores.node_id
        self._numbers = itertools.count(1)
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._jobs: list[OpenJob] = []
        self._ready: set[tuple[int, JobPhase]] = set()
        self._first: dict[tuple[int, JobPhase], int] = {}
        self._taken: Counter[int] = Counter()
        self._looking = threading.Lock()
        self._looked_at: float | None = None
        self._has_looked = False
        self._changed = threading.Condition()
        self._changes = 0
        self._seen = threading.local()
        self._later: list[float] = []
        self._left_out_at = -_BUSY_SECONDS
        self._wakeups: Wakeups | None = None
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        self._wakeups = Wakeups(self._stores.db, self._stores.spool.parent)
        self._threads = [
            threading.Thread(target=self._watch, name="queue"),
            threading.Thread(target=self._renew, name="leases"),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads. Claims that are held end by themselves."""
        self._closing.set()
        self.wake()
        for thread in self._threads:
            thread.join()
        self._threads = []
        if self._wakeups is not None:
            self._wakeups.close()
            self._wakeups = None

    def wake(self) -> None:
        """Look at the tables anew: something has changed. For any thread."""
        with self._lock:
            self._looked_at = None
        self._tell()
        if self._wakeups is not None:
            self._wakeups.wake()

    def _tell(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    # the five methods -----------------------------------------------------------------------------------

    def enqueue(self, conn: Connection, job: QueuedJob, numbers: Sequence[int]) -> None:
        units.announce(conn, job, numbers)

    def take(
        self, phases: Collection[JobPhase], leave_out: Collection[int] = (), begin: Begin | None = None
    ) -> Token | None:
        self._seen.changes = self._changes
        self._look(only_if_old=True)
        for job, phase in self._in_turn(phases, leave_out):
            token = self._claim(job, phase, begin)
            if token is not None:
                return token
        return None

    def done(self, conn: Connection, token: Token, *, dead: str | None = None) -> bool:
        return units.close(conn, token, dead)

    def retry(
        self, token: Token, delay_ms: int = 0, also: Callable[[Connection], None] | None = None
    ) -> bool:
        def work(conn: Connection) -> bool:
            is_ours = units.release(conn, token, delay_ms)
            if is_ours and also is not None:
                also(conn)
            return is_ours

        with self._lock:
            self._held.discard(token.claim)
        try:
            return self._stores.db.write(work)
        finally:
            if delay_ms:
                with self._lock:
                    heapq.heappush(self._later, time.monotonic() + delay_ms / 1000)
                if self._wakeups is not None:
                    self._wakeups.wake()
            else:
                self.wake()

    def wait(self, seconds: float) -> None:
        seen = getattr(self._seen, "changes", -1)
        with self._changed:
            self._changed.wait_for(lambda: self._changes != seen or self._closing.is_set(), seconds)

    # what waits -----------------------------------------------------------------------------------------

    def _look(self, *, only_if_old: bool = False) -> None:
        """Look at the tables; one thread at a time, whose answer serves those that wait for it, too."""
        if only_if_old and not self._is_old():
            return
        with self._looking:
            if only_if_old and not self._is_old():
                return
            with self._lock:
                # Whoever changes something meanwhile sets it to None again.
                self._looked_at = time.monotonic()
            try:
                jobs = self._read()
            except BaseException:
                self._looked_at = None
                raise
            with self._lock:
                self._jobs = jobs
                self._ready = {(job.key, phase) for job in jobs for phase in job.ready}
                self._first.clear()
                self._taken.clear()
                self._has_looked = True

    def _is_old(self) -> bool:
        """Whether a thread has to look itself: while there is work, or nobody watches."""
        with self._lock:
            since, watched = self._looked_at, bool(self._threads)
            if since is None or not self._has_looked:
                return True
            return time.monotonic() - since >= _FRESH_SECONDS and (bool(self._ready) or not watched)

    def _read(self) -> list[OpenJob]:
        with self._stores.db.read() as conn:
            jobs = unit_claims.open_jobs(conn)
        if any(job.ended for job in jobs):
            taken = self._stores.db.write(unit_claims.take_back)
            if taken:
                log.warning("%d units of import jobs are taken over: their workers are gone", taken)
                with self._stores.db.read() as conn:
                    jobs = unit_claims.open_jobs(conn)
        return jobs

    def _in_turn(
        self, phases: Collection[JobPhase], leave_out: Collection[int]
    ) -> list[tuple[OpenJob, JobPhase]]:
        with self._lock:
            ready, jobs, taken = set(self._ready), self._jobs, dict(self._taken)
        if leave_out:
            self._left_out_at = time.monotonic()
        waiting = [
            job for job in jobs if job.key not in leave_out and any((job.key, p) in ready for p in phases)
        ]
        ordered = in_turn(waiting, taken) if len(waiting) > 1 else waiting
        return [
            (job, phase)
            for phase in phases
            for job in ordered
            if (job.key, phase) in ready
            and (self._node is None or may_work_at_phase(phase, self._node, job.input_node, job.output_node))
        ]

    def _claim(self, job: OpenJob, phase: JobPhase, begin: Begin | None) -> Token | None:
        place = job.key, phase
        first = self._first.get(place, 0)
        name = f"{self._owner}:{next(self._numbers)}"

        def work(conn: Connection) -> Token | None:
            token = unit_claims.claim(conn, job.key, phase, name, first)
            if token is None and first:
                token = unit_claims.claim(conn, job.key, phase, name)
            if token is not None and begin is not None:
                begin(conn, token)
            return token

        token = self._stores.db.write(work)
        with self._lock:
            if token is None:
                self._ready.discard(place)
            else:
                self._held.add(name)
                self._first[place] = token.unit.number + 1
                self._taken[job.key] += 1
        return token

    # threads --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        assert self._wakeups is not None
        is_woken = True
        while not self._closing.is_set():
            try:
                # Not if a thread that takes units has just looked.
                self._look(only_if_old=not is_woken and bool(self._ready))
                seconds = self._pause()
                if self._ready:
                    self._tell()
            except StorageError as error:
                log.info("the queue cannot be looked at: %s", error)
                seconds = _BUSY_SECONDS
            except Exception:
                log.exception("looking at the queue failed")
                seconds = _BUSY_SECONDS
            is_woken = self._wakeups.wait(seconds)

    def _pause(self) -> float:
        assert self._wakeups is not None
        idle = not self._jobs and self._wakeups.is_heard
        now = time.monotonic()
        with self._lock:
            while self._later and self._later[0] <= now:
                heapq.heappop(self._later)
            next_one = self._later[0] - now if self._later else _IDLE_SECONDS
        if now - self._left_out_at < _BUSY_SECONDS:
            return min(_PAUSED_SECONDS, next_one)
        return min(_IDLE_SECONDS if idle else _BUSY_SECONDS, next_one + 0.005)

    def _renew(self) -> None:
        seconds = units.LEASE_MS[self._stores.db.dialect] / 5000
        while not self._closing.wait(seconds):
            with self._lock:
                held = set(self._held)
            if not held:
                continue
            try:
                kept = self._stores.db.write(partial(unit_claims.renew, names=held))
            except StorageError as error:
                log.warning("leases could not be renewed: %s", error)
            except Exception:
                log.exception("leases could not be renewed")
            else:
                with self._lock:
                    self._held -= held - kept
