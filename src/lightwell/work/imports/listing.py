"""The input of an import job as one stream of files in a fixed order."""

from __future__ import annotations

import itertools
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightwell.domain.imports.jobs import Job, split_uri
from lightwell.domain.imports.listing_progress import ListingProgress
from lightwell.errors import InputError, LightwellError
from lightwell.stores.buckets.registry import Buckets
from lightwell.work.imports.directories import Directories

_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that listing has found, before it gets the number that makes it an `InputFile`.

    ``refusal`` says why it cannot even be tried, ``error`` is AWS's name for that. ``tag`` as in `InputFile`.
    """

    name: str
    location: tuple[str, ...] | None
    size: int
    refusal: str | None = None
    error: str = InputError.exception_type
    tag: str | None = None


def folder_prefix(buckets: Buckets, bucket: str, prefix: str) -> str:
    """The prefix of keys that an input URI means.

    ``a/b`` without a trailing slash means the folder ``a/b/`` if there is anything in it, otherwise every key
    that begins with it, as in S3.
    """
    if prefix and not prefix.endswith("/") and next(buckets.list(bucket, f"{prefix}/"), None) is not None:
        return f"{prefix}/"
    return prefix


class OrderLost(LightwellError):
    """A bucket does not list its keys in order, so it is not known what came after one of them."""


class BucketListing:
    """The objects below a prefix by key, after the key ``after`` or from the beginning.

    ``leave_out``: keys. ``is_ordered``: whether another listing may go on after a key that this one has
    given; not in a folder, which is listed in no time.
    """

    def __init__(self, buckets: Buckets, bucket: str, prefix: str, leave_out: frozenset[str]) -> None:
        self._buckets = buckets
        self._bucket = bucket
        self.prefix = prefix
        self._leave_out = leave_out
        self.is_ordered = not buckets.is_local(bucket)

    def files(self, after: str = "") -> Iterator[ListedFile]:
        """Raises `OrderLost` where it has begun after a key and one comes that is not."""
        last = after.encode()
        for key, size, tag in self._buckets.list_tagged(self._bucket, self.prefix, after):
            if self.is_ordered:
                this = key.encode()
                if this <= last:
                    if after:
                        raise OrderLost(key)
                    self.is_ordered = False
                last = this
            if key not in self._leave_out and not (key.endswith("/") and size == 0):
                yield ListedFile(key, None, size, tag=tag)


def is_local(buckets: Buckets, job: Job) -> bool:
    """Whether the job's input URI is that of a folder."""
    return buckets.is_local(split_uri(job.input_uri)[0])


def bucket_listing(
    buckets: Buckets, job: Job, leave_out: frozenset[str], before: ListingProgress | None = None
) -> BucketListing:
    """Of the job's input URI, as an attempt ``before`` has understood it."""
    bucket, prefix = split_uri(job.input_uri)
    prefix = folder_prefix(buckets, bucket, prefix) if before is None else before.prefix
    return BucketListing(buckets, bucket, prefix, leave_out)


def list_sources(buckets: Buckets, source: bytes, directories: Directories) -> Iterator[ListedFile]:
    """What `lightwell import` was given: files, folders, zip files, a DICOMDIR, s3 URIs, in that order."""
    for name in json.loads(source):
        if name.startswith("s3://"):
            bucket, prefix = split_uri(name)
            for key, size, tag in buckets.list_tagged(bucket, folder_prefix(buckets, bucket, prefix)):
                yield ListedFile(key, ("s3", bucket, key), size, tag=tag)
        else:
            yield from _path(Path(name), directories)


def _path(path: Path, directories: Directories) -> Iterator[ListedFile]:
    if path.is_dir():
        yield from _folder(path, directories)
    elif path.name.upper() == "DICOMDIR":
        yield from _dicomdir(path, directories)
    else:
        yield from _file(path, directories)


def _folder(folder: Path, directories: Directories) -> Iterator[ListedFile]:
    """All files below a folder but DICOMDIRs: the files that one lists are below the folder, too."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.upper() != "DICOMDIR":
                yield from _file(Path(place, name), directories)


def _file(path: Path, directories: Directories) -> Iterator[ListedFile]:
    name = _printable(str(path))
    try:
        # Never wait: opening a pipe without a writer would block.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                yield ListedFile(name, None, 0, f"{name} is not a file but a pipe, socket or device")
                return
            size = status.st_size
            is_zip = stream.read(4) == _ZIP
    except OSError as error:
        yield ListedFile(name, None, 0, f"{name} cannot be read: {error.strerror}")
        return
    if is_zip:
        yield from _zip(path, directories)
    else:
        yield ListedFile(name, ("file", str(path)), size)


def _zip(path: Path, directories: Directories) -> Iterator[ListedFile]:
    name = _printable(str(path))
    try:
        for member, size, index in directories.members(path):
            location = ("zip", str(path), member, str(index))
            yield ListedFile(f"{name}/{_printable(member)}", location, size)
    except InputError as error:
        yield ListedFile(name, None, 0, _printable(str(error)))


def _dicomdir(path: Path, directories: Directories) -> Iterator[ListedFile]:
    """The files that a DICOMDIR lists: as named there, or in lower case, as many media are copied."""
    name = _printable(str(path))
    try:
        files = directories.files(path)
    except InputError as error:
        yield ListedFile(name, None, 0, _printable(str(error)))
        return
    for listed in files:
        file, lower = path.parent / listed, path.parent / listed.lower()
        yield from _file(lower if not file.exists() and lower.exists() else file, directories)


def _printable(name: str) -> str:
    """A name that the manifests and the tables can hold, even if its bytes are not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "")


def peek(listed: Iterator[ListedFile]) -> Iterator[ListedFile] | None:
    """The same stream, or None if it is empty."""
    first = next(listed, None)
    return None if first is None else itertools.chain([first], listed)
