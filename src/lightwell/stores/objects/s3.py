"""Objects of an S3 bucket, by obstore.

An upload that a crash cut short stays hidden in the bucket, and costs, until the bucket's own rule removes
it: ``AbortIncompleteMultipartUpload`` of its lifecycle.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.objects import s3_client
from lightwell.stores.objects.block_cache import BlockCache
from lightwell.stores.objects.block_reader import READS, BlockReader
from lightwell.stores.objects.hedged_gets import Count
from lightwell.stores.objects.interface import (
    MissingObjectError,
    ObjectWriter,
    check_round_trip,
    is_key,
    valid_key,
    valid_prefix,
)
from lightwell.stores.objects.local import storage_error
from lightwell.stores.objects.spooled_writer import SpooledWriter

if TYPE_CHECKING:
    from obstore.store import S3Store

T = TypeVar("T")

_BATCH = 500


def _no_count(counter: str, value: str, by: int) -> None:
    """Nobody counts."""


class S3Objects:
    """The objects below ``prefix`` of ``bucket``. Nothing is opened before the first use."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint_url: str | None,
        region: str,
        cache: BlockCache | None = None,
        count: Count | None = None,
    ) -> None:
        self.address = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = prefix
        self._endpoint_url = endpoint_url
        self._region = region
        self._opened: S3Store | None = None
        self._cache = cache
        self._count = count or _no_count
        self._reading: tuple[int, BlockReader] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        self._put(valid_key(key), data, len(data))

    def put_file(self, key: str, path: Path) -> None:
        try:
            with path.open("rb") as stream:
                self._put(valid_key(key), stream, os.fstat(stream.fileno()).st_size)
        except OSError as error:
            raise storage_error(error, f"{path} cannot be read") from error

    def put_stream(self, key: str, stream: IO[bytes], size: int) -> None:
        self._put(valid_key(key), stream, size)

    def _put(self, key: str, source: bytes | IO[bytes], size: int) -> None:
        import obstore

        def upload() -> int:
            obstore.put(
                self._store,
                key,
                source,
                use_multipart=size > s3_client.PART,
                chunk_size=s3_client.PART,
                max_concurrency=s3_client.PARTS_AT_ONCE,
            )
            # Rows will say that it is there: that an upload was answered is not enough.
            return obstore.head(self._store, key)["size"]

        try:
            found = self._do(key, upload)
        except MissingObjectError as error:
            raise StorageUnavailableError(
                f"{self.address}/{key} is not there although S3 has answered that it stored it; check "
                "the storage and what stands before it."
            ) from error
        if found != size:
            raise StorageError(f"{self.address}/{key} has {found} bytes after {size} were written to it.")

    def writer(self, key: str, spool_dir: Path) -> ObjectWriter:
        valid_key(key)
        return SpooledWriter(spool_dir, lambda stream, size: self._put(key, stream, size))

    def read(self, key: str, offset: int, length: int) -> bytes:
        data = self.read_warm(key, offset, length)
        if data is not None:
            return data
        if self._cache is None:
            return self._read_uncached(key, offset, length)
        return self._reader(self._cache).read(valid_key(key), offset, length)

    def _read_uncached(self, key: str, offset: int, length: int) -> bytes:
        import obstore

        def fetch() -> bytes:
            return bytes(obstore.get_range(self._store, valid_key(key), start=offset, length=length))

        data = self._do(key, fetch)
        if len(data) != length:
            raise self._too_short(key, offset, len(data), length)
        return data

    def read_warm(self, key: str, offset: int, length: int) -> bytes | None:
        if not length:
            return b""
        data = None if self._cache is None else self._cache.read_warm(key, offset, length)
        if data is not None:
            self._count(READS, "warm", 1)
        return data

    def fetch(self, key: str, offset: int, length: int) -> Awaitable[bytes] | None:
        reader = None if self._cache is None else self._reader(self._cache)
        if reader is None or not reader.runs_on(asyncio.get_running_loop()):
            return None
        return reader.fetch(valid_key(key), offset, length)

    def expect(self, ranges: Sequence[tuple[str, int, int]]) -> None:
        """Whole windows of blocks are fetched ahead."""

    def follow(self, objects: Sequence[tuple[str, int]]) -> None:
        if self._cache is not None:
            self._reader(self._cache).follow(objects)

    def use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if self._cache is not None:
            loop.run_in_executor(None, self._reader(self._cache).prepare)

    def read_again(self, key: str, offset: int, length: int) -> bytes:
        self._forget(key)
        return self._read_uncached(key, offset, length)

    def past_cache(self) -> S3Objects:
        return S3Objects(self._bucket, self._prefix, endpoint_url=self._endpoint_url, region=self._region)

    def sweep_cache(self, exist: Callable[[Sequence[str]], set[str]]) -> int:
        if self._cache is None:
            return 0
        self._cache.forget_removed()
        keys = sorted(self._cache.keys())
        dropped = 0
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            for key in set(batch) - exist(batch):
                self._forget(key)
                dropped += 1
        return dropped

    def _reader(self, cache: BlockCache) -> BlockReader:
        """This process's own, made on first use."""
        reading = self._reading
        if reading is None or reading[0] != os.getpid():
            with self._lock:
                reading = self._reading
                if reading is None or reading[0] != os.getpid():
                    reader = BlockReader(
                        self._open_brief, cache, self._explained, self._too_short, self._count, self._loop
                    )
                    reading = self._reading = os.getpid(), reader
        return reading[1]

    def _open_brief(self) -> S3Store:
        return s3_client.open_bucket(
            self._bucket,
            prefix=self._prefix,
            endpoint_url=self._endpoint_url,
            region=self._region,
            patience="none",
        )

    def _forget(self, key: str) -> None:
        if self._reading is not None and self._reading[0] == os.getpid():
            self._reading[1].forget(key)
        elif self._cache is not None:
            self._cache.drop(key)

    def _too_short(self, key: str, offset: int, found: int, wanted: int) -> StorageError:
        return StorageError(
            f"{self.address}/{key} ends at byte {offset + found}, but {wanted} bytes from {offset} "
            "were requested: it is damaged; restore it from a backup."
        )

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
        self._forget(key)

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
        check_round_trip(self)

    def close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None and reading[0] == os.getpid():
            reading[1].close()
        if self._cache is not None:
            self._cache.close()
        self._opened = self._loop = None

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
            raise self._explained(key, error) from error

    def _explained(self, key: str, error: Exception) -> StorageError:
        where = f"{self.address}/{key}".rstrip("/")
        if s3_client.is_missing(error):
            self._forget(key)
            return MissingObjectError(
                f"{where} is not there: was it removed by hand? Restore it from a backup."
            )
        explained = s3_client.explain(error, where)
        # What S3 refuses to give us at all is there again once its administrator has mended it.
        passing = isinstance(explained, StorageUnavailableError) or s3_client.is_refusal(error)
        kind = StorageUnavailableError if passing else StorageError
        return kind(f"{str(explained).rstrip('.')}.")
