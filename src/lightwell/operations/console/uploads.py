"""Uploads: files sent one by one into a bucket of the server's own (`uploaded_files`), for an import job.

HealthImaging has no such operations: its users bring files to S3 by other means. The job that reads them is
an ordinary one, StartDICOMImportJob with what `begin` says, so that a dropped series becomes one version.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.domain.arn import datastore_arn, role_arn
from lightwell.domain.datastore import DataStore
from lightwell.domain.imports import uploads as domain
from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.uploads import Upload
from lightwell.domain.states import DatastoreStatus, JobPhase, JobStatus
from lightwell.errors import (
    BadRequestError,
    ConflictError,
    InputError,
    NotFoundError,
    UnavailableError,
    ValidationError,
)
from lightwell.operations.import_jobs import has_engine_here, nodes_of_buckets
from lightwell.stores.account import datastores, roles
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.jobs import uploads

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.operations.context import Context

PAGE = 1000
MOST_FILES = 1_000_000
# Uploads of one caller that are not removed yet.
_MOST_UPLOADS = 100
# Space that no upload may take: of the disk, and at most.
_RESERVED_SHARE, _MOST_RESERVED = 20, 1 << 30


@dataclass(frozen=True, slots=True)
class UploadState:
    """An upload, and the last job that was to read it.

    ``left``: how many files that job has not imported although they are DICOM; None before it has ended.
    """

    upload: Upload
    job: Job | None
    left: int | None = None

    @property
    def kept_until(self) -> int | None:
        """When it is removed if nobody goes on with it; None while a job reads it."""
        touched_at = self.upload.touched_at
        if self.job is None:
            return touched_at + domain.KEEP_MS
        return None if self.job.ended_at is None else max(self.job.ended_at, touched_at) + domain.KEEP_MS


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
    # Of its files none has a record of its own, since there may be a million.
    ctx.note.asked_for(id)
    ctx.note.query = {"name": name, "files": str(files), "bytes": str(size)}
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
        check_room(ctx, bucket, size)
    elif input_node is None:
        input_node = NOBODY  # that a folder of this name comes to be here must not hide what is in S3
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
            bucket=bucket,
        )
        ctx.stores.keys.give_key(conn, store.key, ctx.ids.key, now)
        uploads.add(conn, new)
        return new

    return ctx.stores.db.write(work)


def of_caller(ctx: Context, datastore_id: str) -> list[UploadState]:
    """The caller's uploads to a data store, newest first: at most 100."""
    with ctx.stores.db.read() as conn:
        store = _known(conn, datastore_id)
        found = uploads.of_caller(conn, store.key, ctx.caller.owner, _MOST_UPLOADS)
        return [_state(conn, each, job_of(ctx, conn, store, each)) for each in found]


def get(ctx: Context, datastore_id: str, upload_id: str) -> UploadState:
    """One upload of the caller. Raises `NotFoundError`."""
    with ctx.stores.db.read() as conn:
        store, upload = find(ctx, conn, datastore_id, upload_id)
        return _state(conn, upload, job_of(ctx, conn, store, upload))


def discard(ctx: Context, datastore_id: str, upload_id: str) -> None:
    """Forget an upload; its files are removed soon. What was imported of it stays.

    How many of its files are there goes on record.

    Raises `NotFoundError`, and `ConflictError` while a job reads it.
    """

    def work(conn: Connection) -> None:
        store, upload = find(ctx, conn, datastore_id, upload_id)
        locked = uploads.lock(conn, upload.id)
        ctx.note.items, ctx.note.found = [upload.id], (locked or upload).arrived_files
        job = job_of(ctx, conn, store, upload)
        if job is not None and job.phase != JobPhase.DONE:
            raise ConflictError(
                f"Import job {job.id} reads this upload. Cancel it first, or wait until it has ended."
            )
        uploads.mark_removed(conn, upload.id)

    ctx.stores.db.write(work)


def uris(ctx: Context, datastore_id: str, upload: Upload) -> tuple[str, str]:
    """``inputS3Uri`` and ``outputS3Uri`` of the import job."""
    output = domain.output_uri(uploads.bucket_of(upload, ctx.settings), datastore_id)
    return uploads.uri_of(upload, datastore_id, ctx.settings), output


def _state(conn: Connection, upload: Upload, job: Job | None) -> UploadState:
    left = None
    if job is not None and job.phase == JobPhase.DONE:
        # What is finished is removed a little later.
        if upload.cleared_job == job.key:
            left = upload.arrived_files
        else:
            files = job.scanned if job.status == JobStatus.COMPLETED else upload.arrived_files
            left = max(0, files - uploads.count_finished(conn, job.key))
    return UploadState(upload, job, left)


def job_of(ctx: Context, conn: Connection, store: DataStore, upload: Upload) -> Job | None:
    """The last job that was to read the upload."""
    return uploads.newest_job(conn, upload, uploads.uri_of(upload, store.id, ctx.settings))


def find(ctx: Context, conn: Connection, datastore_id: str, upload_id: str) -> tuple[DataStore, Upload]:
    """An upload of the caller, and its data store. Raises `NotFoundError`."""
    store = _known(conn, datastore_id)
    upload = uploads.find(conn, store.key, ctx.caller.owner, upload_id)
    if upload is None:
        raise no_upload(upload_id)
    return store, upload


def no_upload(id: str) -> NotFoundError:
    """The caller has no such upload."""
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


def check_room(ctx: Context, bucket: str, size: int) -> None:
    """Raises `UnavailableError` unless the disk has room for so many bytes on their way to the bucket."""
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
    with ctx.stores.db.read() as conn:
        store = _active(conn, datastore_id)
        before = roles.get(conn, name)
        # Whatever is left in another one since console_bucket was changed can still be imported.
        buckets = dict.fromkeys([bucket, *uploads.buckets(conn, store.key)])
    policies = tuple(domain.access_policy(each, datastore_id) for each in buckets)
    if before is None or (before.trust_policy, before.policies) != (trust, policies):
        ctx.stores.db.write(lambda conn: roles.put(conn, name, trust, policies, now))
        ctx.note.changed(f"role {name}, for import jobs of uploads")


def check_size(name: str, files: int, size: int) -> None:
    """Raises `BadRequestError` for an upload that cannot be."""
    if not 1 <= files <= MOST_FILES or size < 0:
        raise BadRequestError(f"An upload has 1 to {MOST_FILES} files.")
    if not 1 <= len(name) <= 1000:
        raise BadRequestError("The name of an upload has 1 to 1000 characters.")
