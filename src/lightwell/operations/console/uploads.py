"""Uploads: files sent one by one into a bucket of the server's own, for an import job to read.

HealthImaging has no such operations: its users bring files to S3 by other means. The job that reads them is
an ordinary one, StartDICOMImportJob with what `begin` says, so that a dropped series becomes one version.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.domain import page_tokens
from lightwell.domain.arn import datastore_arn, role_arn
from lightwell.domain.datastore import DataStore
from lightwell.domain.imports import uploads as domain
from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.uploads import Arrived, FileDigest, Upload, UploadedFile
from lightwell.domain.states import DatastoreStatus, JobPhase, JobStatus
from lightwell.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    InputError,
    NotFoundError,
    StorageError,
    TooLargeError,
    UnavailableError,
    ValidationError,
)
from lightwell.operations.console.declared import Declared
from lightwell.operations.import_jobs import has_engine_here, nodes_of_buckets
from lightwell.stores.account import datastores, roles
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.data_folder.uploads import Upload as SpoolFile
from lightwell.stores.jobs import uploads

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.operations.context import Context
    from lightwell.stores.buckets.registry import Buckets

__all__ = ["FileDigest", "SpoolFile"]

PAGE = 1000
MOST_FILES = 1_000_000
# Uploads of one caller that are not removed yet.
_MOST_UPLOADS = 100
# Bytes of the files that this process is receiving now, and those of them that go to S3.
_arriving = _spooled = 0
_declared = Declared()
# Space that no upload may take: of the disk, and at most.
_RESERVED_SHARE, _MOST_RESERVED = 20, 1 << 30


@dataclass(frozen=True, slots=True)
class UploadState:
    """An upload, how much of it is there, and the last job that was to read it.

    ``left``: how many files that job has not imported although they are DICOM; None before it has ended.
    """

    upload: Upload
    files: int
    size: int
    job: Job | None
    last_at: int | None = None
    left: int | None = None

    @property
    def kept_until(self) -> int | None:
        """When it is removed if nobody goes on with it; None while a job reads it."""
        last_at = max(self.upload.created_at, self.last_at or 0)
        if self.job is None:
            return last_at + domain.KEEP_MS
        return None if self.job.ended_at is None else max(self.job.ended_at, last_at) + domain.KEEP_MS


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file goes: ``folder`` and ``key`` together are the object's. ``noted``: what has that name."""

    upload: Upload
    bucket: str
    folder: str
    key: str
    name: str
    noted: UploadedFile | None

    @property
    def object(self) -> str:
        return self.folder + self.key

    @property
    def uri(self) -> str:
        """The ``inputS3Uri`` of the upload's import job."""
        return f"s3://{self.bucket}/{self.folder}"


def passed_role(ctx: Context, datastore_id: str) -> str:
    """The ARN of the role that the import job of an upload names."""
    return role_arn(ctx.settings.account_id, domain.role_name(datastore_id))


def begin(ctx: Context, datastore_id: str, *, name: str, files: int, size: int) -> Upload:
    """A new upload of so many files and bytes, called ``name``.

    Raises `NotFoundError`, `ConflictError` for a data store that is not ACTIVE or if the caller has too many,
    `ValidationError` if there is no bucket for it or nobody to read it there, `UnavailableError` if the disk
    has no room for it.
    """
    now, id = ctx.clock.now(), ctx.ids.id()
    bucket = ctx.settings.upload_bucket
    _make_bucket(ctx, bucket)
    # Now rather than at the end, when everything has been sent.
    input_node, _ = nodes_of_buckets(
        ctx,
        [domain.input_uri(bucket, datastore_id, id)],
        domain.output_uri(bucket, datastore_id),
        has_engine_here,
    )
    if ctx.stores.buckets.is_local(bucket):
        _check_room(ctx, bucket, size)
    _make_role(ctx, bucket, datastore_id, now)

    def work(conn: Connection) -> Upload:
        store = _active(conn, datastore_id)
        if len(uploads.of_caller(conn, store.key, ctx.caller.owner, _MOST_UPLOADS)) >= _MOST_UPLOADS:
            raise ConflictError(
                f"You have {_MOST_UPLOADS} uploads to this data store that are not finished. Finish or "
                "discard some of them."
            )
        new = Upload(
            id=id,
            datastore=store.key,
            caller=ctx.caller.owner,
            name=name,
            files=files,
            size=size,
            node=input_node,
            created_at=now,
        )
        uploads.add(conn, new)
        return new

    return ctx.stores.db.write(work)


def of_caller(ctx: Context, datastore_id: str) -> list[UploadState]:
    """The caller's uploads to a data store, newest first: at most 100."""
    with ctx.stores.db.read() as conn:
        store = _known(conn, datastore_id)
        found = uploads.of_caller(conn, store.key, ctx.caller.owner, _MOST_UPLOADS)
        arrived = uploads.arrived(conn, [each.id for each in found])
        return [_state(conn, each, arrived, _job(ctx, conn, store, each)) for each in found]


def get(ctx: Context, datastore_id: str, upload_id: str) -> UploadState:
    """One upload of the caller. Raises `NotFoundError`."""
    with ctx.stores.db.read() as conn:
        store, upload = _find(ctx, conn, datastore_id, upload_id)
        return _state(conn, upload, uploads.arrived(conn, [upload.id]), _job(ctx, conn, store, upload))


def arrived_page(
    ctx: Context, datastore_id: str, upload_id: str, next_token: str | None, limit: int
) -> tuple[list[UploadedFile], str | None]:
    """The files of an upload that are there, by key, and the token of the next page."""
    after = ""
    if next_token is not None:
        (key,) = page_tokens.decode(next_token, str)
        after = str(key)
    with ctx.stores.db.read() as conn:
        _, upload = _find(ctx, conn, datastore_id, upload_id)
        found = uploads.files(conn, upload.id, after, limit + 1)
    shown = found[:limit]
    return shown, page_tokens.encode([shown[-1].key]) if len(found) > limit else None


def target(ctx: Context, datastore_id: str, upload_id: str, name: str, size: int) -> Target:
    """Where a file of ``size`` bytes goes, before any of it is received.

    Raises `ValidationError` for a name that cannot be used, `NotFoundError`, `ConflictError` for an upload
    that is being imported, `TooLargeError`, `UnavailableError` if the disk has no room.
    """
    if (fault := domain.name_fault(name)) is not None:
        raise ValidationError(f"The name of the file cannot be used: {fault}.")
    most = ctx.settings.import_max_file_bytes
    if most and size > most:
        raise TooLargeError(f"The file has {size} bytes; one file of an import job may have {most} at most.")
    key = domain.key_of(name)
    with ctx.stores.db.read() as conn:
        store, upload = _find(ctx, conn, datastore_id, upload_id)
        noted = uploads.file(conn, upload.id, key)
        job = _job(ctx, conn, store, upload)
        has_row = noted is not None
    if job is not None and not has_row:
        raise _has_begun()
    if upload.node not in (None, NOBODY, ctx.stores.node_id):
        raise ValidationError(
            "This upload is in a folder of another server. Set console_bucket to a bucket of S3 that all "
            "servers reach, or let the proxy send one person's requests to one server."
        )
    bucket = ctx.settings.upload_bucket
    _check_room(ctx, bucket, size)
    return Target(upload, bucket, domain.folder(datastore_id, upload.id), key, name, noted)


def is_there(target: Target, digest: str, size: int) -> bool:
    """Whether this very file has arrived before. Raises `ConflictError` if another one of that name has."""
    noted = target.noted
    if noted is None:
        return False
    if (noted.digest, noted.size) == (digest, size) and noted.name == target.name:
        return True
    raise ConflictError(
        "Another file of this name has arrived in this upload. Send this one in an upload of its own, or "
        "rename it."
    )


def keep(ctx: Context, target: Target, content: bytes | Path, digest: str, size: int) -> None:
    """Keep a file that was received, durably. If ``content`` is a path, it may be gone then.

    Raises as `is_there` does, `NotFoundError` if the upload was discarded meanwhile, `ConflictError` if its
    import has begun meanwhile, `UnavailableError` if the bucket cannot be written to, `ValidationError` if
    the file is in the way of another one or is more than the upload was to have.
    """
    if is_there(target, digest, size):
        return
    buckets = _buckets(ctx, target.upload)
    try:
        if isinstance(content, Path):
            buckets.take_file(target.bucket, target.object, content)
        else:
            buckets.put(target.bucket, target.object, content)
    except InputError as error:
        raise ValidationError(f"The file cannot be kept: {error}.") from error
    except StorageError as error:
        if isinstance(error.__cause__, NotADirectoryError | IsADirectoryError):
            raise ValidationError(
                "The file cannot be kept: one name cannot be that of a file and of a folder."
            ) from error
        raise UnavailableError(str(error)) from error
    new = UploadedFile(target.key, target.name, size, digest)
    now = ctx.clock.now()

    def work(conn: Connection) -> UploadedFile | ApiError:
        if not uploads.hold(conn, target.upload.id):
            return _no_upload(target.upload.id)
        if uploads.file(conn, target.upload.id, new.key) is None:
            # The job may have listed the upload before this file was there.
            if uploads.newest_job(conn, target.upload.datastore, target.uri, target.upload.created_at):
                return _has_begun()
            if not _declared.admits(conn, target.upload, size):
                return ValidationError(
                    f"The upload was to have {target.upload.files} files and {target.upload.size} bytes, and "
                    "this is more than that. Begin another upload for what is left."
                )
        noted = uploads.add_file(conn, target.upload.id, new, now)
        if noted != new:
            # Two came at once, and either may be what is kept.
            uploads.remove_files(conn, target.upload.id, [new.key])
        return noted

    noted = ctx.stores.db.write(work)
    if noted == new:
        return
    buckets.remove(target.bucket, [target.object])
    if isinstance(noted, ApiError):
        raise noted
    raise ConflictError(
        "Two files of one name arrived at once, so neither was kept. Send them in two uploads."
    )


@contextmanager
def spool_room(ctx: Context, target: Target, size: int) -> Iterator[None]:
    """Room for a file that is arriving; `check_room` tells whether the disk has it. Only on the event loop.

    Raises `UnavailableError` while others take up the spool for files that go to S3; one file alone may be
    larger.
    """
    global _arriving, _spooled
    spooled = size if target.upload.node == NOBODY else 0
    if spooled and _spooled and _spooled + size > ctx.settings.upload_disk:
        raise UnavailableError(
            "Too much is being uploaded at the moment. Try again when some of it has arrived."
        )
    _arriving += size
    _spooled += spooled
    try:
        yield
    finally:
        _arriving -= size
        _spooled -= spooled


def check_room(ctx: Context, target: Target) -> None:
    """Raises `UnavailableError` unless the disk has room for all that this process is receiving. Blocks."""
    _check_room(ctx, target.bucket, _arriving)


def discard(ctx: Context, datastore_id: str, upload_id: str) -> None:
    """Forget an upload; its files are removed soon. What was imported of it stays.

    Raises `NotFoundError`, and `ConflictError` while a job reads it.
    """

    def work(conn: Connection) -> None:
        store, upload = _find(ctx, conn, datastore_id, upload_id)
        job = _job(ctx, conn, store, upload)
        if job is not None and job.phase != JobPhase.DONE:
            raise ConflictError(
                f"Import job {job.id} reads this upload. Cancel it first, or wait until it has ended."
            )
        uploads.mark_removed(conn, upload.id)

    ctx.stores.db.write(work)


def uris(ctx: Context, datastore_id: str, upload: Upload) -> tuple[str, str]:
    """``inputS3Uri`` and ``outputS3Uri`` of the import job."""
    bucket = ctx.settings.upload_bucket
    return domain.input_uri(bucket, datastore_id, upload.id), domain.output_uri(bucket, datastore_id)


def _state(conn: Connection, upload: Upload, arrived: dict[str, Arrived], job: Job | None) -> UploadState:
    there = arrived.get(upload.id) or Arrived(0, 0, upload.created_at)
    left = None
    if job is not None and job.phase == JobPhase.DONE:
        # What is finished is removed a little later.
        if upload.cleared_job == job.key:
            left = there.files
        else:
            files = job.scanned if job.status == JobStatus.COMPLETED else there.files
            left = max(0, files - uploads.count_finished(conn, job.key))
    return UploadState(upload, there.files, there.size, job, there.last_at, left)


def _job(ctx: Context, conn: Connection, store: DataStore, upload: Upload) -> Job | None:
    uri = domain.input_uri(ctx.settings.upload_bucket, store.id, upload.id)
    return uploads.newest_job(conn, store.key, uri, upload.created_at)


def _find(ctx: Context, conn: Connection, datastore_id: str, upload_id: str) -> tuple[DataStore, Upload]:
    store = _known(conn, datastore_id)
    upload = uploads.find(conn, store.key, ctx.caller.owner, upload_id)
    if upload is None:
        raise _no_upload(upload_id)
    return store, upload


def _has_begun() -> ConflictError:
    return ConflictError(
        "The import of this upload has begun, so it takes no more files. Begin another upload."
    )


def _no_upload(id: str) -> NotFoundError:
    return NotFoundError(
        f"You have no upload {id} to this data store. It may have been discarded, or removed after a day in "
        "which nothing arrived. Begin another one."
    )


def _known(conn: Connection, datastore_id: str) -> DataStore:
    store = datastores.get(conn, datastore_id)
    if store is None or store.status == DatastoreStatus.DELETED:
        raise NotFoundError(f"Datastore {datastore_id} does not exist.")
    return store


def _active(conn: Connection, datastore_id: str) -> DataStore:
    store = _known(conn, datastore_id)
    if store.status != DatastoreStatus.ACTIVE:
        raise ConflictError(
            f"Datastore {datastore_id} is {store.status}; imports require an ACTIVE data store."
        )
    return store


def _buckets(ctx: Context, upload: Upload) -> Buckets:
    return uploads.buckets_of(upload, ctx.stores.buckets, ctx.settings)


def _make_bucket(ctx: Context, bucket: str) -> None:
    """A folder, unless the storage is on S3: there the bucket has to be."""
    buckets = ctx.stores.buckets
    if not ctx.settings.storage.startswith("s3://") and not buckets.is_local(bucket):
        try:
            (buckets.root / bucket).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UnavailableError(f"{buckets.root / bucket} cannot be created: {error.strerror}.") from error
    if buckets.is_local(bucket):
        return
    if ctx.settings.console_bucket is None:
        raise ValidationError(
            "There is no bucket for uploads: set console_bucket to a bucket of S3 that is yours, since this "
            "server's storage is on S3."
        )
    try:
        next(buckets.list(bucket, "uploads/-"), None)
    except InputError as error:
        raise ValidationError(
            f"There is no bucket for uploads: {error}. Create it, or name another one by the setting "
            "console_bucket."
        ) from error


def _check_room(ctx: Context, bucket: str, size: int) -> None:
    buckets = ctx.stores.buckets
    places = [buckets.root / bucket] if buckets.is_local(bucket) else [ctx.stores.spool]
    for place in places:
        disk = os.statvfs(place)
        reserved = min(_MOST_RESERVED, disk.f_blocks * disk.f_frsize // _RESERVED_SHARE)
        free = disk.f_bavail * disk.f_frsize - reserved
        if size > free:
            raise UnavailableError(
                f"The server's disk has no room for this: {size} bytes are to come, and {max(0, free)} are "
                "free. Make room on the server, or send less at a time."
            )


def _make_role(ctx: Context, bucket: str, datastore_id: str, now: int) -> None:
    """The role for import jobs of this data store's uploads, as it has to be."""
    name = domain.role_name(datastore_id)
    trust = domain.trust_policy(datastore_arn(ctx.settings.region, ctx.settings.account_id, datastore_id))
    policies = (domain.access_policy(bucket, datastore_id),)
    with ctx.stores.db.read() as conn:
        _active(conn, datastore_id)
        before = roles.get(conn, name)
    if before is None or (before.trust_policy, before.policies) != (trust, policies):
        ctx.stores.db.write(lambda conn: roles.put(conn, name, trust, policies, now))


def check_size(name: str, files: int, size: int) -> None:
    """Raises `BadRequestError` for an upload that cannot be."""
    if not 1 <= files <= MOST_FILES or size < 0:
        raise BadRequestError(f"An upload has 1 to {MOST_FILES} files.")
    if not 1 <= len(name) <= 1000:
        raise BadRequestError("The name of an upload has 1 to 1000 characters.")
