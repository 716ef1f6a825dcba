"""The packs of local storage for a codec worker: the engine opens what it reads, and keeps what it stages."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lightwell.codec_pool.far_storage.client import FarClient
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.objects.interface import ObjectWriter
from lightwell.stores.objects.local import storage_error
from lightwell.stores.objects.staging import staged_path


class LentPacks:
    """What codec workers need of `stores.objects.interface.Objects`.

    ``staging`` is this worker's folder, None for the reason ``why`` where none could be made. `forget` has to
    be called when a file or a request is done: what stays open a later file could read.
    """

    def __init__(self, client: FarClient, address: str, staging: Path | None, why: str = "") -> None:
        self._client = client
        self._staging = staging
        self._why = why
        self._opened: dict[str, int] = {}
        self.address = address

    def read(self, key: str, offset: int, length: int) -> bytes:
        """As `Objects.read`; for one thread."""
        fd = self._descriptor(key)
        parts: list[bytes] = []
        try:
            while length > 0 and (part := os.pread(fd, length, offset)):
                parts.append(part)
                offset, length = offset + len(part), length - len(part)
        except OSError as error:
            raise storage_error(error, f"{self.address}/{key} cannot be read") from error
        if length > 0:
            raise StorageError(
                f"{self.address}/{key} ends at byte {offset}, but {length} more were requested: it is "
                "damaged; restore it from a backup."
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_again(self, key: str, offset: int, length: int) -> bytes:
        return self.read(key, offset, length)

    def size(self, key: str) -> int | None:
        return self._client.size(key)

    def writer(self, key: str, spool_dir: Path) -> ObjectWriter:
        if self._staging is None:
            raise StorageUnavailableError(self._why)
        return _StagedWriter(self._client, key, staged_path(self._staging, key))

    def forget(self) -> None:
        """Close what was opened to be read."""
        while self._opened:
            os.close(self._opened.popitem()[1])

    def _descriptor(self, key: str) -> int:
        fd = self._opened.get(key)
        if fd is None:
            fd = self._opened[key] = self._client.open_pack(key)
        return fd


class _StagedWriter:
    """A file of the worker's own folder, which `commit` hands in."""

    def __init__(self, client: FarClient, key: str, path: Path) -> None:
        self._client = client
        self._key = key
        self._path: Path | None = path
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._stream = os.fdopen(fd, "wb", buffering=1 << 18)
        except OSError as error:
            self._path = None
            raise storage_error(error, f"{path} cannot be written to") from error

    def write(self, data: bytes | memoryview) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            raise storage_error(error, f"{self._path} cannot be written") from error

    def commit(self) -> None:
        try:
            # The engine takes no file that is open for writing.
            self._stream.close()
        except OSError as error:
            raise storage_error(error, f"{self._path} cannot be written") from error
        self._client.keep(self._key)
        self._path = None

    def abort(self) -> None:
        path, self._path = self._path, None
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()
            with contextlib.suppress(OSError):
                self._stream.close()  # the disk may be full; the bytes are not needed
