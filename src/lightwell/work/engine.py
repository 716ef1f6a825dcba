"""The engine: works on import jobs until they are done. All state is in tables, so any engine can take over.

Threads: one polls the tables; two do the phases *list*, *commit* and *report*; one for each codec worker does
*read*; one renews leases; one delivers events; one collects what nothing refers to any more. The requests
that clients of the HTTP processes wait for have threads of their own (`request_pool`).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.failures import PHASE, cause_of, reason_of
from lightwell.codec_pool.process import remove_leftovers
from lightwell.domain.backoff import AGAIN
from lightwell.domain.states import JobPhase
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.jobs import chunks, import_jobs
from lightwell.work.collector import Collector
from lightwell.work.event_delivery import deliver
from lightwell.work.event_log import EventLog
from lightwell.work.imports.chunk_reader import ChunkReader
from lightwell.work.imports.import_phases import ClaimLost, Count, ImportPhases
from lightwell.work.imports.leases import LEASE_MS, Leases
from lightwell.work.imports.pauses import Pauses
from lightwell.work.imports.role_access import RoleAssumer
from lightwell.work.request_pool import RequestPool

log = logging.getLogger(__name__)

POLL_SECONDS = 0.15
_DELIVER_SECONDS = 0.5
_PHASE_THREADS = 2
# While the database is unavailable, that is logged so often.
_LOG_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How an engine works beside others, and what it is given.

    ``alone``: no other engine works on this database (the holder of `EngineLock` on SQLite), so claims that
    are found at the start belong to dead engines. ``count`` adds to one of `observe.metrics.COUNTERS`.
    ``delivers``: writes events to the event log; they wait in the database for an engine that does.
    ``pool_linger``: serve requests of HTTP processes, too, and once told to stop wait so many seconds for
    clients to leave. ``data_access`` assumes the roles that jobs name;
    jobs that need it fail without.
    """

    alone: bool = False
    count: Count = lambda counter, value, by: None
    pool_linger: float | None = None
    delivers: bool = True
    data_access: RoleAssumer | None = None


class Engine:
    """Works in threads of this process and in codec workers."""

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock | None = None,
        ids: Ids | None = None,
        *,
        options: EngineOptions | None = None,
    ) -> None:
        options = options or EngineOptions()
        self._stores = stores
        self._settings = settings
        self._clock = clock or Clock()
        self._ids = ids or Ids()
        self._alone = options.alone
        self._delivers = options.delivers
        self._name = self._ids.id()[:12]
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._work = threading.Condition()
        self._polls = 0
        self._logged_at = -_LOG_SECONDS
        self._pauses = Pauses(self._clock)
        self._leases = Leases(stores, self._clock, self._ids, self._name, self._pauses, self._wake.set)
        self._phases = ImportPhases(
            stores,
            settings,
            self._clock,
            self._ids,
            options.count,
            options.data_access,
            stopping=self._stopping,
        )
        self._readers = [
            ChunkReader(stores, settings, self._leases, self._stopping, self._wait_for_work)
            for _ in range(settings.codec_processes)
        ]
        self._pool_linger = options.pool_linger
        self._pool = (
            None if options.pool_linger is None else RequestPool(stores, settings, self._clock, self._ids)
        )
        self._collector = Collector(stores, settings, self._clock, self._ids, self._stopping)
        self._inbox: queue.SimpleQueue[tuple[int, JobPhase] | None] = queue.SimpleQueue()
        self._busy: dict[int, str | None] = {}
        self._busy_lock = threading.Lock()
        self._faults: dict[int, int] = {}

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Work until ``until`` returns True or `stop` is called. Returns when every thread has ended."""
        if self._alone:
            self._stores.db.write(import_jobs.release_all)
            remove_leftovers(self._stores.spool)
        threads = [threading.Thread(target=r.run, name=f"reader-{i}") for i, r in enumerate(self._readers)]
        threads += [
            threading.Thread(target=self._run_phases, name=f"phases-{i}") for i in range(_PHASE_THREADS)
        ]
        threads += [
            threading.Thread(target=self._renew_leases, name="leases"),
            threading.Thread(target=self._deliver, name="deliver"),
            threading.Thread(target=self._collector.run, name="collect"),
        ]
        for thread in threads:
            thread.start()
        if self._pool is not None:
            self._pool.open()
        try:
            while not self._stopping.is_set() and not until():
                self._poll()
                self._wake.wait(POLL_SECONDS)
                self._wake.clear()
        finally:
            self.stop()
            for _ in range(_PHASE_THREADS):
                self._inbox.put(None)
            if self._pool is not None:
                self._pool.close(self._pool_linger or 0.0)
            for thread in threads:
                thread.join()

    def stop(self) -> None:
        """Stop soon: chunks in progress are given back. For any thread, and for a signal handler."""
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        """Look at the tables at once."""
        self._wake.set()

    def worker_pids(self) -> list[int]:
        """The process ids of the codec workers that run now."""
        reading = [pid for each in self._readers if (pid := each.worker_pid) is not None]
        return [*reading, *([] if self._pool is None else self._pool.worker_pids())]

    def _poll(self) -> None:
        now = self._clock.now()
        try:
            node = self._stores.node_id
            with self._stores.db.read() as conn:
                waiting = import_jobs.unfinished(conn, now, node)
                to_read = any(w.phase == JobPhase.READ for w in waiting) and chunks.any_waiting(
                    conn, now, node, self._pauses.waiting()
                )
        except StorageError as error:
            if time.monotonic() - self._logged_at > _LOG_SECONDS:
                self._logged_at = time.monotonic()
                log.warning("the engine waits for the database: %s", error)
            self._stopping.wait(1)
            return
        self._logged_at = -_LOG_SECONDS
        for job in waiting:
            if job.phase != JobPhase.READ and job.is_claimable:
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
        """For chunk readers: wait until there may be a chunk, or the engine stops."""
        end = time.monotonic() + seconds
        with self._work:
            polls = self._polls
            while self._polls == polls and not self._stopping.is_set():
                left = end - time.monotonic()
                if left <= 0:
                    return
                self._work.wait(min(left, 0.5))

    # list, commit, report -------------------------------------------------------------------------------

    def _run_phases(self) -> None:
        while (item := self._inbox.get()) is not None and not self._stopping.is_set():
            key, phase = item
            try:
                self._run_phase(key, phase)
            except ClaimLost:
                log.warning("an import job was cancelled, or taken over by another engine")
            except StorageUnavailableError:
                pass  # `Pauses` logs it now and then, or `_poll` where it is the database
            except StorageError as error:
                log.warning("an import job waits for the storage: %s", error)
            except Exception:
                log.exception("working on an import job failed")
            finally:
                with self._busy_lock:
                    self._busy.pop(key, None)
                self._wake.set()

    def _run_phase(self, key: int, phase: JobPhase) -> None:
        now = self._clock.now()
        claim = f"{self._name}:{phase}:{self._ids.id()[:8]}"
        if not self._stores.db.write(
            lambda conn: import_jobs.claim(conn, key, phase, claim, now, now + LEASE_MS)
        ):
            return
        with self._busy_lock:
            self._busy[key] = claim
        try:
            self._phases.work(key, phase, claim)
            self._faults.pop(key, None)
            self._pauses.end(key)
        except ClaimLost:
            raise
        except Exception as error:
            self._try_later(key, claim, error)
            raise

    def _try_later(self, key: int, claim: str, error: Exception) -> None:
        """Let the phase be tried again after a while, or end the job, as `PHASE` says."""
        consequence = PHASE[cause_of(error)]
        if consequence.tries is None:
            until = self._pauses.begin(key, "an import job", str(error))
            self._stores.db.write(lambda conn: import_jobs.release(conn, key, claim, until))
            return
        faults = self._faults[key] = self._faults.get(key, 0) + 1
        if consequence.is_final(faults) and not self._stopping.is_set():
            self._phases.give_up(key, claim, consequence.text(reason_of(error)))
            self._faults.pop(key, None)
            return
        not_before = self._clock.now() + AGAIN.delay_ms(faults)
        self._stores.db.write(lambda conn: import_jobs.release(conn, key, claim, not_before))

    # leases and events ----------------------------------------------------------------------------------

    def _renew_leases(self) -> None:
        while not self._stopping.wait(LEASE_MS / 4000):
            with self._busy_lock:
                of_jobs = {key: claim for key, claim in self._busy.items() if claim is not None}
            of_chunks = self._leases.claims()
            if not of_jobs and not of_chunks:
                continue
            try:
                self._renew(of_jobs, of_chunks)
            except StorageError as error:
                log.warning("leases could not be renewed: %s", error)

    def _renew(self, of_jobs: dict[int, str], of_chunks: set[str]) -> None:
        until = self._clock.now() + LEASE_MS
        self._stores.db.write(
            lambda conn: [import_jobs.renew_claim(conn, *item, until) for item in of_jobs.items()]
        )
        self._stores.db.write(lambda conn: chunks.renew_claims(conn, of_chunks, until))

    def _deliver(self) -> None:
        if not self._delivers:
            return
        events = EventLog(self._settings.events, self._settings.events_rotate_bytes)
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
