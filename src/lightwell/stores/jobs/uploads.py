"""Rows of ``upload`` and ``uploaded_file``: what browsers have sent for import jobs to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, func, or_, select, update

from lightwell.domain.imports import uploads as domain
from lightwell.domain.imports.jobs import NOT_DICOM, Job
from lightwell.domain.imports.uploads import KEEP_MS, Upload, UploadedFile
from lightwell.domain.states import OutcomeKind
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.db.bulk import batches, insert_many
from lightwell.stores.db.tables import datastore, import_job, outcome, upload, uploaded_file
from lightwell.stores.jobs import import_jobs
from lightwell.stores.keys import values
from lightwell.stores.keys.data_keys import KeyDestroyedError
from lightwell.stores.keys.job_values import INPUT_FILE, UPLOAD, opened_text, seal_text, shown_text

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores.buckets.registry import Buckets

_COLUMNS = [upload.c[name] for name in Upload.__slots__]
_FILE = [uploaded_file.c[name] for name in UploadedFile.__slots__]


def buckets_of(upload: Upload, buckets: Buckets, settings: Settings) -> Buckets:
    """Where the files of an upload are: never in S3 if it was begun in a folder, although that may be gone.

    A bucket of that name in S3 may be a stranger's.
    """
    if upload.node == NOBODY:
        return buckets.far()
    if upload.bucket is None and settings.console_bucket and settings.storage.startswith("s3://"):
        return buckets  # before 0017 nobody noted it
    return buckets.near()


def add(conn: Connection, new: Upload) -> None:
    row = {name: getattr(new, name) for name in Upload.__slots__}
    # What the person dropped may be a folder that is named after a patient.
    row["name"] = seal_text(values.sealer(conn, new.datastore), UPLOAD, _number(new.id), 0, new.name)
    insert_many(conn, upload, [row])


def find(conn: Connection, store: int, caller: str, id: str) -> Upload | None:
    """The upload, if it is this caller's and is not removed."""
    row = conn.execute(select(*_COLUMNS).where(upload.c.id == id, *_of(store, caller))).first()
    return None if row is None else _upload(conn, row)


def bucket_of(upload: Upload, settings: Settings) -> str:
    """The bucket that the files of an upload are in."""
    return upload.bucket or settings.upload_bucket


def uri_of(upload: Upload, datastore_id: str, settings: Settings) -> str:
    """The ``inputS3Uri`` of the import job for an upload, by which the job is found."""
    return domain.input_uri(bucket_of(upload, settings), datastore_id, upload.id)


def buckets(conn: Connection, store: int) -> list[str]:
    """The buckets that a data store's uploads are in, as far as these say so; by name."""
    named = select(upload.c.bucket).where(upload.c.datastore == store, upload.c.bucket.is_not(None))
    return list(conn.scalars(named.distinct().order_by(upload.c.bucket)))


def is_in_use(conn: Connection, bucket: str, settings: Settings) -> bool:
    """Whether there are uploads in this bucket."""
    is_its = upload.c.bucket == bucket
    if bucket == settings.upload_bucket:
        is_its = or_(is_its, upload.c.bucket.is_(None))
    return conn.execute(select(upload.c.id).where(is_its).limit(1)).first() is not None


def hold(conn: Connection, id: str) -> bool:
    """Whether the upload is there and not removed; it stays so until the transaction ends."""
    held = select(upload.c.id).where(upload.c.id == id, upload.c.is_removed.is_(False))
    return conn.execute(held.with_for_update(read=True)).first() is not None


def lock(conn: Connection, id: str) -> Upload | None:
    """The upload as it is, if it is not removed; nobody else changes it until the transaction ends."""
    held = select(*_COLUMNS).where(upload.c.id == id, upload.c.is_removed.is_(False))
    row = conn.execute(held.with_for_update()).first()
    return None if row is None else _upload(conn, row)


def of_caller(conn: Connection, store: int, caller: str, limit: int) -> list[Upload]:
    """The caller's uploads to a data store, newest first."""
    rows = conn.execute(
        select(*_COLUMNS)
        .where(*_of(store, caller))
        .order_by(upload.c.created_at.desc(), upload.c.id.desc())
        .limit(limit)
    )
    return [_upload(conn, row) for row in rows]


def every(conn: Connection, nodes: Sequence[str], after: str, limit: int) -> list[tuple[Upload, str]]:
    """Uploads by id, those removed included, and the ids of their data stores.

    ``nodes`` are those whose folders can be reached.
    """
    rows = conn.execute(
        select(*_COLUMNS, datastore.c.id.label("datastore_id"))
        .join(datastore, datastore.c.key == upload.c.datastore)
        .where(upload.c.id > after, or_(upload.c.node.is_(None), upload.c.node.in_(nodes)))
        .order_by(upload.c.id)
        .limit(limit)
    ).all()
    return [(_upload(conn, row[:-1]), row.datastore_id) for row in rows]


def of_others(
    conn: Connection, nodes: Sequence[str], before: int, after: str, limit: int
) -> list[tuple[Upload, str]]:
    """Uploads in folders of other nodes that were begun before then and are not removed, as `every`."""
    rows = conn.execute(
        select(*_COLUMNS, datastore.c.id.label("datastore_id"))
        .join(datastore, datastore.c.key == upload.c.datastore)
        .where(upload.c.id > after, upload.c.is_removed.is_(False), upload.c.created_at < before)
        .where(upload.c.node.is_not(None), upload.c.node.not_in(nodes))
        .order_by(upload.c.id)
        .limit(limit)
    ).all()
    return [(_upload(conn, row[:-1]), row.datastore_id) for row in rows]


def files(conn: Connection, id: str, after: str, limit: int, *, are_there: bool = True) -> list[UploadedFile]:
    """The files that are there, by key; with ``are_there`` False also those of which that is not sure."""
    wanted = [uploaded_file.c.upload == id, uploaded_file.c.key > after]
    if are_there:
        wanted.append(uploaded_file.c.arrived_at > 0)
    rows = conn.execute(select(*_FILE).where(*wanted).order_by(uploaded_file.c.key).limit(limit))
    return [UploadedFile(*row) for row in rows]


def file(conn: Connection, id: str, key: str) -> UploadedFile | None:
    row = conn.execute(select(*_FILE).where(uploaded_file.c.upload == id, uploaded_file.c.key == key)).first()
    return None if row is None else UploadedFile(*row)


def claim(conn: Connection, id: str, new: UploadedFile) -> None:
    """Note what is to have this name from now on, before it is there. The upload is locked."""
    values = {name: getattr(new, name) for name in UploadedFile.__slots__}
    insert_many(conn, uploaded_file, [{"upload": id, **values}])
    _count(conn, id, claimed_files=1, claimed_size=new.size)


def unclaim(conn: Connection, id: str, claimed: UploadedFile) -> None:
    """Undo `claim` for a file that did not come to be there. The upload is locked."""
    done = conn.execute(
        delete(uploaded_file).where(
            uploaded_file.c.upload == id,
            uploaded_file.c.key == claimed.key,
            uploaded_file.c.digest == claimed.digest,
            uploaded_file.c.arrived_at == 0,
        )
    )
    if done.rowcount:
        _count(conn, id, claimed_files=-1, claimed_size=-claimed.size)


def mark_arrived(conn: Connection, id: str, claimed: UploadedFile, now: int) -> None:
    """Note that a claimed file is there. The upload is locked, and the file was not noted as there before."""
    conn.execute(
        update(uploaded_file)
        .where(uploaded_file.c.upload == id, uploaded_file.c.key == claimed.key)
        .values(arrived_at=now)
    )
    _count(conn, id, arrived_files=1, arrived_size=claimed.size, last_at=now)


def remove_files(conn: Connection, id: str, keys: Sequence[str]) -> None:
    # Locked, lest two that remove the same count it twice.
    conn.execute(select(upload.c.id).where(upload.c.id == id).with_for_update())
    for some in batches(keys):
        of_these = [uploaded_file.c.upload == id, uploaded_file.c.key.in_(some)]
        files, size = conn.execute(
            select(func.count(), func.coalesce(func.sum(uploaded_file.c.size), 0)).where(
                *of_these, uploaded_file.c.arrived_at > 0
            )
        ).one()
        conn.execute(delete(uploaded_file).where(*of_these))
        _count(conn, id, arrived_files=-files, arrived_size=-int(size))


def _count(conn: Connection, id: str, *, last_at: int | None = None, **more: int) -> None:
    """Add to counters of an upload that is locked, or take from them."""
    values: dict[str, Any] = {name: upload.c[name] + number for name, number in more.items()}
    if last_at is not None:
        values["last_at"] = last_at
    conn.execute(update(upload).where(upload.c.id == id).values(**values))


def mark_removed(conn: Connection, id: str) -> None:
    """Nobody sees it any more; its files are removed soon."""
    conn.execute(update(upload).where(upload.c.id == id).values(is_removed=True))


def mark_cleared(conn: Connection, id: str, job: int) -> None:
    conn.execute(update(upload).where(upload.c.id == id).values(cleared_job=job))


def remove(conn: Connection, id: str) -> None:
    """The row of an upload that has no files."""
    conn.execute(delete(upload).where(upload.c.id == id))


def newest_job(conn: Connection, upload: Upload, input_uri: str) -> Job | None:
    """The last job that was to read an upload; ``input_uri`` is what names it."""
    row = conn.execute(
        select(import_job.c.key)
        .where(
            import_job.c.datastore == upload.datastore,
            # Only lest all jobs are looked through: the clock of another server may be behind.
            import_job.c.submitted_at >= upload.created_at - KEEP_MS,
            import_job.c.input_uri == input_uri,
        )
        .order_by(import_job.c.submitted_at.desc(), import_job.c.key.desc())
        .limit(1)
    ).first()
    return None if row is None else import_jobs.get(conn, row.key)


# The job has put it into an image set, or it is not DICOM: nothing more can be done with the file.
_is_finished = or_(outcome.c.kind == OutcomeKind.IMPORTED, outcome.c.message == NOT_DICOM)


def count_finished(conn: Connection, job: int) -> int:
    """How many files of the job nothing more can be done with."""
    return conn.execute(select(func.count()).where(outcome.c.job == job, _is_finished)).scalar_one()


def finished(conn: Connection, job: int, after: int, limit: int) -> list[tuple[int, str]]:
    """(number, object key) of files, after that number, with which nothing more can be done."""
    rows = conn.execute(
        select(outcome.c.file, outcome.c.input_file)
        .where(outcome.c.job == job, outcome.c.file > after, _is_finished)
        .order_by(outcome.c.file)
        .limit(limit)
    )
    try:
        return [(number, opened_text(conn, INPUT_FILE, job, number, name)) for number, name in rows]
    except KeyDestroyedError:
        return []  # the data store was deleted; they are removed with the upload


def _of(store: int, caller: str) -> list[Any]:
    return [upload.c.datastore == store, upload.c.caller == caller, upload.c.is_removed.is_(False)]


def _upload(conn: Connection, row: Any) -> Upload:
    found = Upload(**dict(zip(Upload.__slots__, row, strict=True)))
    return replace(found, name=shown_text(conn, UPLOAD, _number(found.id), 0, found.name))


def _number(id: str) -> int:
    """An id as what `job_values` binds a value to."""
    return int.from_bytes(id.encode(), "big")
