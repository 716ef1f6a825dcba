"""The read phase: a thread for each codec worker, which hands it one chunk after another.

While a worker is on the last files of a chunk, the next one is claimed and sent; it makes the bytes of a
chunk durable while it reads the next; and what a chunk has yielded is committed in a thread beside. So a
worker waits for nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from lightwell.codec_pool.admission import offer_existing
from lightwell.codec_pool.failures import CHUNK, Cause
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
)
from lightwell.codec_pool.slot import WorkerEnded, WorkerSlot
from lightwell.domain.imports.names_in_logs import without_files
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.observe.seldom import Seldom
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.work.imports.leases import LeasedChunk, Leases

log = logging.getLogger(__name__)
seldom = Seldom(log)

# The next chunk is sent when so many files of this one are left.
_AHEAD = 6
# The bytes of a chunk have to be durable within this.
_FINISH_SECONDS = 1800.0
# Jobs yield to the requests that clients wait for, and to HTTP.
_NICE = 5


@dataclass(slots=True)
class _SentChunk:
    """A chunk that the worker has.

    ``left`` is how many of its files it has not begun; at ``ahead`` it is time to send the next chunk.
    """

    leased: LeasedChunk
    left: int
    ahead: int


class ChunkReader:
    """Keeps one codec worker busy. `run` is the body of its thread, which has to outlive the worker."""

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        leases: Leases,
        stopping: threading.Event,
        wait_for_work: Callable[[float], None],
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._leases = leases
        self._stopping = stopping
        self._wait_for_work = wait_for_work
        self._slot = WorkerSlot(settings, stores, self._limit, nice=_NICE)
        self._sent: dict[int, _SentChunk] = {}
        # A chunk that needs a worker with more grants, once this one has nothing left to do.
        self._postponed: LeasedChunk | None = None
        self._committing: Future[None] | None = None
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker, if there is one."""
        return self._slot.pid

    def _limit(self, task: int, file: int | None) -> float:
        return _FINISH_SECONDS if file is None else float(self._settings.file_timeout)

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    if self._sent or self._send_next():
                        self._handle(self._slot.receive())
                        continue
                except WorkerEnded as end:
                    self._worker_ended(end)
                    if end.cause is not Cause.NOT_STARTED:
                        continue
                except StorageError as error:
                    if not isinstance(error, StorageUnavailableError):  # the engine reports those
                        seldom(logging.WARNING, "reading an import waits for the storage: %s", error)
                    self._drop()
                    self._stopping.wait(1)
                except Exception:
                    log.exception("reading a chunk failed")
                    self._drop()
                    self._stopping.wait(1)
                self._slot.close_if_idle()
                self._wait_for_work(5.0)
        finally:
            self._drop()
            self._committer.shutdown(wait=True)

    def _send_next(self) -> bool:
        """Claim a chunk and send it to the worker; False if there is none."""
        if self._postponed is not None and self._sent:
            return False
        # Known from here on, so that it is given back whatever happens.
        self._postponed = leased = self._postponed or self._leases.take()
        if leased is None:
            return False
        failure = self._leases.final_failure(leased)
        if failure is not None:
            self._leases.fail_all(leased, failure)
            self._postponed = None
            return False
        if not self._leases.is_storage_there(leased):
            self._postponed = None
            return False
        task = leased.task
        left = len(leased.chunk.files) - len(task.skip)
        self._sent[task.task] = _SentChunk(leased, left, min(_AHEAD, left - 1))
        self._postponed = None
        self._slot.start()
        if len(self._sent) == 1:
            self._slot.watch(task.task, None)
        self._slot.send(task)
        return True

    def _handle(self, message: FromWorker | None) -> None:
        if isinstance(message, FileStarted):
            sent = self._sent[message.task]
            sent.left -= message.file is not None
            last = all(other <= message.task for other in self._sent)
            if last and not self._stopping.is_set() and (sent.left == sent.ahead or message.file is None):
                self._send_next()
        elif isinstance(message, FileRead):
            self._sent[message.task].leased.result.records.append(message.record)
        elif isinstance(message, FileRefused):
            self._sent[message.task].leased.result.failures.append(message.failure)
        elif isinstance(message, OpenPacks):
            leased = self._sent[message.task].leased
            self._slot.send(PacksOpened(self._leases.open_packs(leased, message.count)))
        elif isinstance(message, FindExisting):
            leased = self._sent[message.task].leased
            self._slot.send(offer_existing(self._stores.db, leased.datastore, message))
        elif isinstance(message, ChunkRead):
            leased = self._sent.pop(message.task).leased
            leased.result.dependencies = message.dependencies
            self._commit(leased)
        elif isinstance(message, ChunkFailed):
            leased = self._sent.pop(message.task).leased
            if CHUNK[message.cause].tries is not None:
                reason = without_files(message.reason, leased.chunk.files)
                log.warning("a chunk could not be kept: %s", reason)
            self._leases.settle(leased, message.cause, message.reason)
            if not self._sent:
                # A storage that was mounted anew is another place to a worker confined to the old one.
                self._slot.close()

    def _worker_ended(self, end: WorkerEnded) -> None:
        """Give back what the worker had; the chunk that it was on counts a failure, of one file perhaps."""
        if end.cause is Cause.NOT_STARTED:
            self._drop(lambda leased: self._leases.settle(leased, end.cause, str(end)))
            return
        log.warning("a codec worker ended on file %s: %s", end.file, end)
        task = end.task
        if end.cause is Cause.FORGED and task not in self._sent:
            task = min(self._sent, default=task)  # what it said was about nothing that it has
        blamed = self._sent.pop(task, None)
        self._drop()
        if blamed is not None:
            self._give_back(
                blamed.leased, lambda leased: self._leases.settle(leased, end.cause, str(end), end.file)
            )

    def _drop(self, give_back: Callable[[LeasedChunk], None] | None = None) -> None:
        """End the worker and give back what it has."""
        self._slot.close()
        dropped = [sent.leased for sent in self._sent.values()]
        if self._postponed is not None:
            dropped.append(self._postponed)
        self._sent.clear()
        self._postponed = None
        for leased in reversed(dropped):
            self._give_back(leased, give_back or self._leases.release)

    @staticmethod
    def _give_back(leased: LeasedChunk, give_back: Callable[[LeasedChunk], None]) -> None:
        try:
            give_back(leased)
        except StorageError as error:
            # The lease ends by itself, only later.
            log.warning("a chunk could not be given back: %s", error)

    def _commit(self, leased: LeasedChunk) -> None:
        if self._committing is not None:
            try:
                self._committing.result()
            except StorageError as error:
                log.warning("a chunk could not be committed: %s", error)
            except Exception:
                log.exception("a chunk could not be committed")
        self._committing = self._committer.submit(self._leases.commit, leased)
