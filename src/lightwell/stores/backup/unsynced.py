"""Objects in a folder that are written without waiting for the disk for each: it is waited for once, for all.

For a place that nobody uses before that: what a crash of the machine leaves there is read again and compared.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from lightwell.errors import StorageError
from lightwell.stores.objects.local import LocalObjects, make_folders, storage_error, sync_folder

_BLOCK = 4 << 20


class UnsyncedObjects(LocalObjects):
    """`put_stream` and `put_blocks` do not wait for the disk; `sync` does."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._folders: set[Path] = set()
        self._making = threading.Lock()

    def put_stream(self, key: str, stream: IO[bytes], size: int) -> None:
        def blocks() -> Iterator[bytes]:
            left = size
            while block := stream.read(_BLOCK):
                left -= len(block)
                yield block
            if left:
                raise StorageError(f"{self._path(key)} is not written: the source has changed meanwhile.")

        self.put_blocks(key, blocks())

    def put_blocks(self, key: str, blocks: Iterator[bytes] | Iterator[memoryview]) -> None:
        """Write an object piece by piece; there is none if ``blocks`` raises."""
        path = self._path(key)
        part = path.with_name(f".{path.name}")  # no key, so no listing shows it
        try:
            self._make(path.parent)
            with part.open("wb", buffering=0) as file:
                for block in blocks:
                    rest = memoryview(block)
                    while rest:
                        rest = rest[file.write(rest) :]
            part.rename(path)
        except OSError as error:
            raise storage_error(error, f"{path} cannot be written", writing=True) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        with self._making:
            if folder not in self._folders:
                make_folders(folder)
                self._folders.add(folder)

    def sync(self, keys: Iterable[str]) -> None:
        """Have these objects on the disk.

        Raises `StorageError` if that fails. What the disk has not taken is removed: it can be read, and
        compared, for as long as it is in memory, and another fsync would claim success.
        """
        os.sync()  # all at once; what follows finds little to do, and tells of a disk that has failed
        failed: StorageError | None = None
        folders = {self.root}
        for key in keys:
            path = self._path(key)
            folders.add(path.parent)
            try:
                _sync(path)
            except OSError as error:
                _remove(path)
                failed = failed or storage_error(error, f"{path} cannot be written", writing=True)
        for folder in sorted(folders):
            try:
                sync_folder(folder)
            except OSError as error:
                for path in folder.iterdir():
                    _remove(path)
                failed = failed or storage_error(error, f"{folder} cannot be written", writing=True)
        if failed is not None:
            raise failed


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # it is a folder, or nothing can be changed there any more
        path.unlink()
