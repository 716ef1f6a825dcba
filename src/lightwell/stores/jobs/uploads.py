"""Rows of ``upload`` and ``uploaded_file``: what browsers have sent for import jobs to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, func, or_, select, update

from lightwell.domain.imports.jobs import NOT_DICOM, Job
from lightwell.domain.imports.uploads import Arrived, Upload, UploadedFile
from lightwell.domain.states import OutcomeKind
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.db.bulk import batches, insert_many, insert_missing
from lightwell.stores.db.tables import datastore, import_job, outcome, upload, uploaded_file
from lightwell.stores.jobs import import_jobs

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
    if upload.node is None and settings.console_bucket and settings.storage.startswith("s3://"):
        return buckets
    return buckets.near()


def add(conn: Connection, new: Upload) -> None:
    insert_many(conn, upload, [{name: getattr(new, name) for name in Upload.__slots__}])


def find(conn: Connection, store: int, caller: str, id: str) -> Upload | None:
    """The upload, if it is this caller's and is not removed."""
    row = conn.execute(select(*_COLUMNS).where(upload.c.id == id, *_of(store, caller))).first()
    return None if row is None else _upload(row)


def hold(conn: Connection, id: str) -> bool:
    """Whether the upload is there and not removed; it stays so until the transaction ends."""
    held = select(upload.c.id).where(upload.c.id == id, upload.c.is_removed.is_(False))
    return conn.execute(held.with_for_update(read=True)).first() is not None


def of_caller(conn: Connection, store: int, caller: str, limit: int) -> list[Upload]:
    """The caller's uploads to a data store, newest first."""
    rows = conn.execute(
        select(*_COLUMNS)
        .where(*_of(store, caller))
        .order_by(upload.c.created_at.desc(), upload.c.id.desc())
        .limit(limit)
    )
    return [_upload(row) for row in rows]


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
    return [(_upload(row[:-1]), row.datastore_id) for row in rows]


def arrived(conn: Connection, ids: Sequence[str]) -> dict[str, Arrived]:
    """How much of each upload is there; nothing for one of which nothing is."""
    found: dict[str, Arrived] = {}
    for some in batches(ids):
        rows = conn.execute(
            select(
                uploaded_file.c.upload,
                func.count(),
                func.sum(uploaded_file.c.size),
                func.max(uploaded_file.c.arrived_at),
            )
            .where(uploaded_file.c.upload.in_(some))
            .group_by(uploaded_file.c.upload)
        )
        found.update((id, Arrived(count, int(size), last)) for id, count, size, last in rows)
    return found


def files(conn: Connection, id: str, after: str, limit: int) -> list[UploadedFile]:
    """The files that are there, by key."""
    rows = conn.execute(
        select(*_FILE)
        .where(uploaded_file.c.upload == id, uploaded_file.c.key > after)
        .order_by(uploaded_file.c.key)
        .limit(limit)
    )
    return [UploadedFile(*row) for row in rows]


def file(conn: Connection, id: str, key: str) -> UploadedFile | None:
    row = conn.execute(select(*_FILE).where(uploaded_file.c.upload == id, uploaded_file.c.key == key)).first()
    return None if row is None else UploadedFile(*row)


def add_file(conn: Connection, id: str, new: UploadedFile, now: int) -> UploadedFile:
    """Note that a file has arrived; what is noted of that key, which is older if there was one."""
    values = {
        "upload": id,
        "arrived_at": now,
        **{name: getattr(new, name) for name in UploadedFile.__slots__},
    }
    insert_missing(conn, uploaded_file, [values], ("upload", "key"))
    noted = file(conn, id, new.key)
    assert noted is not None
    return noted


def remove_files(conn: Connection, id: str, keys: Sequence[str]) -> None:
    for some in batches(keys):
        conn.execute(delete(uploaded_file).where(uploaded_file.c.upload == id, uploaded_file.c.key.in_(some)))


def mark_removed(conn: Connection, id: str) -> None:
    """Nobody sees it any more; its files are removed soon."""
    conn.execute(update(upload).where(upload.c.id == id).values(is_removed=True))


def mark_cleared(conn: Connection, id: str, job: int) -> None:
    conn.execute(update(upload).where(upload.c.id == id).values(cleared_job=job))


def remove(conn: Connection, id: str) -> None:
    """The row of an upload that has no files."""
    conn.execute(delete(upload).where(upload.c.id == id))


def newest_job(conn: Connection, store: int, input_uri: str, since: int) -> Job | None:
    """The last job that was to read an input, of those submitted after a time."""
    row = conn.execute(
        select(import_job.c.key)
        .where(
            import_job.c.datastore == store,
            import_job.c.submitted_at >= since,
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
    return [(number, name) for number, name in rows]


def _of(store: int, caller: str) -> list[Any]:
    return [upload.c.datastore == store, upload.c.caller == caller, upload.c.is_removed.is_(False)]


def _upload(row: Any) -> Upload:
    return Upload(**dict(zip(Upload.__slots__, row, strict=True)))
