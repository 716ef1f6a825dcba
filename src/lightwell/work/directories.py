"""What zip files and DICOMDIRs hold, and whether overrides can be used, as told by a codec worker.

They are untrusted bytes like the files that they list: a few kilobytes can be made to take gigabytes. So a
codec worker reads them, under its limits, and its death is a refusal of that file. What it tells is checked
again, since it may be the file that speaks.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from lightwell.codec_pool.messages import Look, Seen
from lightwell.codec_pool.process import WorkerDied, WorkerNotStarted, WorkerProcess
from lightwell.codec_pool.sandbox.grants import Grants, inputs_of, of_files
from lightwell.domain.imports.dicomdir_paths import MOST_BYTES, MOST_FILES, is_file_id
from lightwell.domain.imports.jobs import FILE_DEATHS, InputFile
from lightwell.errors import InputError, StorageError, StorageUnavailableError
from lightwell.settings import Settings
from lightwell.stores.buckets.registry import Buckets

_STEP_SECONDS = 0.5
_NICE = 5  # as the workers that read jobs
_NAME = 1 << 16  # the most bytes of a name in a zip file


class Directories:
    """Of one job. For one thread, which has to outlive it; to be used in a ``with`` block."""

    def __init__(
        self,
        settings: Settings,
        buckets: Buckets,
        spool: Path,
        source: bytes | None,
        *,
        far: bool,
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._buckets = buckets
        self._spool = spool
        self._inputs = inputs_of(source)
        self._far = far
        self._stopping = stopping
        self._numbers = itertools.count(1)
        self._worker: WorkerProcess | None = None

    def __enter__(self) -> Directories:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def members(self, path: Path) -> Iterator[tuple[str, int, int]]:
        """(name, bytes, index) of what a zip file holds and may be an instance.

        Raises `InputError` if it cannot be read, before the first or between two.
        """
        count = 0
        for seen in self._ask("zip", os.fsencode(path), str(path), self._of_path(path)):
            for name, size, index in seen.members:
                if len(name) > _NAME or size < 0 or index < 0:
                    raise InputError(f"{path} is no zip file that can be read: it lists what cannot be")
                yield name, size, index
            count += len(seen.members)
            if count > MOST_FILES:
                raise InputError(f"{path} has more than {MOST_FILES} members")

    def files(self, path: Path) -> list[str]:
        """The files that a DICOMDIR lists, relative to its folder. Raises `InputError` as `members` does."""
        found: list[str] = []
        total = 0
        for seen in self._ask("dicomdir", os.fsencode(path), str(path), self._of_path(path)):
            for names in seen.files:
                if not is_file_id(names):
                    raise InputError(f"{path} names a file outside of its folder")
                found.append("/".join(names))
                total += len(found[-1])
            if len(found) > MOST_FILES or total > MOST_BYTES:
                raise InputError(f"{path} lists more than can be, {len(found)} files: import their folder")
        return found

    def check_override(self, bucket: str, key: str) -> None:
        """Raises `InputError` if the object is not a JSON file of which an override can be made."""
        reach = of_files(self._settings, self._buckets, bucket, ())
        for _ in self._ask("override", os.fsencode(key), key, reach, bucket):
            pass

    def _of_path(self, path: Path) -> Grants:
        file = InputFile(0, "", ("file", str(path)), 0)
        return of_files(self._settings, self._buckets, "", [file], self._inputs)

    def _ask(self, kind: str, path: bytes, name: str, reach: Grants, bucket: str = "") -> Iterator[Seen]:
        for death in range(1, FILE_DEATHS + 1):
            told = False
            try:
                for seen in self._answers(kind, path, reach, bucket):
                    told = True
                    yield seen
                return
            except WorkerNotStarted as error:
                raise StorageUnavailableError(str(error)) from None
            except WorkerDied as error:
                self._close()
                # The first time may have been an operator's kill, as for files (`domain.imports.jobs`).
                if told or death == FILE_DEATHS:
                    raise InputError(
                        f"{name} cannot be read: it has ended its codec worker: {error}"
                    ) from None

    def _answers(self, kind: str, path: bytes, reach: Grants, bucket: str) -> Iterator[Seen]:
        number = next(self._numbers)
        worker = self._running(reach)
        limit = float(self._settings.file_timeout)
        worker.send(Look(number, kind, path, bucket, self._far))
        end = time.monotonic() + limit
        while True:
            answer = worker.receive(_STEP_SECONDS)
            if isinstance(answer, Seen) and answer.number == number:
                if answer.refusal is not None:
                    raise _error(answer.trouble, answer.refusal)
                if answer.is_last:
                    return
                yield answer
                end = time.monotonic() + limit
            elif self._stopping.is_set():
                raise StorageUnavailableError("The server is stopping; the job goes on at its next start.")
            elif answer is None and time.monotonic() > end:
                worker.kill(f"it took longer than {limit:.0f} seconds")

    def _running(self, reach: Grants) -> WorkerProcess:
        if self._worker is not None and not self._worker.reach.covers(reach):
            reach = self._worker.reach.joined(reach)
            self._close()
        if self._worker is None:
            self._worker = WorkerProcess(self._settings, self._spool, reach, nice=_NICE)
        return self._worker

    def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


def _error(trouble: str, message: str) -> InputError | StorageError:
    kinds = {"storage": StorageError, "unavailable": StorageUnavailableError}
    return kinds.get(trouble, InputError)(message)
