"""The engine: works at import jobs until they are done. All truth is in tables, so any engine can go on.

Threads: one polls the tables, two do the phases *list*, *commit* and *report*, one for each codec worker does
*read*, one holds the claims, one delivers events, one collects what nothing names any more; and for the
orders that clients of the HTTP processes wait for (`door`), one a codec worker again, and one that commits.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.dispatcher import Dispatcher
from lightwell.codec_pool.failures import PHASE, cause_of, reason_of
from lightwell.codec_pool.process import remove_leftovers
from lightwell.codec_pool.queue import RequestQueue
from lightwell.codec_pool.server import PoolServer
from lightwell.codec_pool.store_committer import StoreCommitter
from lightwell.domain.backoff import AGAIN
from lightwell.domain.imports import jobs as domain
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.jobs import chunks, import_jobs
from lightwell.work.chunk_reader import ChunkReader
from lightwell.work.collector import Collector
from lightwell.work.event_delivery import EVENTS, EventLog, deliver
from lightwell.work.import_phases import CLAIM_MS, ClaimLost, Count, ImportPhases
from lightwell.work.leases import Leases
from lightwell.work.pauses import Pauses
from lightwell.work.role_access import RoleAssumer

log = logging.getLogger(__name__)

POLL_SECONDS = 0.15
_DELIVER_SECONDS = 0.5
_CLERKS = 2
# Direct orders that are under way when the engine is told to stop may take so long.
_ORDER_SECONDS = 4.0
# While the database is away that is said so often.
_SAY_SECONDS = 300.0


class Engine:
    """Works in threads of this process and in codec workers.

    ``alone``: no other engine works at this database (the holder of `EngineLock` on SQLite), so claims that
    are found at the start are of the dead. ``count`` adds to one of `observe.metrics.COUNTERS`. ``door``:
    take direct orders, too, and once told to stop wait so many seconds for callers to go; for the holder of
    `EngineLock` only. ``data_access`` takes the roles that jobs name; jobs that need it fail without.
    """

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock | None = None,
        ids: Ids | None = None,
        *,
        alone: bool = False,
        count: Count = lambda counter, value, by: None,
        door: float | None = None,
        data_access: RoleAssumer | None = None,
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._clock = clock or Clock()
        self._ids = ids or Ids()
        self._alone = alone
        self._name = self._ids.id()[:12]
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._work = threading.Condition()
        self._polls = 0
        self._said = -_SAY_SECONDS
        self._pauses = Pauses(self._clock)
        self._claims = Leases(stores, self._clock, self._ids, self._name, self._pauses, self._wake.set)
        self._importer = ImportPhases(
            stores, settings, self._clock, self._ids, count, data_access, stopping=self._stopping
        )
        self._readers = [
            ChunkReader(stores, settings, self._claims, self._stopping, self._wait_for_work)
            for _ in range(settings.codec_processes)
        ]
        self._desk = RequestQueue()
        self._door = PoolServer(settings.data, self._desk) if door is not None else None
        self._linger = door or 0.0
        self._storer = StoreCommitter(stores, settings, self._clock, self._ids)
        self._attendants = [
            Dispatcher(stores, settings, self._desk, self._storer)
            for _ in range(settings.codec_processes if door is not None else 0)
        ]
        self._attended, self._stored = threading.Event(), threading.Event()
        self._collector = Collector(stores, settings, self._clock, self._ids, self._stopping)
        self._inbox: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
        self._busy: dict[int, str | None] = {}
        self._busy_lock = threading.Lock()
        self._faults: dict[int, int] = {}

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Work until ``until`` says so or `stop` is called. Returns when every thread has ended."""
        if self._alone:
            self._stores.db.write(import_jobs.release_all)
            remove_leftovers(self._stores.spool)
        threads = [threading.Thread(target=r.run, name=f"reader-{i}") for i, r in enumerate(self._readers)]
        threads += [threading.Thread(target=self._clerk, name=f"clerk-{i}") for i in range(_CLERKS)]
        threads += [
            threading.Thread(target=self._hold, name="claims"),
            threading.Thread(target=self._deliver, name="deliver"),
            threading.Thread(target=self._collector.run, name="collect"),
        ]
        attending = [
            threading.Thread(target=a.run, args=(self._attended,), name=f"attendant-{i}")
            for i, a in enumerate(self._attendants)
        ]
        storing = threading.Thread(target=self._storer.run, args=(self._stored,), name="storer")
        for thread in threads:
            thread.start()
        if self._door is not None:
            for thread in [*attending, storing]:
                thread.start()
            self._door.open()
        try:
            while not self._stopping.is_set() and not until():
                self._poll()
                self._wake.wait(POLL_SECONDS)
                self._wake.clear()
        finally:
            self.stop()
            for _ in range(_CLERKS):
                self._inbox.put(None)
            if self._door is not None:
                self._close_door(attending, storing)
            for thread in threads:
                thread.join()

    def _close_door(self, attending: list[threading.Thread], storing: threading.Thread) -> None:
        """Let callers who are there finish, then end."""
        assert self._door is not None
        self._door.wait(self._linger)
        self._desk.close(_ORDER_SECONDS)
        self._attended.set()
        for thread in attending:
            thread.join()
        self._stored.set()
        storing.join()
        self._door.close()

    def stop(self) -> None:
        """Stop soon: chunks in work are given back. For any thread, and for a signal handler."""
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        """Look at the tables at once."""
        self._wake.set()

    def worker_pids(self) -> list[int]:
        """The process ids of the codec workers that run now."""
        slots: list[ChunkReader | Dispatcher] = [*self._readers, *self._attendants]
        return [pid for slot in slots if (pid := slot.worker_pid) is not None]

    def _poll(self) -> None:
        now = self._clock.now()
        try:
            node = self._stores.node_id
            with self._stores.db.read() as conn:
                waiting = import_jobs.unfinished(conn, now, node)
                to_read = any(w.phase == domain.READ for w in waiting) and chunks.any_waiting(
                    conn, now, node, self._pauses.waiting()
                )
        except StorageError as error:
            if time.monotonic() - self._said > _SAY_SECONDS:
                self._said = time.monotonic()
                log.warning("the engine waits for the database: %s", error)
            self._stopping.wait(1)
            return
        self._said = -_SAY_SECONDS
        for job in waiting:
            if job.phase != domain.READ and job.is_claimable:
                with self._busy_lock:
                    if job.key in self._busy:
                        continue
                    self._busy[job.key] = None
                self._inbox.put((job.key, job.phase))
        if to_read:
            with self._work:
                self._polls += 1
                self._work.notify_all()

    def _wait_for_work(self, seconds: float) -> None:
        """For readers: until there may be a chunk, or the engine stops."""
        end = time.monotonic() + seconds
        with self._work:
            polls = self._polls
            while self._polls == polls and not self._stopping.is_set():
                left = end - time.monotonic()
                if left <= 0:
                    return
                self._work.wait(min(left, 0.5))

    # list, commit, report -------------------------------------------------------------------------------

    def _clerk(self) -> None:
        while (item := self._inbox.get()) is not None and not self._stopping.is_set():
            key, phase = item
            try:
                self._phase(key, phase)
            except ClaimLost:
                log.warning("an import job was taken over by another engine")
            except StorageUnavailableError:
                pass  # `Pauses` says so, now and then, and `_poll` where it is the database
            except StorageError as error:
                log.warning("an import job waits for the storage: %s", error)
            except Exception:
                log.exception("working at an import job failed")
            finally:
                with self._busy_lock:
                    self._busy.pop(key, None)
                self._wake.set()

    def _phase(self, key: int, phase: str) -> None:
        now = self._clock.now()
        claim = f"{self._name}:{phase}:{self._ids.id()[:8]}"
        if not self._stores.db.write(
            lambda conn: import_jobs.claim(conn, key, phase, claim, now, now + CLAIM_MS)
        ):
            return
        with self._busy_lock:
            self._busy[key] = claim
        try:
            self._importer.work(key, phase, claim)
            self._faults.pop(key, None)
            self._pauses.end(key)
        except ClaimLost:
            raise
        except Exception as error:
            self._later(key, claim, error)
            raise

    def _later(self, key: int, claim: str, error: Exception) -> None:
        """Let the phase be tried again after a while; end the job when it never works.

        What is away may be back: for that the job waits as long as it takes.
        """
        consequence = PHASE[cause_of(error)]
        if consequence.tries is None:
            until = self._pauses.begin(key, "an import job", str(error))
            self._stores.db.write(lambda conn: import_jobs.release(conn, key, claim, until))
            return
        faults = self._faults[key] = self._faults.get(key, 0) + 1
        if consequence.is_final(faults) and not self._stopping.is_set():
            self._importer.give_up(key, claim, consequence.text(reason_of(error)))
            self._faults.pop(key, None)
            return
        not_before = self._clock.now() + AGAIN.delay_ms(faults)
        self._stores.db.write(lambda conn: import_jobs.release(conn, key, claim, not_before))

    # claims and events ----------------------------------------------------------------------------------

    def _hold(self) -> None:
        while not self._stopping.wait(CLAIM_MS / 4000):
            with self._busy_lock:
                held = {key: claim for key, claim in self._busy.items() if claim is not None}
            names = self._claims.held()
            if not held and not names:
                continue
            try:
                self._renew(held, names)
            except StorageError as error:
                log.warning("claims could not be renewed: %s", error)

    def _renew(self, held: dict[int, str], names: set[str]) -> None:
        until = self._clock.now() + CLAIM_MS
        self._stores.db.write(
            lambda conn: [import_jobs.renew_claim(conn, *item, until) for item in held.items()]
        )
        self._stores.db.write(lambda conn: chunks.renew_claims(conn, names, until))

    def _deliver(self) -> None:
        events = EventLog(self._settings.data / EVENTS)
        try:
            while True:
                last = self._stopping.is_set()
                try:
                    while deliver(self._stores, events, self._clock):
                        pass
                except StorageError as error:
                    log.warning("events wait for delivery: %s", error)
                if last:
                    return
                self._stopping.wait(_DELIVER_SECONDS)
        finally:
            events.close()
