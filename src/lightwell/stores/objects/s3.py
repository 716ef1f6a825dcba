"""Objects of an S3 bucket, by obstore.

An upload that a crash cut short stays hidden in the bucket, and costs, until the bucket's own rule removes
it: ``AbortIncompleteMultipartUpload`` of its lifecycle.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.objects import s3_client
from lightwell.stores.objects.interface import (
    MissingObjectError,
    ObjectWriter,
    check_round_trip,
    is_key,
    valid_key,
    valid_prefix,
)
from lightwell.stores.objects.local import storage_error

if TYPE_CHECKING:
    from obstore.store import S3Store

T = TypeVar("T")


class S3Objects:
    """The objects below ``prefix`` of ``bucket``. Nothing is opened before the first use."""

    def __init__(self, bucket: str, prefix: str, *, endpoint_url: str | None, region: str) -> None:
        self.address = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = prefix
        self._endpoint_url = endpoint_url
        self._region = region
        self._opened: S3Store | None = None

    def put(self, key: str, data: bytes) -> None:
        self._put(valid_key(key), data, len(data))

    def put_file(self, key: str, path: Path) -> None:
        try:
            with path.open("rb") as stream:
                self._put(valid_key(key), stream, os.fstat(stream.fileno()).st_size)
        except OSError as error:
            raise storage_error(error, f"{path} cannot be read") from error

    def _put(self, key: str, source: bytes | IO[bytes], size: int) -> None:
        import obstore

        def upload() -> int:
            several = size > s3_client.PART
            obstore.put(
                self._store,
                key,
                source,
                use_multipart=several,
                chunk_size=s3_client.PART,
                max_concurrency=s3_client.PARTS_AT_ONCE,
            )
            return obstore.head(self._store, key)["size"] if several else size

        found = self._do(key, upload)
        if found != size:
            raise StorageError(f"{self.address}/{key} has {found} bytes after {size} were written to it.")

    def writer(self, key: str, spool_dir: Path) -> ObjectWriter:
        return _SpooledWriter(self, valid_key(key), spool_dir)

    def read(self, key: str, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        import obstore

        def fetch() -> bytes:
            return bytes(obstore.get_range(self._store, valid_key(key), start=offset, length=length))

        data = self._do(key, fetch)
        if len(data) != length:
            raise StorageError(
                f"{self.address}/{key} ends at byte {offset + len(data)}, but {length} bytes from {offset} "
                "were requested: it is damaged; restore it from a backup."
            )
        return data

    def read_warm(self, key: str, offset: int, length: int) -> bytes | None:
        return None

    def get(self, key: str) -> bytes | None:
        import obstore

        with contextlib.suppress(MissingObjectError):
            return self._do(key, lambda: bytes(obstore.get(self._store, valid_key(key)).bytes()))
        return None

    def size(self, key: str) -> int | None:
        import obstore

        with contextlib.suppress(MissingObjectError):
            return self._do(key, lambda: int(obstore.head(self._store, valid_key(key))["size"]))
        return None

    def exists(self, key: str) -> bool:
        return self.size(key) is not None

    def delete(self, key: str) -> None:
        import obstore

        with contextlib.suppress(MissingObjectError):
            self._do(key, lambda: obstore.delete(self._store, valid_key(key)))

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        for found in self._found(prefix):
            yield found["path"], found["size"]

    def stale(self, prefix: str, older_than: int) -> Iterator[str]:
        for found in self._found(prefix):
            if found["last_modified"].timestamp() * 1000 < older_than:
                yield found["path"]

    def _found(self, prefix: str) -> Iterator[Any]:
        import obstore

        prefix = valid_prefix(prefix)
        chunks: Iterator[Any] = iter(self._do(prefix, lambda: obstore.list(self._store, prefix or None)))
        while chunk := self._do(prefix, lambda: next(chunks, None)):
            yield from (found for found in chunk if is_key(found["path"]))

    def sweep(self, older_than: int) -> int:
        return 0

    def check(self) -> None:
        check_round_trip(self, f"checks/{os.getpid()}")

    def close(self) -> None:
        self._opened = None

    @property
    def _store(self) -> S3Store:
        if self._opened is None:
            self._opened = s3_client.open_bucket(
                self._bucket, prefix=self._prefix, endpoint_url=self._endpoint_url, region=self._region
            )
        return self._opened

    def _do(self, key: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except (StorageError, RuntimeError):
            raise
        except Exception as error:
            where = f"{self.address}/{key}".rstrip("/")
            if s3_client.is_missing(error):
                raise MissingObjectError(
                    f"{where} is not there: was it removed by hand? Restore it from a backup."
                ) from None
            explained = s3_client.explain(error, where)
            # What S3 refuses to give us at all is there again once its administrator has mended it.
            passing = isinstance(explained, StorageUnavailableError) or s3_client.is_refusal(error)
            kind = StorageUnavailableError if passing else StorageError
            raise kind(f"{str(explained).rstrip('.')}.") from error


class _SpooledWriter:
    """Bytes go to a file without a name, which a crash takes along, and to S3 at the end."""

    def __init__(self, objects: S3Objects, key: str, spool_dir: Path) -> None:
        self._objects = objects
        self._key = key
        self._spool_dir = spool_dir
        self._size = 0
        try:
            # Closed by commit or abort.
            self._stream = tempfile.TemporaryFile(dir=spool_dir, buffering=1 << 18)  # noqa: SIM115
        except OSError as error:
            raise storage_error(error, f"{spool_dir} cannot be written to") from error

    def write(self, data: bytes | memoryview) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            raise storage_error(error, f"{self._spool_dir} cannot be written to") from error
        self._size += len(data)

    def commit(self) -> None:
        try:
            self._stream.flush()
            self._stream.seek(0)
        except OSError as error:
            raise storage_error(error, f"{self._spool_dir} cannot be written to") from error
        self._objects._put(self._key, self._stream, self._size)
        self._stream.close()

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
