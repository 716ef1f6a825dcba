"""The place of one codec worker: started on demand, watched, and blamed when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from lightwell.codec_pool.admission import Admission
from lightwell.codec_pool.answers.forged import ForgedAnswerError
from lightwell.codec_pool.failures import Cause
from lightwell.codec_pool.far_storage.server import FarStorage
from lightwell.codec_pool.messages import FileStarted, FromWorker, ToWorker
from lightwell.codec_pool.process import WorkerDied, WorkerNotStarted, WorkerProcess
from lightwell.settings import Settings
from lightwell.stores import Stores

# Whoever waits for a worker looks about so often.
STEP_SECONDS = 0.5
_IDLE_SECONDS = 60.0
# So long a worker may ask for stored bytes in all, over one file; the file itself comes in its time.
_LONGEST_WAIT = 3600.0

TimeLimit = Callable[[int, int | None], float]
"""How many seconds a worker may take over a task's file, or over what it does between files (None)."""


class WorkerEnded(Exception):
    """The worker has ended, or could not be started; ``str()`` of it says why.

    ``cause`` is NOT_STARTED, DIED, TIMED_OUT, DIED_BETWEEN_FILES or FORGED; ``task`` and ``file`` are what it
    was on, or what it gave a forged answer about.
    """

    def __init__(self, reason: str, cause: Cause, task: int, file: int | None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.task = task
        self.file = file


class WorkerSlot:
    """At most one worker at a time. For one thread, which has to outlive the worker.

    `start`, `send` and `receive` raise `WorkerEnded`; there is no worker then, and the next `start` starts
    another. ``quiet`` and ``nice`` as for `WorkerProcess`.
    """

    def __init__(
        self, settings: Settings, stores: Stores, limit: TimeLimit, *, quiet: bool = False, nice: int = 0
    ) -> None:
        self._settings = settings
        self._storage = FarStorage.of(stores)
        self._limit = limit
        self._quiet = quiet
        self._nice = nice
        self._worker: WorkerProcess | None = None
        self._admission: Admission | None = None
        self._task = 0
        self._file: int | None = None
        self._seconds = 0.0
        self._watched_at = self._deadline = 0.0
        self._is_late = False
        self._used = time.monotonic()

    @property
    def pid(self) -> int | None:
        """The process id of the worker, if there is one. For any thread."""
        worker = self._worker
        return worker.pid if worker else None

    def start(self) -> None:
        """Have a worker."""
        self._used = time.monotonic()
        if self._worker is not None:
            return
        try:
            self._worker = WorkerProcess(self._settings, self._storage, quiet=self._quiet, nice=self._nice)
        except WorkerNotStarted as error:
            raise WorkerEnded(str(error), Cause.NOT_STARTED, 0, None) from error
        self._admission = Admission(self._worker.pack_size)
        self._is_late = False

    def watch(self, task: int, file: int | None) -> None:
        """From now on the worker is on this file, or between files: its time begins anew."""
        self._task, self._file = task, file
        self._seconds = self._limit(task, file)
        self._watched_at = time.monotonic()
        self._deadline = self._watched_at + self._seconds

    def send(self, message: ToWorker) -> None:
        worker = self._running()
        self._admitting().told(message)
        try:
            worker.send(message)
        except WorkerDied as death:
            raise self._ended(death) from None

    def receive(self, seconds: float = STEP_SECONDS) -> FromWorker | None:
        """The next message, None if none comes within ``seconds``. A worker that is late is killed, and so is
        one that says what it cannot know (`codec_pool.admission`). Raises `StorageError` where that cannot be
        found out.
        """
        worker = self._running()
        try:
            message = worker.receive(seconds)
            if message is not None:
                self._admitting().admit(message)
        except WorkerDied as death:
            raise self._ended(death) from None
        except ForgedAnswerError as forged:
            self.close()
            task = self._task if forged.task is None else forged.task
            file = self._file if task == self._task else None
            raise WorkerEnded(str(forged), Cause.FORGED, task, file) from None
        self._used = time.monotonic()
        if isinstance(message, FileStarted):
            self.watch(message.task, message.file)
        elif message is None and self._used > self._deadline:
            is_patient = self._used < self._watched_at + self._seconds + _LONGEST_WAIT
            if worker.waits_for_storage(between_files=self._file is None, may_ask=is_patient):
                # It is not late itself, and what it waits for comes to an end, unless it asks without end.
                self._deadline = self._used + self._seconds
                return None
            self._is_late = True
            worker.kill(f"it took longer than {self._seconds:.0f} seconds")
        return message

    def close_if_idle(self) -> None:
        """End a worker that has had nothing to do for a minute."""
        if self._worker is not None and time.monotonic() - self._used > _IDLE_SECONDS:
            self.close()

    def close(self) -> None:
        """End the worker, whatever it is at."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _running(self) -> WorkerProcess:
        assert self._worker is not None, "start comes first"
        return self._worker

    def _admitting(self) -> Admission:
        assert self._admission is not None, "start comes first"
        return self._admission

    def _ended(self, death: WorkerDied) -> WorkerEnded:
        self.close()
        if self._file is None:
            cause = Cause.DIED_BETWEEN_FILES
        else:
            cause = Cause.TIMED_OUT if self._is_late else Cause.DIED
        return WorkerEnded(str(death), cause, self._task, self._file)
