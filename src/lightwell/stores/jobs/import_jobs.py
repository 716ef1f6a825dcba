"""Rows of ``import_job``: what was asked for, and how far it is. How a job goes on: `transitions`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, insert, or_, select, update

from lightwell.domain.imports.jobs import Job
from lightwell.domain.states import JobPhase, JobStatus
from lightwell.stores.db.tables import datastore, import_job
from lightwell.stores.jobs import units
from lightwell.stores.keys import job_values, values

_COLUMNS = [
    import_job.c[name]
    for name in (
        "key",
        "id",
        "datastore",
        "name",
        "status",
        "phase",
        "message",
        "role_arn",
        "input_uri",
        "output_uri",
        "input_owner",
        "configuration",
        "source",
        "caller",
        "submitted_at",
        "ended_at",
        "scanned",
        "read",
        "input_node",
        "output_node",
        "assumes_role",
        "priority",
        "owner",
        "emergency",
    )
]
_UNFINISHED = (JobPhase.LIST, JobPhase.READ, JobPhase.COMMIT, JobPhase.REPORT)


def _job(conn: Connection, row: Any) -> Job:
    found = dict(row._mapping)
    found["status"], found["phase"] = JobStatus(found["status"]), JobPhase(found["phase"])
    key, message = found["key"], found["message"]
    found["message"] = job_values.shown_text(conn, job_values.JOB_MESSAGE, key, 0, message)
    return Job(**found)


def add(conn: Connection, job: Job) -> None:
    """Insert a new job."""
    row = {column.name: getattr(job, column.name) for column in _COLUMNS}
    sealer = values.sealer(conn, job.datastore)
    row["configuration"] = job_values.seal(sealer, job_values.CONFIGURATION, job.key, 0, job.configuration)
    row["source"] = job_values.seal(sealer, job_values.SOURCE, job.key, 0, job.source)
    conn.execute(insert(import_job), row)


def opened(conn: Connection, job: Job) -> Job:
    """The job with its configuration and source as they were given, which its row may hold sealed.

    Raises `StorageError` where their key is not to be had: only whoever needs the two asks for it.
    """

    def value(place: bytes, given: bytes | None) -> bytes | None:
        return None if given is None else job_values.opened(conn, place, job.key, 0, given)

    return replace(
        job,
        configuration=value(job_values.CONFIGURATION, job.configuration),
        source=value(job_values.SOURCE, job.source),
    )


def shown_configuration(conn: Connection, job: Job) -> bytes | None:
    """The configuration as it was given; None, too, where its key is gone, or not to be had now."""
    try:
        return opened(conn, replace(job, source=None)).configuration
    except job_values.NO_KEY:
        return None


def get(conn: Connection, key: int) -> Job | None:
    row = conn.execute(select(*_COLUMNS).where(import_job.c.key == key)).first()
    return _job(conn, row) if row else None


def is_in(conn: Connection, key: int, phase: JobPhase) -> bool:
    """Whether the job is in this phase now."""
    return conn.scalar(select(import_job.c.phase).where(import_job.c.key == key)) == phase


def datastore_of(conn: Connection, key: int) -> tuple[str, str]:
    """(id, storage format) of the data store that a job imports into."""
    row = conn.execute(
        select(datastore.c.id, datastore.c.storage_format)
        .join(import_job, import_job.c.datastore == datastore.c.key)
        .where(import_job.c.key == key)
    ).one()
    return row.id, row.storage_format


def find(conn: Connection, store: int, job_id: str) -> Job | None:
    """The job with this id in this data store."""
    row = conn.execute(
        select(*_COLUMNS).where(import_job.c.id == job_id, import_job.c.datastore == store)
    ).first()
    return _job(conn, row) if row else None


def find_anywhere(conn: Connection, job_id: str) -> Job | None:
    """The job with this id, whatever its data store."""
    row = conn.execute(select(*_COLUMNS).where(import_job.c.id == job_id)).first()
    return _job(conn, row) if row else None


def page(
    conn: Connection,
    store: int,
    status: JobStatus | None,
    limit: int,
    after: tuple[int, int] | None,
    *,
    since: int = 0,
) -> list[Job]:
    """At most ``limit`` jobs of a data store, newest first, none submitted before ``since``.

    ``after`` is (submitted_at, key) of the last job of the previous page.
    """
    query = select(*_COLUMNS).where(import_job.c.datastore == store, import_job.c.submitted_at >= since)
    if status is not None:
        query = query.where(import_job.c.status == status)
    if after is not None:
        submitted_at, key = after
        query = query.where(
            import_job.c.submitted_at <= submitted_at,
            or_(import_job.c.submitted_at < submitted_at, import_job.c.key < key),
        )
    query = query.order_by(import_job.c.submitted_at.desc(), import_job.c.key.desc()).limit(limit)
    return [_job(conn, row) for row in conn.execute(query)]


def output_uris(conn: Connection) -> list[str]:
    """The output folders of all jobs, as ``s3://BUCKET/FOLDER/``."""
    return list(conn.execute(select(import_job.c.output_uri)).scalars())


def count_running(conn: Connection, store: int) -> int:
    """How many jobs of the data store are submitted or in progress, counted up to 101."""
    rows = conn.execute(
        select(import_job.c.key)
        .where(
            import_job.c.datastore == store,
            import_job.c.status.in_((JobStatus.SUBMITTED, JobStatus.IN_PROGRESS)),
        )
        .limit(101)
    )
    return len(rows.all())


def unfinished(conn: Connection) -> list[int]:
    """The keys of all jobs that are not done, oldest first."""
    rows = conn.execute(
        select(import_job.c.key)
        .where(import_job.c.phase.in_(_UNFINISHED))
        .order_by(import_job.c.submitted_at, import_job.c.key)
    )
    return list(rows.scalars())


def with_progress(conn: Connection, jobs: Iterable[Job]) -> list[Job]:
    """The jobs, whose ``read`` counts all files that are settled: also those of units that are done.

    The row of a job that is read has no such number, since all who read it would have to wait for each other
    to write it.
    """
    every = list(jobs)
    files = units.files_done(conn, [job.key for job in every if job.phase in (JobPhase.LIST, JobPhase.READ)])
    return [replace(job, read=job.read + files[job.key]) if job.key in files else job for job in every]


def set_priority(conn: Connection, key: int, priority: int) -> None:
    conn.execute(update(import_job).where(import_job.c.key == key).values(priority=priority))
