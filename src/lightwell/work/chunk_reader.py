"""The read phase: a thread for each codec worker, which hands it one chunk after another.

While a worker is on the last files of a chunk the next one is claimed and sent; it makes the bytes of a chunk
durable while it reads the next; and what a chunk has yielded is committed in a thread beside. So a worker
waits for nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from lightwell.codec_pool.messages import (
    Answer,
    FindExisting,
    NeedPacks,
    Packs,
    Read,
    Reading,
    Refused,
    TaskDone,
    TaskFailed,
)
from lightwell.codec_pool.process import WorkerDied, WorkerNotStarted, WorkerProcess
from lightwell.codec_pool.sandbox.grants import of_files
from lightwell.domain.imports import jobs as domain
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.work.leases import LeasedChunk, Leases

log = logging.getLogger(__name__)

# A worker without work is ended after so many seconds.
IDLE_SECONDS = 60.0
# The next chunk is sent when so many files of this one are left.
_AHEAD = 6
# The bytes of a chunk have to be durable within this.
_FINISH_SECONDS = 1800.0
_STEP_SECONDS = 0.5
# Jobs stand back for the orders that clients wait for, and for the answers to HTTP.
_NICE = 5


@dataclass(slots=True)
class _Sent:
    """A chunk that the worker has.

    ``left`` is how many of its files it has not begun; at ``ahead`` it is time to send the next chunk.
    """

    claimed: LeasedChunk
    left: int
    ahead: int


class ChunkReader:
    """One slot for a codec worker. `run` is the body of its thread, which has to outlive the worker."""

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        claims: Leases,
        stopping: threading.Event,
        wait_for_work: Callable[[float], None],
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._claims = claims
        self._stopping = stopping
        self._wait_for_work = wait_for_work
        self._worker: WorkerProcess | None = None
        self._sent: dict[int, _Sent] = {}
        # A chunk that needs a worker with more reach, once this one has nothing left to do.
        self._kept: LeasedChunk | None = None
        # What the worker has announced: the task, and its file or None between files.
        self._on: tuple[int, int | None] = (0, None)
        self._deadline = 0.0
        self._committing: Future[None] | None = None
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker, if there is one."""
        worker = self._worker
        return worker.pid if worker else None

    def run(self) -> None:
        idle_since = time.monotonic()
        try:
            while not self._stopping.is_set():
                try:
                    if self._sent or self._take():
                        idle_since = time.monotonic()
                        self._listen()
                        continue
                except WorkerNotStarted as error:
                    # The machine has no room for it now, perhaps.
                    self._pause(str(error))
                except WorkerDied as death:
                    self._died(str(death))
                    continue
                except StorageError as error:
                    if not isinstance(error, StorageUnavailableError):  # of which the engine tells
                        log.warning("reading an import waits for the storage: %s", error)
                    self._drop()
                    self._stopping.wait(1)
                except Exception:
                    log.exception("reading a chunk failed")
                    self._drop()
                    self._stopping.wait(1)
                if self._worker is not None and time.monotonic() - idle_since > IDLE_SECONDS:
                    self._close_worker()
                self._wait_for_work(5.0)
        finally:
            self._drop()
            self._committer.shutdown(wait=True)

    def _take(self) -> bool:
        """Claim a chunk and send it to the worker; False if there is none."""
        if self._kept is not None and self._sent:
            return False
        claimed, self._kept = self._kept or self._claims.take(), None
        if claimed is None:
            return False
        reason = self._claims.hopeless(claimed)
        if reason is not None:
            self._claims.fail_all(claimed, reason)
            return False
        if not self._claims.is_storage_there(claimed):
            return False
        # Known from here on, so that it is given back whatever happens.
        self._kept = claimed
        task, buckets = claimed.task, self._stores.buckets
        if task.far:
            buckets = buckets.far()
        reach = of_files(self._settings, buckets, task.bucket, claimed.chunk.files, claimed.inputs)
        if self._worker is not None and not self._worker.reach.covers(reach):
            if self._sent:
                return False
            reach = self._worker.reach.joined(reach)
            self._close_worker()
        left = len(claimed.chunk.files) - len(claimed.task.skip)
        self._sent[claimed.task.number] = _Sent(claimed, left, min(_AHEAD, left - 1))
        self._kept = None
        if self._worker is None:
            self._worker = WorkerProcess(self._settings, self._stores.spool, reach, nice=_NICE)
        if len(self._sent) == 1:
            self._announced(claimed.task.number, None)
        self._worker.send(claimed.task)
        return True

    def _announced(self, task: int, file: int | None) -> None:
        self._on = (task, file)
        seconds = _FINISH_SECONDS if file is None else self._settings.file_timeout
        self._deadline = time.monotonic() + seconds

    def _listen(self) -> None:
        """Take one message of the worker. Raises `WorkerDied`."""
        worker = self._worker
        assert worker is not None, "chunks are sent to a worker"
        answer = worker.receive(_STEP_SECONDS)
        if answer is not None:
            self._hear(worker, answer)
        elif time.monotonic() > self._deadline:
            seconds = _FINISH_SECONDS if self._on[1] is None else self._settings.file_timeout
            worker.kill(f"it took longer than {seconds:.0f} seconds")

    def _hear(self, worker: WorkerProcess, answer: Answer) -> None:
        if isinstance(answer, Reading):
            self._announced(answer.task, answer.file)
            sent = self._sent[answer.task]
            sent.left -= answer.file is not None
            last = all(other <= answer.task for other in self._sent)
            if last and not self._stopping.is_set() and (sent.left == sent.ahead or answer.file is None):
                self._take()
        elif isinstance(answer, Read):
            self._sent[answer.task].claimed.result.records.append(answer.record)
        elif isinstance(answer, Refused):
            self._sent[answer.task].claimed.result.failures.append(answer.failure)
        elif isinstance(answer, NeedPacks):
            worker.send(Packs(self._claims.open_packs(self._sent[answer.task].claimed, answer.count)))
        elif isinstance(answer, FindExisting):
            worker.send(self._claims.find_existing(self._sent[answer.task].claimed, answer))
        elif isinstance(answer, TaskDone):
            claimed = self._sent.pop(answer.task).claimed
            claimed.result.level_values = answer.level_values
            claimed.result.dictionaries = answer.dictionaries
            claimed.result.packs = answer.packs
            self._commit(claimed)
        elif isinstance(answer, TaskFailed):
            claimed = self._sent.pop(answer.task).claimed
            if answer.away:
                self._claims.pause(claimed, answer.message)
            else:
                log.warning("a chunk could not be kept: %s", answer.message)
                self._claims.put_back(claimed, domain.STORAGE, answer.message)
            if not self._sent:
                # A storage that was mounted anew is another place to a worker confined to the old one.
                self._close_worker()

    def _died(self, reason: str) -> None:
        """Give the chunks of a dead worker back, and blame the file that it was on."""
        task, file = self._on
        log.warning("a codec worker ended on file %s: %s", file, reason)
        blamed = self._sent.pop(task, None)
        self._drop()
        if blamed is not None:
            cause = domain.NO_FILE if file is None else str(file)
            try:
                self._claims.put_back(blamed.claimed, cause, reason)
            except StorageError as error:
                log.warning("a chunk could not be given back: %s", error)

    def _pause(self, reason: str) -> None:
        """Leave the jobs alone for a while whose chunks would be read now."""
        self._drop(lambda claimed: self._claims.pause(claimed, reason))

    def _drop(self, give_back: Callable[[LeasedChunk], None] | None = None) -> None:
        """End the worker and give back what it has."""
        self._close_worker()
        held = [sent.claimed for sent in self._sent.values()]
        if self._kept is not None:
            held.append(self._kept)
        self._sent.clear()
        self._kept = None
        for claimed in reversed(held):
            try:
                (give_back or self._claims.put_back)(claimed)
            except StorageError as error:
                # The claim ends by itself, only later.
                log.warning("a chunk could not be given back: %s", error)

    def _commit(self, claimed: LeasedChunk) -> None:
        if self._committing is not None:
            try:
                self._committing.result()
            except StorageError as error:
                log.warning("a chunk could not be committed: %s", error)
            except Exception:
                log.exception("a chunk could not be committed")
        self._committing = self._committer.submit(self._claims.commit, claimed)

    def _close_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
