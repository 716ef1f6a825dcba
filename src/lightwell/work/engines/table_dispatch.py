"""The database's own tables as the queue of units of work: the only engine on SQLite, a choice on PostgreSQL.

What waits is looked up now and then, and shared by all threads of the process; taking a unit, or some at
once (`ClaimedAhead`), is one short statement, whoever else takes one at the same time. Claims end after a
few seconds unless they are renewed, which one thread does for all of them in one statement.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from lightwell.domain.imports.fairness import OpenJob, Shares, in_turn
from lightwell.domain.imports.jobs import may_work_at_phase
from lightwell.domain.imports.units import QueuedJob, Token, Unit
from lightwell.domain.states import JobPhase
from lightwell.errors import StorageError
from lightwell.observe.seldom import Seldom
from lightwell.stores import Stores
from lightwell.stores.background.wakeups import Wakeups
from lightwell.stores.jobs import unit_claims, units
from lightwell.stores.transactions.after_commit import after_commit
from lightwell.work.dispatch import Begin
from lightwell.work.engines.ahead import ClaimedAhead, Place

log = logging.getLogger(__name__)
seldom = Seldom(log)

# How old what is known of the queue may be while units are being taken: only their fair order depends on it,
# and when those of the dead are found, which any process may do. So the more are under way, the older.
_FRESH_SECONDS, _FRESH_SECONDS_A_UNIT, _MOST_FRESH_SECONDS = 1.0, 0.01, 3.0
# How often a process without work looks at the tables: as often while jobs are under way, whose workers may
# die, as seldom while there is none and whoever queues one wakes this process.
_BUSY_SECONDS, _IDLE_SECONDS = 1.0, 10.0
# And while it leaves jobs alone that it has paused, whose pauses end at any time.
_PAUSED_SECONDS = 0.25
# What was claimed ahead and is not begun within this is for others.
GIVE_BACK_SECONDS = 2.0
# Claims that are younger need not be renewed: most units are done before.
_YOUNG_SECONDS = 0.5


@dataclass(slots=True)
class Held:
    """A unit that this process has: since when its claim is known to hold, and what came with it."""

    since: float
    receipt: object = None
    over_at: float | None = None


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
        self._held: dict[Token, Held] = {}
        self._ahead = ClaimedAhead()
        self._lock = threading.Lock()
        self._jobs: list[OpenJob] = []
        self._ready: set[Place] = set()
        self._first: dict[Place, int] = {}
        self._taken: Counter[int] = Counter()
        self._shares = Shares()
        self._looking = threading.Lock()
        self._looked_at: float | None = None
        self._fresh = _FRESH_SECONDS
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
        self._threads = [threading.Thread(target=body, name=name) for name, body in self._bodies().items()]
        for thread in self._threads:
            thread.start()

    def _bodies(self) -> dict[str, Callable[[], None]]:
        """What the threads run, until `close`."""
        return {"queue": self._watch, "leases": self._renew}

    def close(self) -> None:
        """End the threads, and let others have what was claimed ahead. Other claims end by themselves."""
        self._closing.set()
        self.wake()
        for thread in self._threads:
            thread.join()
        self._threads = []
        try:
            self._give_back(0)
        except StorageError as error:
            log.warning("units are not given back, and are taken over by others: %s", error)
        if self._wakeups is not None:
            self._wakeups.close()
            self._wakeups = None

    @property
    def is_idle(self) -> bool:
        """Whether there were no jobs when this process looked."""
        return self._has_looked and not self._jobs

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

    # the six methods ------------------------------------------------------------------------------------

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
                with self._lock:
                    self._shares.give(job)
                return token
        return None

    def done(self, conn: Connection, token: Token, *, dead: str | None = None) -> bool:
        is_ours = units.close(conn, token, dead)
        if is_ours:
            after_commit(conn, lambda: self._is_over(token))
        else:
            self._drop(token)
        return is_ours

    def more(self, conn: Connection, job: int, phase: JobPhase) -> bool:
        return self._ahead.has(job, phase) or units.any_ready(conn, job, phase)

    def _is_over(self, token: Token) -> None:
        """The unit is done."""
        self._drop(token)

    def _drop(self, token: Token) -> Held | None:
        with self._lock:
            return self._held.pop(token, None)

    def retry(
        self, token: Token, delay_ms: int = 0, also: Callable[[Connection], None] | None = None
    ) -> bool:
        def work(conn: Connection) -> bool:
            is_ours = units.release(conn, token, delay_ms)
            if is_ours and also is not None:
                also(conn)
            return is_ours

        self._drop(token)
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
                claimed = sum(job.claimed for job in jobs)
                self._fresh = min(_FRESH_SECONDS + claimed * _FRESH_SECONDS_A_UNIT, _MOST_FRESH_SECONDS)
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
            return time.monotonic() - since >= self._fresh and (bool(self._ready) or not watched)

    def _read(self) -> list[OpenJob]:
        with self._stores.db.read_singly() as conn:
            jobs = self._open_jobs(conn)
        if any(job.ended for job in jobs):
            taken = self._stores.db.write(unit_claims.take_back)
            if taken:
                log.warning("%d units of import jobs are taken over: their workers are gone", taken)
                with self._stores.db.read_singly() as conn:
                    jobs = unit_claims.open_jobs(conn)
        return jobs

    def _open_jobs(self, conn: Connection) -> list[OpenJob]:
        if self.is_idle and not unit_claims.any_open_job(conn):
            return []
        return unit_claims.open_jobs(conn)

    def _in_turn(
        self, phases: Collection[JobPhase], leave_out: Collection[int]
    ) -> list[tuple[OpenJob, JobPhase]]:
        with self._lock:
            ready, jobs, taken = self._ready | self._ahead.places(), self._jobs, dict(self._taken)
            given = self._shares.of({job.datastore for job in jobs})
        if leave_out:
            self._left_out_at = time.monotonic()
        waiting = [
            job for job in jobs if job.key not in leave_out and any((job.key, p) in ready for p in phases)
        ]
        ordered = in_turn(jobs, taken, given) if len(waiting) > 1 else waiting
        return [
            (job, phase)
            for phase in phases
            for job in ordered
            if (job.key, phase) in ready
            and job.key not in leave_out
            and (self._node is None or may_work_at_phase(phase, self._node, job.input_node, job.output_node))
        ]

    def _claim(self, job: OpenJob, phase: JobPhase, begin: Begin | None) -> Token | None:
        """A unit that was claimed ahead, or else some are claimed now; None if there is none."""
        place = job.key, phase
        with self._ahead.taker(place) as asking:
            while True:
                token, is_empty = self._left(place), False
                if token is None:
                    with asking:
                        # Perhaps the one who has just asked has got one for this thread, too.
                        token = self._left(place)
                        if token is None:
                            is_empty = not self._ask(job, place, begin)
                            token = self._left(place)
                if token is not None:
                    self._ahead.has_begun(place)
                    return token
                if is_empty:
                    self._nothing(place)
                    return None

    def _left(self, place: Place) -> Token | None:
        """A unit that was claimed ahead, and not so long ago that its claim may have ended."""
        sure = time.monotonic() - 0.75 * units.LEASE_MS[self._stores.db.dialect] / 1000
        while (token := self._ahead.take(place)) is not None:
            with self._lock:
                held = self._held.get(token)
                if held is not None and held.since > sure:
                    return token
                self._held.pop(token, None)
        return None

    def _ask(self, job: OpenJob, place: Place, begin: Begin | None) -> bool:
        """Claim some units; False if there are none."""
        # One process alone on SQLite gains nothing.
        count = 1 if self._stores.db.dialect == "sqlite" else self._ahead.count(place, job)
        name, now = f"{self._owner}:{next(self._numbers)}", time.monotonic()
        tokens = self._deliver(place, name, count, begin)
        if tokens is None:
            return False
        with self._lock:
            for token in tokens:
                self._held[token] = Held(now, token.receipt)
            self._taken[place[0]] += len(tokens)
        self._ahead.put(place, tokens)
        return True

    def _deliver(self, place: Place, name: str, count: int, begin: Begin | None) -> list[Token] | None:
        """Claim at most so many units; None if there are none."""
        first = self._first.get(place, 0)

        def work(conn: Connection) -> list[Token]:
            tokens = unit_claims.claim(conn, *place, name, count, first)
            if not tokens and first:
                tokens = unit_claims.claim(conn, *place, name, count)
            return begun(conn, tokens, begin)

        tokens = self._stores.db.write(work)
        if not tokens:
            return None
        with self._lock:
            self._first[place] = tokens[-1].unit.number + 1
        return tokens

    def _nothing(self, place: Place) -> None:
        """There is no unit of ``place`` any more."""
        with self._lock:
            self._ready.discard(place)

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
                seldom(logging.INFO, "the queue cannot be looked at: %s", error)
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

    def _repeat(self, work: Callable[[], None], seconds: float, trouble: str) -> None:
        """The body of a thread: ``work`` again and again until `close`; ``trouble`` is logged if it fails."""
        while not self._closing.wait(seconds):
            try:
                work()
            except StorageError as error:
                seldom(logging.WARNING, f"{trouble}: %s", error)
            except Exception:
                log.exception("%s", trouble)

    def _renew(self) -> None:
        seconds = units.LEASE_MS[self._stores.db.dialect] / 5000
        self._repeat(self._keep_and_give_back, seconds, "leases could not be renewed")

    def _keep_and_give_back(self) -> None:
        self._keep()
        self._give_back(GIVE_BACK_SECONDS)

    def _keep(self) -> None:
        """Renew the claims of what this process has, and forget what it has no more."""
        now = time.monotonic()
        due = self._due(now)
        if not due:
            return
        names = {token.claim for token in due}
        kept = self._stores.db.write(lambda conn: unit_claims.renew(conn, names))
        with self._lock:
            for token, held in due.items():
                if token.claim in kept:
                    held.since = now
                else:
                    self._held.pop(token, None)

    def _due(self, now: float) -> dict[Token, Held]:
        """What has to be renewed."""
        with self._lock:
            return {token: held for token, held in self._held.items() if held.since < now - _YOUNG_SECONDS}

    def _give_back(self, older_than: float) -> None:
        """Let others have what was claimed ahead and nobody here has got round to."""
        old = self._ahead.old(older_than)
        if not old:
            return
        with self._lock:
            receipts = {
                token.unit: held.receipt for token in old if (held := self._held.pop(token, None)) is not None
            }
        self._stores.db.write(lambda conn: self._put_back(conn, old, receipts))

    def _put_back(
        self, conn: Connection, tokens: Sequence[Token], receipts: Mapping[Unit, object]
    ) -> set[Unit]:
        """Returns the units that were still those of the tokens."""
        return unit_claims.give_back(conn, tokens)


def begun(conn: Connection, tokens: Sequence[Token], begin: Begin | None) -> list[Token]:
    """The tokens with what ``begin`` returns for each."""
    if begin is None or not tokens:
        return list(tokens)
    things = begin(conn, tokens)
    return [replace(token, begun=thing) for token, thing in zip(tokens, things, strict=True)]
