"""Uploads in the spool: files that exist for as long as their requests.

Each is locked by the process that writes it. One that is not locked was left by a process that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.data_folder.free_space import is_scarce
from lightwell.stores.data_folder.process_lock import locked
from lightwell.stores.data_folder.sealed_files import FileGrant, FileKey, FileOpener, FileSealer
from lightwell.stores.objects.local import storage_error

_PREFIX = "upload-"
# Buffers in one call of writev; POSIX guarantees 16, Linux 1024.
_AT_ONCE = 512


class Upload:
    """A file in the spool, written sequentially; `remove` must be called.

    ``sealed``: its bytes are encrypted, and only this object and whoever has its ``key`` can read them; by
    what is ``granted``, who has that, too.
    ``size`` are those that were written to it.
    """

    def __init__(self, spool: Path, *, sealed: bool = False, granted: FileGrant | None = None) -> None:
        self.size = 0
        self.key: FileKey | None = None
        self._sealed: list[bytes | memoryview] = []
        self._sealer = FileSealer(self._sealed.append, granted) if sealed else None
        self._opener: FileOpener | None = None
        # The upload of an aborted request is removed while a thread may still be writing, which must never
        # write to a descriptor that has become another file's.
        self._lock = threading.Lock()
        try:
            while True:
                self._fd, name = tempfile.mkstemp(prefix=_PREFIX, dir=spool)
                self.path = Path(name)
                fcntl.flock(self._fd, fcntl.LOCK_EX)
                # A sweep between the two calls may have removed it.
                if os.fstat(self._fd).st_nlink:
                    return
                os.close(self._fd)
        except OSError as error:
            raise storage_error(error, f"{spool} cannot be written to") from error

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append. Raises `StorageError`, also where too little of the disk would be left for packs."""
        if self._sealer is None:
            self.size += self._write(pieces)
            return
        for piece in pieces:
            self._sealer.write(piece)
        self._write_sealed()
        self.size += sum(map(len, pieces))

    def finish(self) -> FileKey | None:
        """What opens the file, None where it is not sealed. Nothing can be written to a sealed one then.

        Raises `StorageError` as `write`.
        """
        if self._sealer is not None and self.key is None:
            key = self._sealer.finish()
            self._write_sealed()
            self.key, self._opener = key, FileOpener(key)
        return self.key

    def _write_sealed(self) -> None:
        self._write(self._sealed)
        self._sealed.clear()

    def _write(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Returns how many bytes."""
        waiting = [memoryview(piece) for piece in pieces if len(piece)]
        written = 0
        try:
            if waiting and self._lacks_room(sum(len(piece) for piece in waiting)):
                raise StorageUnavailableError(
                    f"{self.path.parent} takes no more, since its disk is nearly full: make room, nothing "
                    "was lost."
                )
            while waiting:
                with self._lock:
                    count = os.writev(self._fd, waiting[:_AT_ONCE])
                written += count
                while waiting and count >= len(waiting[0]):
                    count -= len(waiting.pop(0))
                if count:
                    waiting[0] = waiting[0][count:]
        except OSError as error:
            raise storage_error(error, f"{self.path} cannot be written") from error
        return written

    def _lacks_room(self, more: int) -> bool:
        with self._lock:
            return self._fd >= 0 and is_scarce(self._fd, more)

    def head(self, offset: int, length: int) -> bytes:
        """Bytes at ``offset``; fewer at the end of the file, none of a sealed one that is not finished."""
        with contextlib.suppress(OSError, StorageError), self._lock:
            if self._sealer is None:
                return os.pread(self._fd, length, offset)
            if self._opener is not None:
                return self._opener.read(self._fd, offset, length)
        return b""

    def remove(self) -> None:
        """Remove the file; a second call does nothing."""
        with self._lock:
            if self._fd < 0:
                return
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._fd)
            self._fd = -1


def sweep(spool: Path) -> int:
    """Remove the uploads of processes that have ended. Returns how many. May run during uploads."""
    removed = 0
    for path in spool.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), locked(path):
            path.unlink()
            removed += 1
    return removed
