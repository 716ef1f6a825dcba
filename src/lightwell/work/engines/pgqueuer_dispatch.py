"""PgQueuer as the queue of units of work: the engine at scale, on PostgreSQL.

PgQueuer decides who gets a unit, and when its holder counts as dead; which jobs have a turn, and when to
look, is decided as with the tables alone (`TableDispatch`). The process has no connection of its own for it
and no event loop: a unit is delivered in the transaction that writes down whose it is.

- A process asks for as many units at once as its threads want now, and for a few more while units take
  moments only; what it does not get round to within a second it gives back.
- While it lives it says so for all its units in one statement, several times in `SILENT`.
- What is done is taken out of the queue a little later, many at a time, and only if the rows say that it is
  done. So nothing leaves the queue before its result is kept; what dies in between is delivered once more,
  found done, and dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import NAMESPACE_OID, uuid5

from sqlalchemy import Connection

from lightwell.domain.imports.fairness import OpenJob
from lightwell.domain.imports.units import QueuedJob, Token
from lightwell.domain.states import JobPhase
from lightwell.errors import StorageError
from lightwell.stores import Stores
from lightwell.stores.jobs import unit_claims, units
from lightwell.stores.queues import pgqueuer_queue
from lightwell.stores.queues.pgqueuer_queue import SILENT, Entry
from lightwell.work.dispatch import Begin
from lightwell.work.engines.table_dispatch import TableDispatch

log = logging.getLogger(__name__)

Place = tuple[int, JobPhase]

_MOST_AT_ONCE = 16
# Units are fetched ahead for so long, if that is more than one: what a dead process has delays nobody much.
_AHEAD_SECONDS = 1.0
_GIVE_BACK_SECONDS = 2.0
_BEAT_SECONDS = SILENT.total_seconds() / 4
# What is done waits so long for more of it.
_LINGER_SECONDS = 0.05
# Whoever called `done` may have to do so again, if its transaction was rolled back.
_ENDING_SECONDS = 30.0
# Rows that are ready and that the queue does not have, so often in a row, were lost by it.
_MISSES = 4
# How often the queue is compared with the rows while there are jobs, and while there is none.
_CARE_SECONDS, _IDLE_CARE_SECONDS = 30.0, 600.0


@dataclass(slots=True)
class _Held:
    """An entry that this process has; ``over_at`` is when `done` was called for its unit."""

    entry: Entry
    over_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What a transaction has delivered: a token, entries that are fetched ahead, and some that were over."""

    token: Token | None = None
    entry: Entry | None = None
    ahead: Sequence[Entry] = ()
    is_empty: bool = False


class PgQueuerDispatch(TableDispatch):
    """`work.dispatch.Dispatch` by PgQueuer. For PostgreSQL alone."""

    def __init__(self, stores: Stores, owner: str) -> None:
        super().__init__(stores, owner)
        self._manager = uuid5(NAMESPACE_OID, owner)
        self._kept: dict[str, _Held] = {}
        self._ahead: defaultdict[Place, deque[tuple[float, Entry]]] = defaultdict(deque)
        self._asking: defaultdict[Place, threading.Lock] = defaultdict(threading.Lock)
        self._takers: Counter[Place] = Counter()
        self._recent: deque[float] = deque(maxlen=256)
        self._missed: Counter[Place] = Counter()
        self._is_over = threading.Event()
        self._cared_at = -_IDLE_CARE_SECONDS

    # the five methods -----------------------------------------------------------------------------------

    def enqueue(self, conn: Connection, job: QueuedJob, numbers: Sequence[int]) -> None:
        pgqueuer_queue.enqueue(conn, job, numbers)

    def done(self, conn: Connection, token: Token, *, dead: str | None = None) -> bool:
        is_ours = super().done(conn, token, dead=dead)
        with self._lock:
            if not is_ours:
                self._kept.pop(token.claim, None)
            elif held := self._kept.get(token.claim):
                held.over_at = held.over_at or time.monotonic()
        self._is_over.set()
        return is_ours

    def retry(
        self, token: Token, delay_ms: int = 0, also: Callable[[Connection], None] | None = None
    ) -> bool:
        with self._lock:
            held = self._kept.pop(token.claim, None)
        entry = token.receipt if held is None else held.entry
        assert isinstance(entry, Entry)

        def put_back(conn: Connection) -> None:
            pgqueuer_queue.put_back(conn, entry, delay_ms)
            if also is not None:
                also(conn)

        return super().retry(token, delay_ms, put_back)

    def close(self) -> None:
        """End the threads, and let others have what was fetched ahead."""
        self._closing.set()
        self._is_over.set()
        super().close()
        try:
            self._give_back(0)
            self._acknowledge()
        except StorageError as error:
            log.warning("units are not given back, and are taken over by others: %s", error)

    # what waits -----------------------------------------------------------------------------------------

    def _read(self) -> list[OpenJob]:
        with self._stores.db.read() as conn:
            jobs = unit_claims.open_jobs(conn)
            silent = pgqueuer_queue.silent(conn) if jobs else set()
        if not silent:
            return jobs
        return [
            replace(job, ready=job.ready | {phase for key, phase in silent if key == job.key}) for job in jobs
        ]

    def _claim(self, job: OpenJob, phase: JobPhase, begin: Begin | None) -> Token | None:
        place = job.key, phase
        with self._lock:
            self._takers[place] += 1
            asking = self._asking[place]
        try:
            while True:
                name = f"{self._owner}:{next(self._numbers)}"
                delivery = self._fetched(place, name, begin)
                if delivery is None:
                    with asking:
                        # Perhaps the one who has just asked has got one for this thread, too.
                        delivery = self._fetched(place, name, begin) or self._ask(place, name, begin)
                if delivery.token is not None:
                    return self._begun(place, delivery)
                if delivery.is_empty:
                    self._nothing(place)
                    return None
        finally:
            with self._lock:
                self._takers[place] -= 1

    def _begun(self, place: Place, delivery: _Delivery) -> Token:
        assert delivery.token is not None and delivery.entry is not None
        with self._lock:
            self._kept[delivery.token.claim] = _Held(delivery.entry)
            self._taken[place[0]] += 1
            self._missed.pop(place, None)
            self._recent.append(time.monotonic())
        return delivery.token

    def _fetched(self, place: Place, name: str, begin: Begin | None) -> _Delivery | None:
        """One that was fetched ahead; None if there is none."""
        with self._lock:
            if not self._ahead[place]:
                return None
            _, entry = self._ahead[place].popleft()
        return self._stores.db.write(lambda conn: self._begin(conn, [entry], name, begin))

    def _ask(self, place: Place, name: str, begin: Begin | None) -> _Delivery:
        """Ask PgQueuer: for this thread, for those that wait for it to have asked, and ahead."""
        now = time.monotonic()
        with self._lock:
            ahead = int(sum(at > now - 1 for at in self._recent) * _AHEAD_SECONDS)
            count = min(max(self._takers[place], ahead, 1), _MOST_AT_ONCE)
            ours = {held.entry.unit: held for held in self._kept.values()}

        def work(conn: Connection) -> tuple[list[Entry], _Delivery]:
            entries = pgqueuer_queue.deliver(conn, *place, self._manager, count)
            others = [one for one in entries if one.unit not in ours]
            return entries, self._begin(conn, others, name, begin)

        entries, delivery = self._stores.db.write(work)
        with self._lock:
            for one in entries:
                # Comes again if this process was too busy to say that it lives, or if the queue had lost it.
                if held := ours.get(one.unit):
                    held.entry = one
            self._ahead[place].extend((now, one) for one in delivery.ahead)
        return delivery

    def _begin(self, conn: Connection, entries: list[Entry], name: str, begin: Begin | None) -> _Delivery:
        over: list[Entry] = []
        delivery = _Delivery(is_empty=not entries)
        for place, entry in enumerate(entries):
            token = units.stamp(conn, entry.unit, name)
            if token is not None:
                token = replace(token, receipt=entry)
                if begin is not None:
                    begin(conn, token)
                delivery = _Delivery(token, entry, entries[place + 1 :])
                break
            over.append(entry)
        pgqueuer_queue.acknowledge(conn, over)
        return delivery

    def _nothing(self, place: Place) -> None:
        """The queue has nothing, whatever the rows say: others have it, or it was lost."""
        with self._lock:
            self._ready.discard(place)
            self._missed[place] += 1
            is_lost = self._missed[place] >= _MISSES
            if is_lost:
                self._missed.pop(place)
        if is_lost:
            self._care()

    # threads --------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """The body of the thread that keeps what this process has, and lets go of what is over."""
        next_beat = time.monotonic() + _BEAT_SECONDS
        while not self._closing.is_set():
            if self._is_over.wait(max(next_beat - time.monotonic(), 0)):
                self._closing.wait(_LINGER_SECONDS)
            is_due = time.monotonic() >= next_beat
            if is_due:
                next_beat = time.monotonic() + _BEAT_SECONDS
            try:
                self._acknowledge()
                if is_due:
                    self._beat()
                    self._give_back(_GIVE_BACK_SECONDS)
                    self._care_now_and_then()
            except StorageError as error:
                log.warning("the queue does not know that this process lives: %s", error)
                self._closing.wait(1)
            except Exception:
                log.exception("looking after the units of this process failed")
                self._closing.wait(1)

    def _beat(self) -> None:
        with self._lock:
            claims = {claim for claim, held in self._kept.items() if held.over_at is None}
            entries = [held.entry for held in self._kept.values()]
            entries += [entry for waiting in self._ahead.values() for _, entry in waiting]

        def work(conn: Connection) -> None:
            unit_claims.need_no_flush(conn)
            pgqueuer_queue.beat(conn, entries)
            if claims:
                # For a server with the table engine, which sees the rows alone.
                unit_claims.renew(conn, claims)

        if entries:
            self._stores.db.write(work)

    def _acknowledge(self) -> None:
        """Take out of the queue what `done` was called for, if the rows say so."""
        self._is_over.clear()
        with self._lock:
            over = {claim: held for claim, held in self._kept.items() if held.over_at is not None}
        if not over:
            return

        def work(conn: Connection) -> set[str]:
            unit_claims.need_no_flush(conn)
            ended = units.ended(conn, [held.entry.unit for held in over.values()])
            gone = {claim: held for claim, held in over.items() if held.entry.unit in ended}
            pgqueuer_queue.acknowledge(conn, [held.entry for held in gone.values()])
            return set(gone)

        gone = self._stores.db.write(work)
        now = time.monotonic()
        with self._lock:
            for claim, held in over.items():
                if claim in gone or now - (held.over_at or now) > _ENDING_SECONDS:
                    self._kept.pop(claim, None)

    def _give_back(self, older_than: float) -> None:
        """Let others have what was fetched ahead and nobody here has got round to."""
        until = time.monotonic() - older_than
        with self._lock:
            old = [
                waiting.popleft()[1]
                for waiting in self._ahead.values()
                for _ in range(len(waiting))
                if waiting[0][0] <= until
            ]

        def work(conn: Connection) -> None:
            for one in old:
                pgqueuer_queue.put_back(conn, one)

        if old:
            self._stores.db.write(work)

    def _care_now_and_then(self) -> None:
        seconds = _CARE_SECONDS if self._jobs else _IDLE_CARE_SECONDS
        if time.monotonic() - self._cared_at >= seconds:
            self._care()

    def _care(self) -> None:
        self._cared_at = time.monotonic()
        missing = self._stores.db.write(pgqueuer_queue.look_after)
        if missing:
            log.warning("%d units that were not in the queue any more are queued again", missing)
            self.wake()
