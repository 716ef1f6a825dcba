"""What zip files and DICOMDIRs list, and whether overrides can be used, as a codec worker tells it.

They are untrusted bytes like the files that they list: a few kilobytes can be made to take gigabytes. So a
codec worker reads them, under its limits, and if it dies, that file is refused. What it tells is checked
again, since the file may have taken it over.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from lightwell.codec_pool.failures import INSPECTION, Cause
from lightwell.codec_pool.messages import InputInspected, InputKind, InspectInput
from lightwell.codec_pool.slot import WorkerEnded, WorkerSlot
from lightwell.domain.imports.dicomdir_paths import MOST_BYTES, MOST_FILES, is_file_id
from lightwell.errors import InputError, StorageError, StorageUnavailableError
from lightwell.settings import Settings
from lightwell.stores import Stores

_NICE = 5  # as the workers that read jobs
_NAME = 1 << 16  # the most bytes of a name in a zip file


class Directories:
    """Those of one job. For one thread, which has to outlive it; to be used in a ``with`` block."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        *,
        far: bool,
        stopping: threading.Event,
    ) -> None:
        self._slot = WorkerSlot(settings, stores, lambda task, file: float(settings.file_timeout), nice=_NICE)
        self._far = far
        self._stopping = stopping
        self._tasks = itertools.count(1)

    def __enter__(self) -> Directories:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slot.close()

    def members(self, path: Path) -> Iterator[tuple[str, int, int]]:
        """(name, bytes, index) of each member of a zip file that may be an instance.

        Raises `InputError` if the file cannot be read, even after some members.
        """
        count = 0
        for page in self._inspect("zip", os.fsencode(path), str(path)):
            for name, size, index in page.members:
                if len(name) > _NAME or size < 0 or index < 0:
                    raise InputError(f"{path} cannot be read as a zip file: its directory is not valid")
                yield name, size, index
            count += len(page.members)
            if count > MOST_FILES:
                raise InputError(f"{path} has more than {MOST_FILES} members")

    def files(self, path: Path) -> list[str]:
        """The files that a DICOMDIR lists, relative to its folder. Raises `InputError` as `members` does."""
        found: list[str] = []
        total = 0
        for page in self._inspect("dicomdir", os.fsencode(path), str(path)):
            for names in page.files:
                if not is_file_id(names):
                    raise InputError(f"{path} names a file outside its folder")
                found.append("/".join(names))
                total += len(found[-1])
            if len(found) > MOST_FILES or total > MOST_BYTES:
                raise InputError(f"{path} lists too many files, {len(found)}: import their folder instead")
        return found

    def check_override(self, bucket: str, key: str) -> None:
        """Raises `InputError` if the object is not a JSON file that can be used as an override."""
        for _ in self._inspect("override", os.fsencode(key), key, bucket):
            pass

    def _inspect(self, kind: InputKind, path: bytes, name: str, bucket: str = "") -> Iterator[InputInspected]:
        for failures in itertools.count(1):
            pages = 0
            try:
                for page in self._pages(kind, path, bucket):
                    pages += 1
                    yield page
                return
            except WorkerEnded as end:
                consequence = INSPECTION[end.cause]
                if consequence.tries is None:
                    raise StorageUnavailableError(str(end)) from None
                if pages or consequence.is_final(failures):
                    raise InputError(consequence.text(str(end), name)) from None

    def _pages(self, kind: InputKind, path: bytes, bucket: str) -> Iterator[InputInspected]:
        task = next(self._tasks)
        self._slot.start()
        self._slot.watch(task, 0)
        self._slot.send(InspectInput(task, kind, path, bucket, self._far))
        while True:
            page = self._slot.receive()
            if isinstance(page, InputInspected) and page.task == task:
                if page.cause is not None:
                    raise _error(page.cause, page.reason)
                if page.is_last:
                    return
                yield page
                self._slot.watch(task, 0)
            elif self._stopping.is_set():
                raise StorageUnavailableError("The server is stopping; the job goes on at its next start.")


def _error(cause: Cause, reason: str) -> InputError | StorageError:
    consequence = INSPECTION[cause]
    if consequence.tries is None:
        return StorageUnavailableError(reason)
    return InputError(reason) if consequence.blames == "file" else StorageError(reason)
