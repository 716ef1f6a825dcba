"""Direct orders: a thread for each codec worker that attends to clients who wait.

These workers are others than those that read import jobs, as many and as much on demand: a job may be at one
file for minutes, and stands back for them (`reading`). While a worker makes the bytes of one order durable it
reads for the next.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from dataclasses import dataclass, field

from lightwell.codec_pool import messages
from lightwell.codec_pool.messages import (
    FindExisting,
    NeedPacks,
    Packs,
    Perform,
    Performed,
    Read,
    Reading,
    Refused,
    Task,
    TaskDone,
    TaskFailed,
)
from lightwell.codec_pool.process import WorkerDied, WorkerNotStarted, WorkerProcess
from lightwell.codec_pool.queue import PendingRequest, RequestQueue
from lightwell.codec_pool.requests import InstanceRefused, PoolReply, RequestError, Store, Stored
from lightwell.codec_pool.store_committer import Finished, StoreCommitter, StoreTarget
from lightwell.domain.imports import jobs as domain
from lightwell.domain.imports.jobs import InputFile
from lightwell.domain.imports.records import ChunkResult
from lightwell.domain.imports.store_response import CANNOT_UNDERSTAND, OTHER_STUDY, PROCESSING_FAILURE
from lightwell.errors import StorageError
from lightwell.settings import Settings
from lightwell.stores import Stores

log = logging.getLogger(__name__)

# A worker without work is ended after so many seconds.
IDLE_SECONDS = 60.0
_FINISH_SECONDS = 600.0
_STEP_SECONDS = 0.5
# While bytes become durable another order may come.
_MOMENT = 0.005
# An order on which so many workers ended, though on none of its files, is given up.
_DEATHS = 2

_OTHER_STUDY = "The instance is of the study {}, not of the one that the request names."
_NO_WORKER = "No codec worker can be started at the moment. Try again later."
_ENDED = "Reading this file has ended its codec worker: {}"


@dataclass(slots=True)
class _Sent:
    """An errand that the worker has."""

    errand: PendingRequest
    target: StoreTarget | None = None
    result: ChunkResult = field(default_factory=ChunkResult)


class Dispatcher:
    """One slot for a codec worker. `run` is the body of its thread, which has to outlive the worker."""

    def __init__(
        self, stores: Stores, settings: Settings, desk: RequestQueue, storer: StoreCommitter
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._desk = desk
        self._storer = storer
        self._worker: WorkerProcess | None = None
        self._numbers = itertools.count(1)
        self._sent: dict[int, _Sent] = {}
        self._again: list[PendingRequest] = []
        # The order that the worker is on, None once it could take another; and the file of it, by place.
        self._on: int | None = None
        self._file: int | None = None
        self._limit = 0.0
        self._is_late = False
        self._deadline = 0.0

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker, if there is one."""
        worker = self._worker
        return worker.pid if worker else None

    def run(self, stopped: threading.Event) -> None:
        """Attend until ``stopped`` is set; the desk has been closed then."""
        idle_since = time.monotonic()
        try:
            while not stopped.is_set():
                try:
                    if self._on is None:
                        self._take(0.0 if self._sent else 1.0)
                    if self._sent:
                        idle_since = time.monotonic()
                        self._listen()
                    elif self._desk.is_closed:
                        stopped.wait(_STEP_SECONDS)
                except WorkerNotStarted as error:
                    log.warning("a direct order is refused: %s", error)
                    self._drop(RequestError("busy", _NO_WORKER))
                except WorkerDied as death:
                    self._died(str(death))
                except StorageError as error:
                    log.warning("a direct order waits for the storage: %s", error)
                    self._drop(RequestError("storage", f"Nothing was stored: {error}"))
                except Exception as error:
                    log.exception("attending to a direct order failed")
                    self._drop(RequestError("fault", f"A fault in lightwell ({type(error).__name__})."))
                if self._worker is not None and time.monotonic() - idle_since > IDLE_SECONDS:
                    self._close_worker()
        finally:
            self._drop(RequestError("busy", "The server is stopping. Try again in a moment."))

    def _take(self, seconds: float) -> None:
        """Take an errand and send it to the worker."""
        errand = self._again.pop(0) if self._again else None
        if errand is None:
            errand = self._desk.take(seconds, warm=self._worker is not None)
        if errand is None:
            return
        number = next(self._numbers)
        # Known before it is sent, so that it is answered whatever happens.
        sent = self._sent[number] = _Sent(errand)
        try:
            order = self._order(number, sent)
        except StorageError as error:
            self._answer(self._sent.pop(number).errand, RequestError("storage", str(error)))
            return
        if order is None:
            return
        self._on, self._file = number, None
        self._set_deadline()
        if self._worker is None:
            self._worker = WorkerProcess(self._settings, self._stores.spool)
        self._worker.send(order)

    def _order(self, number: int, sent: _Sent) -> Task | Perform | None:
        """What the worker is told; None if the errand is answered without it."""
        errand = sent.errand
        store = errand.order
        if not isinstance(store, Store):
            return Perform(number, store)
        sent.target = self._storer.target(store.datastore_id)
        if sent.target is None:
            del self._sent[number]
            self._answer(
                errand, RequestError("missing", f"The data store {store.datastore_id} is not active.")
            )
            return None
        if len(errand.failed) == len(store.files):
            del self._sent[number]
            self._answer(
                errand, Stored([InstanceRefused(*errand.failed[n]) for n in range(len(store.files))])
            )
            return None
        files = [
            InputFile(n, f.name, ("part", f.path, str(f.offset)), f.length) for n, f in enumerate(store.files)
        ]
        return Task(
            number=number,
            bucket="",
            storage_format=sent.target.storage_format,
            files=domain.pack_files(files),
            first_file=0,
            skip=sorted(errand.failed),
            first=[],
            packs=self._storer.open_packs(sent.target, 1),
            mappings=[],
            last_attempt=True,
        )

    def _set_deadline(self) -> None:
        """A file has its own limit of time; a direct order ends with the patience of who asked."""
        sent = self._sent[self._on] if self._on is not None else None
        if sent is None or (isinstance(sent.errand.order, Store) and self._file is None):
            self._limit = _FINISH_SECONDS
        else:
            self._limit = float(self._settings.file_timeout)
        self._deadline = time.monotonic() + self._limit
        if sent is not None and not isinstance(sent.errand.order, Store):
            self._limit = min(self._limit, sent.errand.until - time.monotonic())
            self._deadline = time.monotonic() + self._limit

    def _listen(self) -> None:
        """Take one message of the worker. Raises `WorkerDied`."""
        worker = self._worker
        assert worker is not None, "orders are sent to a worker"
        answer = worker.receive(_STEP_SECONDS if self._on is not None else _MOMENT)
        if answer is not None:
            self._hear(worker, answer)
        elif time.monotonic() > self._deadline:
            self._is_late = True
            worker.kill(f"it took longer than {self._limit:.0f} seconds")

    def _hear(self, worker: WorkerProcess, answer: messages.Answer) -> None:
        if isinstance(answer, Reading):
            self._on, self._file = (answer.task, answer.file)
            if answer.file is None:
                self._on = None
            self._set_deadline()
        elif isinstance(answer, Performed):
            self._on = None
            self._answer(self._sent.pop(answer.number).errand, answer.answer)
        elif isinstance(answer, Read):
            self._sent[answer.task].result.records.append(answer.record)
        elif isinstance(answer, Refused):
            failure = answer.failure
            ours = failure.exception_type == "InternalServerException"
            reason = PROCESSING_FAILURE if ours else CANNOT_UNDERSTAND
            self._sent[answer.task].errand.failed[failure.file] = (reason, failure.message)
        elif isinstance(answer, NeedPacks):
            target = self._sent[answer.task].target
            assert target is not None, "only files need packs"
            worker.send(Packs(self._storer.open_packs(target, answer.count)))
        elif isinstance(answer, FindExisting):
            target = self._sent[answer.task].target
            assert target is not None, "only files have UIDs"
            worker.send(self._storer.find_existing(target, answer))
        elif isinstance(answer, TaskDone):
            self._read(self._sent.pop(answer.task), answer)
        elif isinstance(answer, TaskFailed):
            if self._on == answer.task:
                self._on = None
            self._answer(self._sent.pop(answer.task).errand, RequestError("storage", answer.message))
            if not self._sent:
                self._close_worker()  # as `ChunkReader` does

    def _read(self, sent: _Sent, done: TaskDone) -> None:
        """Everything of a `Store` is durable: have it committed."""
        errand, store, target = sent.errand, sent.errand.order, sent.target
        assert isinstance(store, Store) and target is not None
        result = sent.result
        if store.study is not None:
            others = [r for r in result.records if r.study_instance_uid != store.study]
            for record in others:
                errand.failed[record.file] = (OTHER_STUDY, _OTHER_STUDY.format(record.study_instance_uid))
            result.records = [r for r in result.records if r.study_instance_uid == store.study]
        if not result.records:
            self._answer(
                errand, Stored([InstanceRefused(*errand.failed[n]) for n in range(len(store.files))])
            )
            return
        result.level_values = done.level_values
        result.dictionaries = done.dictionaries
        result.packs = done.packs
        self._storer.put(
            Finished(
                target,
                store.caller,
                len(store.files),
                result,
                errand.failed,
                lambda a: self._answer(errand, a),
            )
        )

    def _died(self, reason: str) -> None:
        """Blame the file that the worker was on, and have the rest done by another."""
        number, file = self._on, self._file
        log.warning("a codec worker ended at a direct order: %s", reason)
        blamed = self._sent.pop(number, None) if number is not None else None
        again = [sent.errand for sent in self._sent.values()]
        self._sent.clear()
        self._close_worker()
        if blamed is not None:
            errand = blamed.errand
            if file is None:
                # It had not begun, or was between files: a worker that had died before, perhaps.
                errand.deaths += 1
                again.append(errand)
            elif isinstance(errand.order, Store):
                errand.failed[file] = (PROCESSING_FAILURE, _ENDED.format(reason))
                again.append(errand)
            else:
                kind = "time" if self._is_late else "died"
                self._answer(errand, RequestError(kind, f"The codec worker at this request ended: {reason}."))
        elif self._on is None:
            for errand in again:
                errand.deaths += 1
        for errand in again:
            if errand.deaths >= _DEATHS:
                self._answer(errand, RequestError("died", f"Codec workers ended again and again: {reason}."))
            else:
                self._again.append(errand)
        self._on, self._file, self._is_late = None, None, False

    def _drop(self, answer: PoolReply) -> None:
        """End the worker, and answer whoever waits for it."""
        self._close_worker()
        self._on, self._file = None, None
        waiting = [*(sent.errand for sent in self._sent.values()), *self._again]
        self._sent.clear()
        self._again.clear()
        for errand in waiting:
            self._answer(errand, answer)

    def _answer(self, errand: PendingRequest, answer: PoolReply) -> None:
        errand.reply(answer)
        self._desk.finished()

    def _close_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
