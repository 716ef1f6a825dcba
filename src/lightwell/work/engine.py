"""The engine: works on import jobs until they are done. All state is in tables, so any engine can take over.

Threads: two do the units of *commit* and *report*, two those of *list*; one for each codec worker does
*read*; those of the queue, see `work.engines`; one delivers events; one collects what nothing refers to
any more. For the requests that clients of the HTTP processes wait for, there is another one for each codec
worker, and one that commits.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.failures import PHASE, cause_of, reason_of
from lightwell.codec_pool.process import remove_leftovers
from lightwell.domain.backoff import AGAIN
from lightwell.domain.imports.units import Token, Unit
from lightwell.domain.states import JobPhase
from lightwell.errors import ConfigurationError, StorageError, StorageUnavailableError
from lightwell.observe.audit.trail import AuditTrail
from lightwell.observe.seldom import Seldom
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background.records import BackgroundRecords, Debtor
from lightwell.stores.data_folder.node import Node
from lightwell.stores.jobs import queue_view, transitions, units
from lightwell.stores.keys.job_values import NO_KEY
from lightwell.work.collector import Collector
from lightwell.work.engines.choice import make_dispatch
from lightwell.work.event_delivery import deliver
from lightwell.work.event_log import EventLog
from lightwell.work.imports.chunk_reader import ChunkReader
from lightwell.work.imports.import_phases import ClaimLost, Count, ImportPhases, UnitStopped
from lightwell.work.imports.leases import Leases
from lightwell.work.imports.log_texts import for_log
from lightwell.work.imports.pauses import Pauses
from lightwell.work.imports.role_access import RoleAssumer
from lightwell.work.owed_records import owed_records
from lightwell.work.queue_gauges import measure_queue
from lightwell.work.request_pool import RequestPool

log = logging.getLogger(__name__)
seldom = Seldom(log)

# The phases of the threads that need no codec worker. So no long listing keeps what was read from image sets.
_PHASES = (
    (JobPhase.REPORT, JobPhase.COMMIT),
    (JobPhase.COMMIT, JobPhase.REPORT),
    (JobPhase.LIST,),
    (JobPhase.LIST,),
)
_WAIT_SECONDS = 5.0
# How often to look for jobs whose phase is over and that nobody has moved on, while there are jobs and while
# there is none, and how often to see whether to stop.
_STILL_SECONDS, _IDLE_STILL_SECONDS, _UNTIL_SECONDS = 5.0, 30.0, 0.1
# How often to look for events, on PostgreSQL while there are jobs and while there is none: many processes do.
_DELIVER_SECONDS, _SHARED_DELIVER_SECONDS, _IDLE_DELIVER_SECONDS = 0.5, 2.0, 5.0
# While the database is unavailable, that is logged so often.
_LOG_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How an engine works beside others, and what it is given.

    ``alone``: no other engine works on this database (the holder of `EngineLock` on SQLite), so claims that
    are found at the start belong to dead engines. ``count`` adds to one of `observe.metrics.COUNTERS`,
    ``measure`` sets one of `observe.metrics.GAUGES`.
    ``delivers``: writes events to the event log; they wait in the database for an engine that does.
    ``pool_linger``: serve requests of HTTP processes, too, and once told to stop wait so many seconds for
    clients to leave. ``data_access`` assumes the roles that jobs name;
    jobs that need it fail without. ``trail`` has what is done on record, as far as patients are concerned.
    ``tell`` is told, instead of the log, what jobs wait for and that they go on.
    """

    alone: bool = False
    count: Count = lambda counter, value, by: None
    measure: Callable[[str, str, float], None] = lambda gauge, value, number: None
    pool_linger: float | None = None
    delivers: bool = True
    data_access: RoleAssumer | None = None
    trail: AuditTrail | None = None
    tell: Callable[[str], None] | None = None


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
        self._options = options
        self._stores = stores
        self._settings = settings
        self._clock = clock or Clock()
        self._ids = ids or Ids()
        self._alone = options.alone
        self._delivers = options.delivers
        self._stopping = threading.Event()
        self._stop_early = threading.Event()
        self._logged_at = -_LOG_SECONDS
        self._pauses = Pauses(self._clock, options.tell)
        owner = f"{socket.gethostname()}:{os.getpid()}:{self._ids.id()[:8]}"
        self._dispatch = make_dispatch(settings.engine, stores, owner)
        records = BackgroundRecords(options.trail, self._clock.now, Debtor(Node(settings.data), self._ids.id))
        self._owed = None if options.trail is None else owed_records(settings, stores, options.trail, records)
        self._phases = ImportPhases(
            stores,
            settings,
            self._clock,
            self._ids,
            options.count,
            options.data_access,
            stopping=self._stopping,
            wake=self._dispatch.wake,
            dispatch=self._dispatch,
            records=records,
        )
        self._leases = Leases(
            stores,
            self._clock,
            self._ids,
            self._dispatch,
            self._pauses,
            self._reading_may_be_over,
            self._taken,
        )
        self._readers = [
            ChunkReader(stores, settings, self._leases, self._stopping, self._dispatch.wait)
            for _ in range(settings.codec_processes)
        ]
        self._pool_linger = options.pool_linger
        self._pool = (
            None
            if options.pool_linger is None
            else RequestPool(stores, settings, self._clock, self._ids, records)
        )
        self._collector = Collector(stores, settings, self._clock, self._ids, self._stopping, records=records)
        self._faults: dict[Unit, int] = {}

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Work until ``until`` returns True or `stop` is called. Returns when every thread has ended."""
        if self._alone:
            self._stores.db.write(units.release_all)
            remove_leftovers(self._stores.spool)
        threads = [threading.Thread(target=r.run, name=f"reader-{i}") for i, r in enumerate(self._readers)]
        threads += [
            threading.Thread(target=self._run_phases, args=(phases,), name=f"phases-{i}")
            for i, phases in enumerate(_PHASES)
        ]
        threads += [
            threading.Thread(target=self._deliver, name="deliver"),
            threading.Thread(target=self._collector.run, name="collect"),
        ]
        self._dispatch.open()
        if self._owed is not None:
            self._owed.begin()
        for thread in threads:
            thread.start()
        if self._pool is not None:
            self._pool.open()
        try:
            looked_at, was_idle = -_IDLE_STILL_SECONDS, False
            while not self._stopping.is_set() and not until():
                seconds = _IDLE_STILL_SECONDS if was_idle and self._is_idle() else _STILL_SECONDS
                if time.monotonic() - looked_at >= seconds:
                    was_idle = self._is_idle()
                    self._move_on()
                    looked_at = time.monotonic()
                self._stop_early.wait(_UNTIL_SECONDS)
        finally:
            self.stop()
            self._dispatch.wake()
            if self._pool is not None:
                self._pool.close(self._pool_linger or 0.0)
            for thread in threads:
                thread.join()
            if self._owed is not None:
                self._owed.end()
            self._dispatch.close()

    @property
    def is_refused(self) -> bool:
        """Whether it has ended because its storage belongs to another database by now."""
        return self._collector.is_refused

    def stop(self) -> None:
        """Stop soon: chunks in progress are given back. For any thread, and for a signal handler."""
        self._stopping.set()
        self._stop_early.set()

    def wake(self) -> None:
        """Look at the tables at once."""
        self._dispatch.wake()

    def worker_pids(self) -> list[int]:
        """The process ids of the codec workers that run now."""
        reading = [pid for each in self._readers if (pid := each.worker_pid) is not None]
        return [*reading, *([] if self._pool is None else self._pool.worker_pids())]

    def _is_idle(self) -> bool:
        """Whether there are no jobs, on PostgreSQL, where it costs all processes something to look again."""
        return self._stores.db.dialect != "sqlite" and self._dispatch.is_idle

    def _deliver_seconds(self) -> float:
        if self._stores.db.dialect == "sqlite":
            return _DELIVER_SECONDS
        return _IDLE_DELIVER_SECONDS if self._is_idle() else _SHARED_DELIVER_SECONDS

    def _move_on(self) -> None:
        """Let jobs go on that stand still, because whoever should have moved them on has died."""
        try:
            with self._stores.db.read_singly() as conn:
                still = transitions.standing_still(conn)
                depths = queue_view.depths(conn)
            for key, phase in still:
                self._advance(key, phase)
            measure_queue(depths, self._options.measure)
        except StorageError as error:
            if time.monotonic() - self._logged_at > _LOG_SECONDS:
                self._logged_at = time.monotonic()
                log.warning("the engine waits for the database: %s", error)
            return
        self._logged_at = -_LOG_SECONDS

    def _advance(self, key: int, phase: JobPhase) -> None:
        if key in self._pauses.waiting():
            return
        try:
            self._phases.advance(key, phase)
            self._pauses.end(key)
        except NO_KEY as error:
            self._pauses.begin(key, "an import job", str(error))  # the others have other keys
        except StorageError:
            raise
        except Exception:
            log.exception("an import job does not go on")  # the others do

    def _taken(self, token: Token) -> None:
        self._options.count("lightwell_queue_claims_total", token.unit.phase, 1)
        if token.tries > 1:
            self._options.count("lightwell_queue_redeliveries_total", token.unit.phase, 1)

    def _reading_may_be_over(self, key: int) -> None:
        """For chunk readers. If it fails, `_move_on` finds the job."""
        try:
            self._phases.advance(key, JobPhase.READ)
        except (StorageError, ConfigurationError) as error:
            seldom(logging.INFO, "an import job will go on later: %s", error)

    # list, commit, report -------------------------------------------------------------------------------

    def _run_phases(self, phases: tuple[JobPhase, ...]) -> None:
        while not self._stopping.is_set():
            try:
                token = self._dispatch.take(phases, self._pauses.waiting())
            except StorageError:
                self._stopping.wait(1)  # `_move_on` logs it
                continue
            except Exception:
                log.exception("taking a unit of an import job failed")
                self._stopping.wait(1)
                continue
            if token is None:
                self._dispatch.wait(_WAIT_SECONDS)
                continue
            self._taken(token)
            try:
                self._run_unit(token)
            except ClaimLost:
                log.warning("an import job was cancelled, or taken over by another engine")
            except StorageUnavailableError:
                pass  # `Pauses` logs it now and then, or `_move_on` where it is the database
            except StorageError as error:
                self._say_what_waits(token, error)
            except Exception:
                log.exception("working on an import job failed")

    def _say_what_waits(self, token: Token, error: StorageError) -> None:
        what = "an import job waits for the storage"
        if self._options.tell is None:
            log.warning("%s: %s", what, for_log(self._stores, self._settings, token, error))
        else:
            self._options.tell(f"{what}: {error}")

    def _run_unit(self, token: Token) -> None:
        key = token.unit.job
        try:
            self._phases.work(token)
            self._faults.pop(token.unit, None)
            self._pauses.end(key)
        except ClaimLost:
            self._dispatch.retry(token)  # changes nothing, but that it is not renewed any more
            raise
        except UnitStopped:
            self._dispatch.retry(token)
        except Exception as error:
            self._try_later(token, error)
            raise

    def _try_later(self, token: Token, error: Exception) -> None:
        """Let the unit be tried again after a while, or give it up, as `PHASE` says."""
        consequence = PHASE[cause_of(error)]
        if consequence.tries is None:
            why = for_log(self._stores, self._settings, token, error)
            until = self._pauses.begin(token.unit.job, "an import job", why, str(error))
            self._dispatch.retry(token, max(0, until - self._clock.now()))
            return
        faults = self._faults[token.unit] = self._faults.get(token.unit, 0) + 1
        if consequence.is_final(faults) and not self._stopping.is_set():
            try:
                self._phases.give_up(token, consequence.text(reason_of(error)))
            except Exception:
                # Otherwise this process would keep it without working on it.
                self._dispatch.retry(token, AGAIN.delay_ms(faults))
                raise
            self._faults.pop(token.unit, None)
            return
        self._dispatch.retry(token, AGAIN.delay_ms(faults))

    # events ---------------------------------------------------------------------------------------------

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
                    seldom(logging.WARNING, "events wait for delivery: %s", error)
                if last:
                    return
                self._stopping.wait(self._deliver_seconds())
        finally:
            events.close()
