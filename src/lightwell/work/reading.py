"""The read phase: a thread for each codec worker, which hands it one chunk after another.

While a worker is on the last files of a chunk the next one is claimed and sent, and what a chunk has
yielded is committed in a thread beside, so that a worker waits for nothing but its own fsync.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from lightwell.domain import jobs as domain
from lightwell.errors import StorageError
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.work.claims import Claimed, Claims
from lightwell.work.messages import (
    NeedPacks,
    Packs,
    Read,
    Reading,
    Refused,
    TaskDone,
    TaskFailed,
)
from lightwell.work.workers import CodecWorker, WorkerDied

log = logging.getLogger(__name__)

# A worker without work is ended after so many seconds.
IDLE_SECONDS = 60.0
# The next chunk is sent when so many files of this one are left.
_AHEAD = 6
# The bytes of a chunk have to be durable within this.
_FINISH_SECONDS = 1800.0
_STEP_SECONDS = 0.5


class Reader:
    """One slot for a codec worker. `run` is the body of its thread, which has to outlive the worker."""

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        claims: Claims,
        stopping: threading.Event,
        wait_for_work: Callable[[float], None],
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._claims = claims
        self._stopping = stopping
        self._wait_for_work = wait_for_work
        self._worker: CodecWorker | None = None
        self._ahead: Claimed | None = None
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
                    claimed, self._ahead = self._ahead or self._claims.take(), None
                    if claimed is not None:
                        self._read(claimed)
                        idle_since = time.monotonic()
                        continue
                except StorageError as error:
                    log.warning("reading an import waits for the storage: %s", error)
                    self._stopping.wait(1)
                except Exception:
                    log.exception("reading a chunk failed")
                    self._close_worker()
                    self._stopping.wait(1)
                if self._worker is not None and time.monotonic() - idle_since > IDLE_SECONDS:
                    self._close_worker()
                self._wait_for_work(5.0)
        finally:
            if self._ahead is not None:
                self._put_back(self._ahead)
            self._close_worker()
            self._committer.shutdown(wait=True)

    def _read(self, claimed: Claimed) -> None:
        reason = self._claims.hopeless(claimed)
        if reason is not None:
            self._claims.fail_all(claimed, reason)
            return
        try:
            worker = self._running(claimed)
        except WorkerDied as death:
            log.error("a codec worker could not be started: %s", death)
            self._claims.put_back(claimed, domain.NO_FILE, str(death))
            self._close_worker()
            return
        on: list[int | None] = [None]
        try:
            outcome = self._converse(worker, claimed, on)
        except WorkerDied as death:
            file = on[0]
            log.warning("a codec worker ended on file %s: %s", file, death)
            self._close_worker()
            self._put_back_ahead()
            self._claims.put_back(claimed, domain.NO_FILE if file is None else str(file), str(death))
            return
        except BaseException:
            self._close_worker()
            self._put_back_ahead()
            self._put_back(claimed)
            raise
        if outcome is None:  # stopping
            self._close_worker()
            self._put_back_ahead()
            self._put_back(claimed)
        elif isinstance(outcome, TaskFailed):
            log.warning("a chunk could not be kept: %s", outcome.message)
            self._put_back_ahead(restart=True)
            self._claims.put_back(claimed, domain.STORAGE, outcome.message)
        else:
            claimed.result.level_values = outcome.level_values
            claimed.result.dictionaries = outcome.dictionaries
            claimed.result.packs = outcome.packs
            self._commit(claimed)

    def _running(self, claimed: Claimed) -> CodecWorker:
        """The worker, told of the chunk."""
        if self._worker is not None and claimed.task.number in self._sent:
            return self._worker
        if self._worker is None:
            self._worker = CodecWorker(self._settings, self._stores.spool)
            self._sent: set[int] = set()
        self._send(self._worker, claimed)
        return self._worker

    def _send(self, worker: CodecWorker, claimed: Claimed) -> None:
        worker.send(claimed.task)
        self._sent = {claimed.task.number}

    def _converse(
        self, worker: CodecWorker, claimed: Claimed, on: list[int | None]
    ) -> TaskDone | TaskFailed | None:
        """Listen until the chunk is done or has failed; None when the engine stops.

        ``on[0]`` is always the file that the worker has announced.
        """
        left = len(claimed.chunk.files) - len(claimed.task.skip)
        deadline = time.monotonic() + _FINISH_SECONDS
        while True:
            answer = worker.receive(_STEP_SECONDS)
            if answer is None:
                if self._stopping.is_set():
                    return None
                if time.monotonic() > deadline:
                    seconds = _FINISH_SECONDS if on[0] is None else self._settings.file_timeout
                    worker.kill(f"it took longer than {seconds:.0f} seconds")
            elif isinstance(answer, Reading):
                on[0] = answer.file
                seconds = _FINISH_SECONDS if answer.file is None else self._settings.file_timeout
                deadline = time.monotonic() + seconds
                left -= answer.file is not None
                if left <= _AHEAD and self._ahead is None and not self._stopping.is_set():
                    self._look_ahead(worker)
            elif isinstance(answer, Read):
                claimed.result.records.append(answer.record)
            elif isinstance(answer, Refused):
                claimed.result.failures.append(answer.failure)
            elif isinstance(answer, NeedPacks):
                worker.send(Packs(self._claims.open_packs(claimed, answer.count)))
            elif isinstance(answer, TaskDone | TaskFailed):
                return answer

    def _look_ahead(self, worker: CodecWorker) -> None:
        """Claim the next chunk and tell the worker of it while it is on this one."""
        try:
            ahead = self._claims.take()
        except StorageError:
            return
        if ahead is None:
            return
        self._ahead = ahead
        if self._claims.hopeless(ahead) is None:
            self._send(worker, ahead)

    def _commit(self, claimed: Claimed) -> None:
        self._wait_for_commit()
        self._committing = self._committer.submit(self._claims.commit, claimed)

    def _wait_for_commit(self) -> None:
        if self._committing is not None:
            try:
                self._committing.result()
            except StorageError as error:
                log.warning("a chunk could not be committed: %s", error)
            except Exception:
                log.exception("a chunk could not be committed")
            self._committing = None

    def _put_back(self, claimed: Claimed) -> None:
        try:
            self._claims.put_back(claimed)
        except StorageError as error:
            # The claim ends by itself, only later.
            log.warning("a chunk could not be given back: %s", error)

    def _put_back_ahead(self, *, restart: bool = False) -> None:
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            if restart:
                self._close_worker()
            self._put_back(ahead)

    def _close_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
