"""One run of `data verify`: all phases, kept in the database as it gets on, so that it survives a kill.

What is damaged goes into ``integrity_fault`` in the transaction that keeps how far the run is. Whom a fault
concerns is looked up at the end, for the person who asked.
"""

from __future__ import annotations

import queue
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Literal

from sqlalchemy import Connection

from lightwell.clock import Clock, Ids
from lightwell.domain.events import EventHeader
from lightwell.domain.integrity import FaultKind, PackToVerify
from lightwell.errors import LightwellError
from lightwell.sealing.providers.interface import KeyProviderAwayError
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.collector import integrity
from lightwell.stores.integrity import faults as kept_faults
from lightwell.stores.integrity import runs
from lightwell.stores.integrity.faults import Fault
from lightwell.stores.integrity.runs import Run
from lightwell.stores.keys.job_values import NO_KEY
from lightwell.stores.objects import pack_objects, packs
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.work.timing.database_clock import DatabaseClock
from lightwell.work.verifying import database_pages
from lightwell.work.verifying.pace import Pace
from lightwell.work.verifying.packs import PartFinding, VerifyWorker
from lightwell.work.verifying.report import Report, named_problems

Mode = Literal["quick", "sample", "all", "regular"]

_SETS, _STRAYS, _FAULTS = 20, 500, 1000
_PHASES = ("pages", "packs", "sets", "documents", "strays", "over")
_UNTOLD = ("without_before", "total", "page_bytes", "page_total")
_COUNTED = (
    *("packs", "instances", "frames", "image_sets", "bytes", "pages", "documents", "strays"),
    *_UNTOLD,
)


class TakenOver(LightwellError):
    """Another process goes on with the run."""


class Verifier:
    """A run, begun or gone on with. ``show`` is called with the bytes of pages and packs that were checked so
    far, and their total.

    ``mode``: ``all`` decodes every frame, ``sample`` one in a hundred, another hundredth with each run,
    ``quick`` none, nor derives attributes from originals; ``regular`` is the sample of servers, which nobody
    else goes on with, since it may have begun weeks ago. ``rate`` is bytes a second. So many ``processes``
    read; as many as there are codec workers for a kind of work unless given. For one thread.
    """

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        show: Callable[[int, int], None],
        *,
        mode: Mode = "all",
        rate: float | None = None,
        processes: int | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._show = show
        self._mode: Mode = mode
        self._stopping = stopping or threading.Event()
        self._pace = Pace(rate, self._stopping)
        self._processes = processes or settings.codec_processes
        # Other servers compare with theirs when this run was seen last.
        self._clock, self._ids = DatabaseClock(Clock(), stores.db), Ids()
        self._workers: queue.SimpleQueue[VerifyWorker] = queue.SimpleQueue()
        self._made: list[VerifyWorker] = []
        # A codec worker ends with the thread that has started it, so these live until `close`.
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._run: Run | None = None
        self._phase, self._after = _PHASES[0], database_pages.START
        self._counts = dict.fromkeys(_COUNTED, 0)
        # Whether the keys of data stores are not to be had, by id.
        self._locked: dict[str, bool] = {}
        self.is_resumed = False

    def run(self, *, from_start: bool = False) -> Report:
        """Check everything. Raises `StorageError` if database or workers fail as such; then, or after a kill,
        the next one goes on. Raises `TakenOver` where another process has gone on with it."""
        try:
            self.begin(from_start=from_start)
            while not self.step():
                if self._stopping.is_set():
                    break
            return self.report()
        finally:
            self.close()

    def begin(self, *, from_start: bool = False) -> None:
        """Go on with the unfinished run of this mode, or begin one."""

        now = self._clock.now()

        def work(conn: Connection) -> Run:
            found = None if from_start else runs.unfinished(conn, self._mode)
            if found is None:
                return runs.begin(conn, self._ids.key(), self._mode, now)
            runs.keep(conn, found, found.progress, now)  # its former owner is told so
            again = runs.unfinished(conn, self._mode)
            assert again is not None
            return again

        self._run = run = self._stores.db.write(work)
        self.is_resumed = "phase" in run.progress
        if self.is_resumed:
            self._phase, self._after = run.progress["phase"], int(run.progress["after"])
            self._counts |= run.progress["counts"]
        else:
            with self._stores.db.read() as conn:
                self._counts["total"] = integrity.pack_bytes(conn)
                self._counts["without_before"] = integrity.count_unchecked(conn)
            self._counts["page_total"] = database_pages.size(self._stores.db)

    @property
    def began_at(self) -> int:
        """When the run began, in ms."""
        assert self._run is not None
        return self._run.started_at

    def step(self) -> bool:
        """Check the next few; True once there are no more."""
        if self._phase == "pages":
            self._pages()
        elif self._phase == "packs":
            self._packs()
        elif self._phase == "sets":
            self._sets()
        elif self._phase == "documents":
            self._documents()
        elif self._phase == "strays":
            self._find_strays()
        return self._phase == "over"

    def report(self) -> Report:
        """What was checked so far, and everything that is wrong. Raises `TakenOver` if that was given up."""
        assert self._run is not None
        found: list[Fault] = []
        with self._stores.db.read() as conn:
            while page := kept_faults.known(conn, self._run.key, found[-1].place if found else "", _FAULTS):
                found += page
            if not runs.is_kept(conn, self._run):  # nothing found would look like nothing wrong
                raise TakenOver(
                    "This run of `data verify` was given up for another one; see there what it finds"
                )
            without = integrity.count_unchecked(conn)
            report = Report(problems=named_problems(conn, found))
        for name in _COUNTED:
            if name not in _UNTOLD:
                setattr(report, name, self._counts[name])
        report.frames_without_checksum = without
        report.frames_checksummed = max(0, self._counts["without_before"] - without)
        return report

    def close(self) -> None:
        """End its codec workers."""
        for worker in self._made:
            worker.close()
        self._made.clear()
        self._workers = queue.SimpleQueue()
        if self._threads is not None:
            self._threads.shutdown(wait=True)
            self._threads = None

    # What is kept ---------------------------------------------------------------------------------------

    def _keep(self, found: Sequence[Fault], phase: str, after: int) -> None:
        """Keep what was found, and that all before this place has been checked."""
        run = self._run
        assert run is not None
        now, is_over = self._clock.now(), phase == _PHASES[-1]
        progress = {"number": run.number, "phase": phase, "after": after, "counts": self._counts}

        def header(datastore_id: str) -> EventHeader:
            return self._header(datastore_id, now)

        told: set[int] = set()
        concerned: list[list[str] | None] = []
        for fault in found:
            # One event for a pack is enough, however many instances are in it.
            is_news = fault.kind is FaultKind.DAMAGED and (fault.pack is None or fault.pack not in told)
            concerned.append(kept_faults.concerned_sets(self._stores.db, fault) if is_news else None)
            if is_news and fault.pack is not None:
                told.add(fault.pack)

        def work(conn: Connection) -> bool:
            if not runs.keep(conn, run, progress, now, is_over=is_over):
                return False
            for fault, sets in zip(found, concerned, strict=True):
                kept_faults.note(conn, replace(fault, run=run.key), now, header, sets)
            if is_over:
                runs.drop_healed(conn, run, everything=self._mode == "all")
            return True

        if not self._stores.db.write(work):
            raise TakenOver("Another process goes on with this run of `data verify`; see there what it finds")
        self._run = replace(run, seen_at=max(now, run.seen_at + 1), progress=progress)
        self._phase, self._after = phase, after

    def _header(self, datastore_id: str, now: int) -> EventHeader:
        return EventHeader(
            id=self._ids.id(),
            now=now,
            region=self._settings.region,
            account=self._settings.account_id,
            datastore_id=datastore_id,
        )

    # Pages of the database ------------------------------------------------------------------------------

    def _pages(self) -> None:
        part = database_pages.check(self._stores.db, self._after)
        if part is None:
            return self._keep((), "packs", -1)
        counts = self._counts
        counts["pages"] += part.pages
        counts["page_bytes"] += part.bytes
        counts["page_total"] = max(counts["page_total"], counts["page_bytes"])
        self._show_all()
        self._pace.spend(part.bytes)
        return self._keep(part.found, "pages", part.end)

    def _show_all(self) -> None:
        counts = self._counts
        self._show(counts["page_bytes"] + counts["bytes"], counts["page_total"] + counts["total"])

    # Packs ----------------------------------------------------------------------------------------------

    def _packs(self) -> None:
        with self._stores.db.read() as conn:
            page = integrity.packs(conn, self._after, 4 * self._processes)
        if not page:
            return self._keep((), "sets", -1)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._processes, thread_name_prefix="verify")
        parts = list(self._threads.map(self._check_pack, page))
        found = [finding for part in parts for finding in part]
        with self._stores.db.read() as conn:
            live = integrity.are_live(conn, sorted({finding.pack.key for finding in found}))
        if self._stopping.is_set():
            return None
        faults = [_fault(finding) for finding in found if finding.pack.key in live]
        self._keep(faults, "packs", page[-1].key)

    def _check_pack(self, pack: PackToVerify) -> list[PartFinding]:
        if self._stopping.is_set():
            return []
        try:
            worker = self._workers.get_nowait()
        except queue.Empty:
            worker = VerifyWorker(self._stores, self._settings, self._stopping)
            with self._lock:
                self._made.append(worker)
        assert self._run is not None
        try:
            sample = self._run.number % 100 if self._mode in ("sample", "regular") else None
            found, instances, frames = worker.check(pack, quick=self._mode == "quick", sample=sample)
        finally:
            self._workers.put(worker)
        with self._lock:
            counts = self._counts
            counts["packs"] += 1
            counts["bytes"] += pack.size
            counts["instances"] += instances
            counts["frames"] += frames
            counts["total"] = max(counts["total"], counts["bytes"])
            self._show_all()
        self._pace.spend(pack.size)
        return found

    # Rows, documents, strays ----------------------------------------------------------------------------

    def _sets(self) -> None:
        found: list[Fault] = []
        with self._stores.db.read() as conn:
            page = integrity.sets(conn, self._after, _SETS)
            for key, id, store in page:
                self._counts["image_sets"] += 1
                if self._is_locked(conn, key, store, found):
                    continue
                try:
                    reasons = integrity.faults_of_set(conn, key)
                except NO_KEY as error:  # which was to be had a moment ago
                    self._lock_out(conn, key, store, error, found)
                    continue
                found += [_fault_of_set(conn, key, id, reason) for reason in reasons]
        if page:
            self._keep(found, "sets", page[-1][0])
        else:
            self._keep((), "documents" if self._mode != "quick" else "over", -1)

    def _is_locked(self, conn: Connection, key: int, store: str, found: list[Fault]) -> bool:
        """Whether the key of a data store is not to be had, or cannot be asked for now. What its image sets
        hold, such as that with this key, is not known then, and one fault of the data store says so: others
        are verified all the same.
        """
        if store not in self._locked:
            self._locked[store] = False
            try:
                self._stores.keys.open_all(conn, store)
            except NO_KEY as error:
                self._lock_out(conn, key, store, error, found)
        return self._locked[store]

    def _lock_out(
        self, conn: Connection, key: int, store: str, error: LightwellError, found: list[Fault]
    ) -> None:
        self._locked[store] = True
        is_away = isinstance(error, KeyProviderAwayError)
        kind = FaultKind.UNREADABLE if is_away else FaultKind.WITHOUT_KEY
        place, of = f"data store {store} {kind.value}", integrity.datastore_of(conn, key)
        found.append(Fault(place=place, reason=str(error), kind=kind, datastore=of))

    def _documents(self) -> None:
        found = []
        for name, is_whole in self._stores.documents.check():
            self._counts["documents"] += 1
            if not is_whole:
                reason = f"the cached document {name} was damaged; it is dropped, and made again when wanted"
                found.append(Fault(place=f"document {name}", reason=reason, kind=FaultKind.DROPPED))
        self._keep(found, "strays", -1)

    def _find_strays(self) -> None:
        for names in _in_parts(self._stores.objects.stale("packs", self._before_grace())):
            keys = [key for name in names if (key := pack_objects.key_of(name)) is not None]
            with self._stores.db.read() as conn:
                known = packs.existing_keys(conn, keys)
            self._counts["strays"] += len(keys) - len(known)
            if self._stopping.is_set():
                return
        self._keep((), "over", -1)

    def _before_grace(self) -> int:
        return self._clock.now() - self._settings.collect_grace * 1000


def _in_parts(names: Iterator[str]) -> Iterator[list[str]]:
    return iter(lambda: list(islice(names, _STRAYS)), [])


def _fault(finding: PartFinding) -> Fault:
    name, kind = pack_name(finding.pack.key), finding.fault.kind
    fault = Fault(
        # That a key is not to be had must not hide that bytes have changed.
        place=name if kind is FaultKind.DAMAGED else f"{name} {kind.value}",
        reason=finding.fault.reason,
        kind=kind,
        datastore=finding.pack.datastore,
        pack=finding.pack.key,
    )
    if finding.record is None:
        return fault
    place = f"record {finding.record.key:016x} {_digest(fault.reason)}"
    return replace(fault, place=place, record=finding.record.key)


def _fault_of_set(conn: Connection, key: int, id: str, reason: str) -> Fault:
    datastore = integrity.datastore_of(conn, key)
    place = f"image set {id} {_digest(reason)}"
    return Fault(place=place, reason=reason, datastore=datastore, image_set=key)


def _digest(reason: str) -> str:
    return f"{zlib.crc32(reason.encode()):08x}"
