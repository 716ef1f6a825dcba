"""Requests that clients wait for: a thread for each codec worker that serves them.

These are separate from the workers for import jobs, and equal in number; they too are started on demand. A
job may spend minutes on one file, and yields to these requests (`work.imports.chunk_reader`). While a worker
makes the bytes of one request durable, it reads for the next.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lightwell.codec_pool.admission import offer_existing
from lightwell.codec_pool.failures import DIRECT, STORE, Cause, Consequence, cause_of, reason_of
from lightwell.codec_pool.messages import (
    ChunkFailed,
    ChunkRead,
    FileRead,
    FileRefused,
    FileStarted,
    FindExisting,
    FromWorker,
    OpenPacks,
    PacksOpened,
    Perform,
    Performed,
    ReadChunk,
)
from lightwell.codec_pool.queue import CLOSED, PendingRequest, RequestQueue
from lightwell.codec_pool.requests import InstanceRefused, PoolReply, RequestError, Spooled, Store, Stored
from lightwell.codec_pool.slot import STEP_SECONDS, WorkerEnded, WorkerSlot
from lightwell.codec_pool.store_committer import PendingCommit, StoreCommitter, StoreTarget
from lightwell.domain.imports.jobs import InputFile, pack_files
from lightwell.domain.imports.records import ChunkResult
from lightwell.domain.imports.store_response import CANNOT_UNDERSTAND, OTHER_STUDY, PROCESSING_FAILURE
from lightwell.errors import ServerFault, StorageError
from lightwell.settings import Settings
from lightwell.stores import Stores

log = logging.getLogger(__name__)

# The bytes of a request have to be durable within this time.
_FINISH_SECONDS = 600.0
# How long to wait for a message while bytes become durable, since another request may come.
_SHORT_WAIT_SECONDS = 0.005

_OTHER_STUDY = "The instance belongs to study {}, not to the one that the request names."


@dataclass(slots=True)
class _SentRequest:
    """A request that the worker has."""

    pending: PendingRequest
    target: StoreTarget | None = None
    result: ChunkResult = field(default_factory=ChunkResult)


class Dispatcher:
    """Keeps one codec worker busy. `run` is the body of its thread, which has to outlive the worker."""

    def __init__(
        self, stores: Stores, settings: Settings, queue: RequestQueue, committer: StoreCommitter
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._queue = queue
        self._committer = committer
        self._slot = WorkerSlot(settings, stores, self._limit)
        self._tasks = itertools.count(1)
        self._sent: dict[int, _SentRequest] = {}
        self._retries: list[PendingRequest] = []
        # The task that the worker is at; None when it could take another.
        self._current: int | None = None

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker, if there is one."""
        return self._slot.pid

    def run(self, stopped: threading.Event) -> None:
        """Serve until ``stopped`` is set; the queue has been closed by then."""
        try:
            while not stopped.is_set():
                try:
                    if self._current is None:
                        self._send_next(0.0 if self._sent else 1.0)
                    if self._sent:
                        self._receive()
                    elif self._queue.is_closed:
                        stopped.wait(STEP_SECONDS)
                except WorkerEnded as end:
                    self._worker_ended(end)
                except StorageError as error:
                    log.warning("a request waits for the storage: %s", error)
                    self._fail_all(Cause.UNAVAILABLE, str(error))
                except Exception as error:
                    log.exception("serving a request failed")
                    self._fail_all(Cause.FAULT, reason_of(error))
                self._slot.close_if_idle()
        finally:
            self._drop(lambda pending: CLOSED)

    def _send_next(self, seconds: float) -> None:
        """Take a request, within so many seconds, and send it to the worker."""
        pending = self._retries.pop(0) if self._retries else None
        if pending is None:
            pending = self._queue.take(seconds, has_worker=self._slot.pid is not None)
        if pending is None:
            return
        task = next(self._tasks)
        # Known before it is sent, so that it is answered whatever happens.
        sent = self._sent[task] = _SentRequest(pending)
        try:
            message = self._message(task, sent)
        except StorageError as error:
            message = STORE[cause_of(error)].error(str(error))
        if not isinstance(message, ReadChunk | Perform):
            del self._sent[task]
            self._reply(pending, message)
            return
        self._current = task
        self._slot.start()
        self._slot.watch(task, None)
        self._slot.send(message)

    def _message(self, task: int, sent: _SentRequest) -> ReadChunk | Perform | PoolReply:
        """What the worker is told, or the reply to a request that needs no worker."""
        pending = sent.pending
        store = pending.request
        if not isinstance(store, Store):
            return Perform(task, store)
        sent.target = self._committer.target(store.datastore_id)
        if sent.target is None:
            return RequestError("missing", f"The data store {store.datastore_id} is not active.")
        if len(pending.failed) == len(store.files):
            return _nothing_stored(pending, store)
        files = [InputFile(n, f.name, _place(f), f.length) for n, f in enumerate(store.files)]
        return ReadChunk(
            task=task,
            bucket="",
            storage_format=sent.target.storage_format,
            files=pack_files(files),
            first_file=0,
            skip=sorted(pending.failed),
            first=[],
            packs=self._committer.open_packs(sent.target, 1),
            mappings=[],
            last_attempt=True,
            upload_key=store.key,
        )

    def _limit(self, task: int, file: int | None) -> float:
        """A file has its own limit of time; what a client waits for ends with the client's patience."""
        sent = self._sent.get(task)
        if sent is None or (isinstance(sent.pending.request, Store) and file is None):
            return _FINISH_SECONDS
        seconds = float(self._settings.file_timeout)
        if isinstance(sent.pending.request, Store):
            return seconds
        return min(seconds, sent.pending.until - time.monotonic())

    def _receive(self) -> None:
        """Take one message of the worker. Raises `WorkerEnded`."""
        message = self._slot.receive(STEP_SECONDS if self._current is not None else _SHORT_WAIT_SECONDS)
        if message is not None:
            self._handle(message)

    def _handle(self, message: FromWorker) -> None:
        if isinstance(message, FileStarted):
            self._current = None if message.file is None else message.task
        elif isinstance(message, Performed):
            pending = self._sent.pop(message.task).pending
            self._finish_task(message.task)
            self._reply(pending, message.reply)
        elif isinstance(message, FileRead):
            self._sent[message.task].result.records.append(message.record)
        elif isinstance(message, FileRefused):
            failure = message.failure
            ours = failure.exception_type == ServerFault.exception_type
            reason = PROCESSING_FAILURE if ours else CANNOT_UNDERSTAND
            self._sent[message.task].pending.failed[failure.file] = (reason, failure.message)
        elif isinstance(message, OpenPacks):
            target = self._sent[message.task].target
            assert target is not None, "only files need packs"
            self._slot.send(PacksOpened(self._committer.open_packs(target, message.count)))
        elif isinstance(message, FindExisting):
            target = self._sent[message.task].target
            assert target is not None, "only files have UIDs"
            self._slot.send(offer_existing(self._stores.db, target.key, message))
        elif isinstance(message, ChunkRead):
            self._commit(self._sent.pop(message.task), message)
        elif isinstance(message, ChunkFailed):
            pending = self._sent.pop(message.task).pending
            if self._current == message.task:
                self._finish_task(message.task)
            self._reply(pending, STORE[message.cause].error(message.reason))
            if not self._sent:
                self._slot.close()  # as `ChunkReader` does

    def _finish_task(self, task: int) -> None:
        """The worker is done with this task; the bytes of other tasks may not be durable yet."""
        self._current = None
        self._slot.watch(task, None)

    def _commit(self, sent: _SentRequest, done: ChunkRead) -> None:
        """Everything of a `Store` is durable: have it committed."""
        pending, store, target = sent.pending, sent.pending.request, sent.target
        assert isinstance(store, Store) and target is not None
        result = sent.result
        if store.study is not None:
            others = [r for r in result.records if r.study_instance_uid != store.study]
            for record in others:
                pending.failed[record.file] = (OTHER_STUDY, _OTHER_STUDY.format(record.study_instance_uid))
            result.records = [r for r in result.records if r.study_instance_uid == store.study]
        if not result.records:
            self._reply(pending, _nothing_stored(pending, store))
            return
        result.dependencies = done.dependencies
        self._committer.put(
            PendingCommit(
                target=target,
                caller=store.caller,
                emergency=store.emergency,
                count=len(store.files),
                result=result,
                failed=pending.failed,
                reply=lambda reply: self._reply(pending, reply),
            )
        )

    def _worker_ended(self, end: WorkerEnded) -> None:
        """Blame the file or the request that the worker was on, and have the rest done by another."""
        if end.cause is Cause.NOT_STARTED:
            log.warning("a request is refused: %s", end)
            self._fail_all(end.cause, str(end))
            return
        log.warning("a codec worker ended at a request: %s", end)
        # Between two requests nobody knows which one it was: each may be.
        current = end.task if end.cause is Cause.FORGED else self._current
        blamed = {current} if current in self._sent else set(self._sent)
        waiting = [(sent.pending, task in blamed) for task, sent in self._sent.items()]
        self._sent.clear()
        self._current = None
        for pending, is_blamed in waiting:
            consequence = _consequence(pending, end.cause)
            if not is_blamed:
                self._retries.append(pending)
            elif consequence.blames == "file" and end.file is not None:
                pending.failed[end.file] = (PROCESSING_FAILURE, consequence.text(str(end)))
                self._retries.append(pending)
            else:
                pending.deaths += 1
                if consequence.is_final(pending.deaths):
                    self._reply(pending, consequence.error(str(end)))
                else:
                    self._retries.append(pending)

    def _fail_all(self, cause: Cause, reason: str) -> None:
        self._drop(lambda pending: _consequence(pending, cause).error(reason))

    def _drop(self, reply_to: Callable[[PendingRequest], PoolReply]) -> None:
        """End the worker, and answer whoever waits for it."""
        self._slot.close()
        self._current = None
        waiting = [*(sent.pending for sent in self._sent.values()), *self._retries]
        self._sent.clear()
        self._retries.clear()
        for pending in waiting:
            self._reply(pending, reply_to(pending))

    def _reply(self, pending: PendingRequest, reply: PoolReply) -> None:
        pending.reply(reply)
        self._queue.finished()


def _place(file: Spooled) -> tuple[str, ...]:
    if file.document is None:
        return ("part", file.path, str(file.offset))
    return (file.document, file.path, str(file.offset), str(file.table))


def _consequence(pending: PendingRequest, cause: Cause) -> Consequence:
    return (STORE if isinstance(pending.request, Store) else DIRECT)[cause]


def _nothing_stored(pending: PendingRequest, store: Store) -> Stored:
    return Stored([InstanceRefused(*pending.failed[n]) for n in range(len(store.files))])
