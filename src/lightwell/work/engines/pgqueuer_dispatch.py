"""PgQueuer as the queue of units of work: the engine at scale, on PostgreSQL.

PgQueuer decides who gets a unit, and when its holder counts as dead; which jobs have a turn, how many units
a process has at once, and when to look, is decided as with the tables alone (`TableDispatch`). The process
has no connection of its own for it and no event loop: units are delivered in the transaction that writes
down whose they are.

- While the process lives it says so for all its units in one statement, several times in `SILENT`.
- What is done is taken out of the queue a little later, many at a time: as the next units are asked for, or
  within a second. So nothing leaves the queue before its result is kept; what dies in between is delivered
  once more, found done, and dropped.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from uuid import NAMESPACE_OID, uuid5

from sqlalchemy import Connection

from lightwell.domain.imports.fairness import OpenJob
from lightwell.domain.imports.units import QueuedJob, Token, Unit
from lightwell.errors import StorageError
from lightwell.stores import Stores
from lightwell.stores.jobs import unit_claims, units
from lightwell.stores.queues import pgqueuer_queue
from lightwell.stores.queues.pgqueuer_queue import SILENT, Entry
from lightwell.work.dispatch import Begin
from lightwell.work.engines.ahead import Place
from lightwell.work.engines.table_dispatch import GIVE_BACK_SECONDS, TableDispatch, begun

log = logging.getLogger(__name__)

_BEAT_SECONDS = SILENT.total_seconds() / 4
# Whoever called `done` may have to do so again, if its transaction was rolled back.
_ENDING_SECONDS = 30.0
# Rows that are ready and that the queue does not have, so often in a row, were lost by it.
_MISSES = 4
# How often the queue is compared with the rows while there are jobs, and while there is none.
_CARE_SECONDS, _IDLE_CARE_SECONDS = 30.0, 600.0


class PgQueuerDispatch(TableDispatch):
    """`work.dispatch.Dispatch` by PgQueuer. For PostgreSQL alone."""

    def __init__(self, stores: Stores, owner: str) -> None:
        super().__init__(stores, owner)
        self._manager = uuid5(NAMESPACE_OID, owner)
        self._over: list[Entry] = []
        self._missed: Counter[Place] = Counter()
        self._cared_at = -_IDLE_CARE_SECONDS

    # the six methods ------------------------------------------------------------------------------------

    def enqueue(self, conn: Connection, job: QueuedJob, numbers: Sequence[int]) -> None:
        pgqueuer_queue.enqueue(conn, job, numbers)

    def done(self, conn: Connection, token: Token, *, dead: str | None = None) -> bool:
        is_ours = super().done(conn, token, dead=dead)
        if is_ours:
            with self._lock:
                if held := self._held.get(token):
                    held.over_at = held.over_at or time.monotonic()
        return is_ours

    def _is_over(self, token: Token) -> None:
        held = self._drop(token)
        if held is not None and isinstance(held.receipt, Entry):
            with self._lock:
                self._over.append(held.receipt)

    def retry(
        self, token: Token, delay_ms: int = 0, also: Callable[[Connection], None] | None = None
    ) -> bool:
        held = self._drop(token)
        entry = token.receipt if held is None else held.receipt
        assert isinstance(entry, Entry)

        def put_back(conn: Connection) -> None:
            pgqueuer_queue.put_back(conn, entry, delay_ms)
            if also is not None:
                also(conn)

        return super().retry(token, delay_ms, put_back)

    def close(self) -> None:
        super().close()
        try:
            self._acknowledge()
        except StorageError as error:
            log.warning("what is done is in the queue till others find it there: %s", error)

    # what waits -----------------------------------------------------------------------------------------

    def _read(self) -> list[OpenJob]:
        # Rows whose claims have ended become ready, whatever the queue says of them: their holders may have
        # had them by the tables alone.
        jobs = super()._read()
        if not jobs:
            return jobs
        with self._stores.db.read_singly() as conn:
            silent = pgqueuer_queue.silent(conn)
        if not silent:
            return jobs
        return [
            replace(job, ready=job.ready | {phase for key, phase in silent if key == job.key}) for job in jobs
        ]

    def _deliver(self, place: Place, name: str, count: int, begin: Begin | None) -> list[Token] | None:
        with self._lock:
            ours = {token.unit: held for token, held in self._held.items()}
            over, self._over = self._over, []

        def work(conn: Connection) -> tuple[list[Entry], list[Token]]:
            entries = pgqueuer_queue.deliver(conn, *place, self._manager, count)
            new = {one.unit.number: one for one in entries if one.unit not in ours}
            stamped = units.stamp(conn, *place, list(new), name) if new else {}
            gone = [
                one
                for one in entries
                if one.unit not in ours
                and (one.unit.number not in stamped or new[one.unit.number] is not one)
            ]
            pgqueuer_queue.acknowledge(conn, [*over, *gone])
            tokens = [replace(stamped[each], receipt=new[each]) for each in sorted(stamped)]
            return entries, begun(conn, tokens, begin)

        try:
            entries, tokens = self._stores.db.write(work)
        except BaseException:
            with self._lock:
                self._over += over
            raise
        with self._lock:
            for one in entries:
                # Comes again if this process was too busy to say that it lives, or if the queue had lost it.
                if held := ours.get(one.unit):
                    held.receipt = one
            if tokens:
                self._missed.pop(place, None)
        return tokens if entries else None

    def _nothing(self, place: Place) -> None:
        """The queue has nothing, whatever the rows say: others have it, or it was lost."""
        super()._nothing(place)
        with self._lock:
            self._missed[place] += 1
            is_lost = self._missed[place] >= _MISSES
            if is_lost:
                self._missed.pop(place)
        if is_lost:
            self._care()

    # threads --------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """The body of the thread that keeps what this process has, and lets go of what is over."""
        trouble = "the queue does not know that this process lives"
        self._repeat(self._keep_and_give_back, _BEAT_SECONDS, trouble)

    def _keep_and_give_back(self) -> None:
        self._keep()
        self._acknowledge()
        self._give_back(GIVE_BACK_SECONDS)

    def _keep(self) -> None:
        now = time.monotonic()
        due = self._due(now)
        if not due:
            return
        claims = {token.claim for token in due}
        ending = {
            token.unit: token
            for token, held in due.items()
            if held.over_at is not None and held.over_at < now - _BEAT_SECONDS
        }

        def work(conn: Connection) -> set[Unit]:
            unit_claims.need_no_flush(conn)
            pgqueuer_queue.beat(
                conn, [held.receipt for held in due.values() if isinstance(held.receipt, Entry)]
            )
            # For a server with the table engine, which sees the rows alone.
            unit_claims.renew(conn, claims)
            return units.ended(conn, list(ending)) if ending else set()

        ended = self._stores.db.write(work)
        with self._lock:
            for held in due.values():
                held.since = now
        for unit, token in ending.items():
            if unit in ended:
                self._is_over(token)
            elif now - (due[token].over_at or now) > _ENDING_SECONDS:
                self._drop(token)

    def _acknowledge(self) -> None:
        """Take out of the queue what is done."""
        with self._lock:
            over, self._over = self._over, []
        if not over:
            return

        def work(conn: Connection) -> None:
            unit_claims.need_no_flush(conn)
            pgqueuer_queue.acknowledge(conn, over)

        try:
            self._stores.db.write(work)
        except BaseException:
            with self._lock:
                self._over += over
            raise

    def _put_back(
        self, conn: Connection, tokens: Sequence[Token], receipts: Mapping[Unit, object]
    ) -> set[Unit]:
        ours = super()._put_back(conn, tokens, receipts)
        for one in ours:
            if isinstance(entry := receipts.get(one), Entry):
                pgqueuer_queue.put_back(conn, entry)
        return ours

    def _bodies(self) -> dict[str, Callable[[], None]]:
        # Apart, since it may take longer than a process may be silent.
        trouble = "the queue is not compared with the units"
        care = partial(self._repeat, self._care_now_and_then, _BEAT_SECONDS, trouble)
        return {**super()._bodies(), "queue-care": care}

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
