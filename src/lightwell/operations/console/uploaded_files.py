"""The files of an upload: where each goes, how it is kept, and which have arrived.

A file is first claimed in the database, then written, then noted as arrived: so what has a name is settled
before the name is written to, and nothing that was answered with 200 is ever replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.domain import page_tokens
from lightwell.domain.imports import uploads as domain
from lightwell.domain.imports.uploads import FileDigest, Upload, UploadedFile
from lightwell.errors import (
    ApiError,
    ConflictError,
    InputError,
    StorageError,
    TooLargeError,
    UnavailableError,
    ValidationError,
)
from lightwell.operations.console import uploads
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.data_folder.sealed_files import FileGrant, FileSealer
from lightwell.stores.data_folder.uploads import Upload as SpoolFile
from lightwell.stores.jobs import uploads as table
from lightwell.stores.keys.uploaded_files import grant

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.operations.context import Context

__all__ = ["FileDigest", "SpoolFile"]

# Bytes of the files that this process is receiving now, and those of them that go to S3.
_arriving = _spooled = 0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file goes: ``folder`` and ``key`` together are the object's. ``noted``: what has that name.

    ``uri`` is the ``inputS3Uri`` of the upload's import job. ``granted`` seals the file on its way and in the
    bucket; None where the data store is not encrypted.
    """

    upload: Upload
    bucket: str
    uri: str
    folder: str
    key: str
    name: str
    noted: UploadedFile | None
    granted: FileGrant | None

    @property
    def object(self) -> str:
        return self.folder + self.key


def arrived_page(
    ctx: Context, datastore_id: str, upload_id: str, next_token: str | None, limit: int
) -> tuple[list[UploadedFile], str | None]:
    """The files of an upload that are there, by key, and the token of the next page."""
    after = ""
    if next_token is not None:
        (key,) = page_tokens.decode(next_token, str)
        after = str(key)
    with ctx.stores.db.read() as conn:
        _, upload = uploads.find(ctx, conn, datastore_id, upload_id)
        found = table.files(conn, upload.id, after, limit + 1)
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
        store, upload = uploads.find(ctx, conn, datastore_id, upload_id)
        noted = table.file(conn, upload.id, key)
        job = uploads.job_of(ctx, conn, store, upload)
        folder = domain.folder(datastore_id, upload.id)
        granted = grant(ctx.stores.keys, conn, store.key, folder + key)
    if job is not None and (noted is None or not noted.arrived_at):
        raise _has_begun()
    if upload.node not in (None, NOBODY, ctx.stores.node_id):
        raise ValidationError(
            "This upload is in a folder of another server. Set console_bucket to a bucket of S3 that all "
            "servers reach, or let the proxy send one person's requests to one server."
        )
    bucket = table.bucket_of(upload, ctx.settings)
    uploads.check_room(ctx, bucket, size)
    uri = table.uri_of(upload, datastore_id, ctx.settings)
    return Target(upload, bucket, uri, folder, key, name, noted, granted)


def is_there(target: Target, digest: str, size: int) -> bool:
    """Whether this very file has arrived before. Raises `ConflictError` if another one has that name."""
    return target.noted is not None and _is_there(target.noted, _file(target, digest, size))


def spool_file(ctx: Context, target: Target) -> SpoolFile:
    """A new file of the spool that becomes the object. Raises `StorageError`."""
    return SpoolFile(ctx.stores.spool, sealed=target.granted is not None, granted=target.granted)


def to_keep(target: Target, content: bytes) -> bytes:
    """The object of a file that was received in memory."""
    if target.granted is None:
        return content
    parts: list[bytes] = []
    sealer = FileSealer(parts.append, target.granted)
    sealer.write(content)
    sealer.finish()
    return b"".join(parts)


def keep(ctx: Context, target: Target, content: bytes | Path, digest: str, size: int) -> None:
    """Keep a file that was received, durably; ``content`` is its object. If that is a path, it may be gone
    then.

    Raises as `is_there` does, `NotFoundError` if the upload was discarded meanwhile, `ConflictError` if its
    import has begun meanwhile, `UnavailableError` if the bucket cannot be written to, `ValidationError` if
    the file is in the way of another one or is more than the upload was to have.
    """
    new, id = _file(target, digest, size), target.upload.id
    if ctx.stores.db.write(lambda conn: _claim(conn, target, new)):
        return
    buckets = table.buckets_of(target.upload, ctx.stores.buckets, ctx.settings)
    try:
        if isinstance(content, Path):
            buckets.take_file(target.bucket, target.object, content)
        else:
            buckets.put(target.bucket, target.object, content)
    except InputError as error:
        raise ValidationError(f"The file cannot be kept: {error}.") from error
    except StorageError as error:
        if isinstance(error.__cause__, NotADirectoryError | IsADirectoryError):
            _unclaim(ctx, target, new)
            raise ValidationError(
                "The file cannot be kept: one name cannot be that of a file and of a folder."
            ) from error
        # It may be there nevertheless, now or soon, so the name remains that of this file.
        raise UnavailableError(str(error)) from error
    now = ctx.clock.now()

    def work(conn: Connection) -> ApiError | None:
        if table.lock(conn, id) is None:
            return uploads.no_upload(id)
        noted = table.file(conn, id, new.key)
        if noted is not None and noted.arrived_at:
            return None
        # The job may have listed the upload before this file was there.
        if _is_begun(conn, target):
            table.unclaim(conn, id, new)
            return _has_begun()
        if noted is None or not noted.is_same(new):
            raise UnavailableError("The same file was sent twice at once and failed once. Send it again.")
        table.mark_arrived(conn, id, new, now)
        return None

    refused = ctx.stores.db.write(work)
    if refused is not None:
        # Nobody claims a name of this upload any more.
        buckets.remove(target.bucket, [target.object])
        raise refused


def _file(target: Target, digest: str, size: int) -> UploadedFile:
    return UploadedFile(target.key, target.name, size, digest)


def _is_there(noted: UploadedFile, new: UploadedFile) -> bool:
    if noted.is_same(new):
        return noted.arrived_at > 0
    raise ConflictError(
        f"Another file of this name {'has arrived' if noted.arrived_at else 'was sent'} in this upload. Send "
        "this one in an upload of its own, or rename it."
    )


def _claim(conn: Connection, target: Target, new: UploadedFile) -> bool:
    """Settle that this file has the name from now on. Returns whether it is there already."""
    upload = table.lock(conn, target.upload.id)
    if upload is None:
        raise uploads.no_upload(target.upload.id)
    noted = table.file(conn, upload.id, new.key)
    if noted is not None and _is_there(noted, new):
        return True
    if _is_begun(conn, target):
        raise _has_begun()
    if noted is None:
        if not upload.has_room(new.size):
            raise ValidationError(
                f"The upload was to have {upload.files} files and {upload.size} bytes, and this is more than "
                "that. Begin another upload for what is left."
            )
        table.claim(conn, upload.id, new)
    return False


def _unclaim(ctx: Context, target: Target, new: UploadedFile) -> None:
    def work(conn: Connection) -> None:
        if table.lock(conn, target.upload.id) is not None:
            table.unclaim(conn, target.upload.id, new)

    ctx.stores.db.write(work)


def _is_begun(conn: Connection, target: Target) -> bool:
    return table.newest_job(conn, target.upload, target.uri) is not None


def _has_begun() -> ConflictError:
    return ConflictError(
        "The import of this upload has begun, so it takes no more files. Begin another upload."
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
    uploads.check_room(ctx, target.bucket, _arriving)
