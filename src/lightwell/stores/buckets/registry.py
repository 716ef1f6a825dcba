"""Buckets: where import jobs read files and write manifests, addressed as ``s3://NAME/key``.

A bucket is the folder ``BUCKETS_DIR/NAME`` where there is one, else a bucket of S3.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from lightwell.errors import InputError, StorageUnavailableError
from lightwell.stores.buckets.fetched import Fetched
from lightwell.stores.buckets.local import LocalBucket

# Bucket names as the service model has them in S3Uri.
_NAME = re.compile(r"[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9]")


class Bucket(Protocol):
    """One bucket. `InputError`: its owner can fix it; `StorageError`: it failed on our side."""

    def list(self, prefix: str, after: str = "") -> Iterator[tuple[str, int, str | None]]: ...

    def fetch(
        self,
        key: str,
        *,
        memory_limit: int,
        spool_dir: Path,
        listed: int | None = None,
        sealed: bool = False,
    ) -> Fetched: ...

    def put(self, key: str, data: bytes) -> None: ...

    def put_file(self, key: str, path: Path) -> None: ...

    def take_file(self, key: str, path: Path) -> None: ...

    def remove(self, keys: Sequence[str]) -> None: ...

    def remove_unfinished(self, folder: str) -> None: ...


class Buckets:
    """All buckets that this server can reach.

    ``root`` is BUCKETS_DIR; ``endpoint_url`` an S3 endpoint for buckets without a folder, AWS if None, with
    the usual ``AWS_…`` variables.
    """

    def __init__(
        self,
        root: Path,
        endpoint_url: str | None = None,
        region: str = "us-east-1",
        *,
        far_only: bool = False,
        near_only: bool = False,
    ) -> None:
        self.root = root.absolute()
        self.endpoint_url = endpoint_url
        self.region = region
        self._remote: dict[str, Bucket] = {}
        self._far_only = far_only
        self._near_only = near_only

    def far(self) -> Buckets:
        """The same without the local folders: every name means an S3 bucket.

        For jobs that another server may have read in part, for which such a name is not a folder.
        """
        return Buckets(self.root, self.endpoint_url, self.region, far_only=True)

    def near(self) -> Buckets:
        """The same without S3: `StorageUnavailableError` where there is no folder."""
        return Buckets(self.root, self.endpoint_url, self.region, near_only=True)

    def list(self, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
        """``(key, bytes)`` of every object whose key begins with ``prefix``, sorted by the key's UTF-8 bytes.

        Needs memory for some 200,000 names at a time, however many there are. Folder markers (no bytes, a
        slash at the end) are left out. What cannot be read (no permission, links that lead out of the
        bucket, pipes and devices) is listed, so that fetching it says why. Raises `InputError` if the
        bucket does not exist or must not be listed.
        """
        return ((key, size) for key, size, _ in self._bucket(bucket).list(prefix))

    def list_tagged(self, bucket: str, prefix: str, after: str = "") -> Iterator[tuple[str, int, str | None]]:
        """As `list`, with the tag of each object as `Fetched` has it.

        ``after`` may leave out keys up to this one: S3 does, in the order in which it lists.
        """
        return self._bucket(bucket).list(prefix, after)

    def fetch(
        self, bucket: str, key: str, *, memory_limit: int, spool_dir: Path, listed: int | None = None
    ) -> bytes | Path:
        """The object: bytes if it has at most ``memory_limit`` and comes over the network, else a file.

        The caller removes a file below ``spool_dir``; any other belongs to the bucket and must be left alone.
        It is one and the same object from beginning to end, whoever replaces it meanwhile.
        Raises `InputError` if the object does not exist or must not be read, or if it comes over the network
        and has more bytes than were ``listed``, for which there may be no room.
        """
        found = self.fetch_tagged(bucket, key, memory_limit=memory_limit, spool_dir=spool_dir, listed=listed)
        return found.content

    def fetch_tagged(
        self,
        bucket: str,
        key: str,
        *,
        memory_limit: int,
        spool_dir: Path,
        listed: int | None = None,
        sealed: bool = False,
    ) -> Fetched:
        """As `fetch`, and which object it was. ``sealed``: a file in ``spool_dir`` is encrypted."""
        return self._bucket(bucket).fetch(
            key, memory_limit=memory_limit, spool_dir=spool_dir, listed=listed, sealed=sealed
        )

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write an object, whole or not at all, replacing an existing one."""
        self._bucket(bucket).put(key, data)

    def put_file(self, bucket: str, key: str, path: Path) -> None:
        """As `put`, from a file, in bounded memory."""
        self._bucket(bucket).put_file(key, path)

    def take_file(self, bucket: str, key: str, path: Path) -> None:
        """As `put_file`, for a file that the bucket may have: it may be gone afterwards, or still there."""
        self._bucket(bucket).take_file(key, path)

    def remove(self, bucket: str, keys: Sequence[str]) -> None:
        """Remove objects, and folders that are empty then; those that do not exist are no error."""
        self._bucket(bucket).remove(keys)

    def remove_unfinished(self, bucket: str, folder: str) -> None:
        """Remove what processes that died were writing below a folder, which nobody writes in now.

        ``folder`` ends in a slash. S3 shows no such objects.
        """
        self._bucket(bucket).remove_unfinished(folder)

    def is_local(self, bucket: str) -> bool:
        """Whether the bucket is a local folder."""
        # For every file of an import: pathlib would take twice the time.
        named = not self._far_only and _NAME.fullmatch(bucket) is not None
        return named and os.path.isdir(f"{self.root}/{bucket}")  # noqa: PTH112

    def close(self) -> None:
        """Drop connections, for example before a fork."""
        self._remote.clear()

    def _bucket(self, name: str) -> Bucket:
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} is not a valid bucket name")
        if self.is_local(name):
            return LocalBucket(self.root / name, name)
        if self._near_only:
            raise StorageUnavailableError(f"The folder {self.root / name} is gone.")
        bucket = self._remote.get(name)
        if bucket is None:
            from lightwell.stores.buckets.s3 import S3Bucket

            where = f"there is no folder {self.root / name}"
            if self._far_only:
                where = f"the server that took the job has no folder {name} among its buckets"
            bucket = S3Bucket(name, endpoint_url=self.endpoint_url, region=self.region, no_folder=where)
            self._remote[name] = bucket
        return bucket
