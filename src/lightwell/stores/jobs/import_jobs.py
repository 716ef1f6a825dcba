"""Rows of ``import_job``: which process works on a job, and how far the job is.

Only one process at a time works on a phase of a job: it holds a claim that ends at a given time. Any
process that finds the claim ended may take it over; the statements of the previous holder then change
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, update

from lightwell.domain.imports import jobs as domain
from lightwell.domain.imports.jobs import Job
from lightwell.domain.states import ChunkState, JobPhase, JobStatus
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.tables import chunk, datastore, import_job, staged

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
    )
]
_UNFINISHED = (JobPhase.LIST, JobPhase.READ, JobPhase.COMMIT, JobPhase.REPORT)


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that is not done. ``is_claimable``: whether this node can claim its phase now."""

    key: int
    phase: JobPhase
    is_claimable: bool


def _job(row: Any) -> Job:
    values = dict(row._mapping)
    values["status"], values["phase"] = JobStatus(values["status"]), JobPhase(values["phase"])
    return Job(**values)


def add(conn: Connection, job: Job) -> None:
    """Insert a new job."""
    conn.execute(insert(import_job), {column.name: getattr(job, column.name) for column in _COLUMNS})


def get(conn: Connection, key: int) -> Job | None:
    row = conn.execute(select(*_COLUMNS).where(import_job.c.key == key)).first()
    return _job(row) if row else None


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
    return _job(row) if row else None


def find_anywhere(conn: Connection, job_id: str) -> Job | None:
    """The job with this id, whatever its data store."""
    row = conn.execute(select(*_COLUMNS).where(import_job.c.id == job_id)).first()
    return _job(row) if row else None


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
    return [_job(row) for row in conn.execute(query)]


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


def unfinished(conn: Connection, now: int, node: str | None = None) -> list[WaitingJob]:
    """All jobs that are not done, oldest first. Cheap: called several times a second.

    ``node``: the node that would claim a phase; None for any.
    """
    rows = conn.execute(
        select(
            import_job.c.key,
            import_job.c.phase,
            import_job.c.claim,
            import_job.c.claimed_until,
            import_job.c.input_node,
            import_job.c.output_node,
        )
        .where(import_job.c.phase.in_(_UNFINISHED))
        .order_by(import_job.c.submitted_at, import_job.c.key)
    )
    return [
        WaitingJob(
            key,
            JobPhase(phase),
            ((claim is None and (until or 0) <= now) or (claim is not None and until < now))
            and (node is None or domain.may_work_at_phase(JobPhase(phase), node, input_node, output_node)),
        )
        for key, phase, claim, until, input_node, output_node in rows
    ]


def _claimable(now: int) -> ColumnElement[bool]:
    free = and_(
        import_job.c.claim.is_(None),
        or_(import_job.c.claimed_until.is_(None), import_job.c.claimed_until <= now),
    )
    return or_(free, and_(import_job.c.claim.is_not(None), import_job.c.claimed_until < now))


def claim(conn: Connection, key: int, phase: JobPhase, name: str, now: int, until: int) -> bool:
    """Claim the phase of a job, unless another process holds it or it is over."""
    done = conn.execute(
        update(import_job)
        .where(import_job.c.key == key, import_job.c.phase == phase, _claimable(now))
        .values(claim=name, claimed_until=until)
    )
    return done.rowcount == 1


def renew_claim(conn: Connection, key: int, name: str, until: int) -> bool:
    """Extend a claim; False if it is no longer ours. Locks the job's row on PostgreSQL."""
    done = conn.execute(
        update(import_job)
        .where(import_job.c.key == key, import_job.c.claim == name)
        .values(claimed_until=until)
    )
    return done.rowcount == 1


def release(conn: Connection, key: int, name: str, not_before: int | None = None) -> None:
    """Release a claim; nobody can claim the job before ``not_before``."""
    conn.execute(
        update(import_job)
        .where(import_job.c.key == key, import_job.c.claim == name)
        .values(claim=None, claimed_until=not_before)
    )


def release_all(conn: Connection) -> None:
    """Drop every claim: for the only engine of a database when it starts."""
    conn.execute(
        update(import_job).where(import_job.c.claim.is_not(None)).values(claim=None, claimed_until=None)
    )
    conn.execute(
        update(chunk)
        .where(chunk.c.state == ChunkState.CLAIMED)
        .values(state=ChunkState.READY, claim=None, claimed_until=None)
    )


def mark_in_progress(conn: Connection, key: int, name: str) -> bool:
    """SUBMITTED → IN_PROGRESS; False if the job was in progress already."""
    done = conn.execute(
        update(import_job)
        .where(
            import_job.c.key == key,
            import_job.c.claim == name,
            import_job.c.status == JobStatus.SUBMITTED,
        )
        .values(status=JobStatus.IN_PROGRESS)
    )
    return done.rowcount == 1


def advance(conn: Connection, key: int, name: str, phase: JobPhase, *, scanned: int | None = None) -> bool:
    """Go to the next phase and release the claim; False if the claim is not ours."""
    values: dict[str, Any] = {"phase": phase, "claim": None, "claimed_until": None}
    if scanned is not None:
        values["scanned"] = scanned
    done = conn.execute(
        update(import_job).where(import_job.c.key == key, import_job.c.claim == name).values(**values)
    )
    return done.rowcount == 1


def add_read(conn: Connection, key: int, files: int) -> None:
    """Count files that have been read. The job's row is locked for the rest of the transaction."""
    conn.execute(update(import_job).where(import_job.c.key == key).values(read=import_job.c.read + files))


def finish_reading(conn: Connection, key: int) -> bool:
    """*read* → *commit* if no chunk is left. Call it after `add_read` in the same transaction.

    The lock that `add_read` took lets the last of two concurrent chunks see that the other is done.
    """
    left = select(chunk.c.number).where(chunk.c.job == key, chunk.c.state != ChunkState.DONE).limit(1)
    if conn.execute(left).first() is not None:
        return False
    done = conn.execute(
        update(import_job)
        .where(import_job.c.key == key, import_job.c.phase == JobPhase.READ)
        .values(phase=JobPhase.COMMIT, claim=None, claimed_until=None)
    )
    return done.rowcount == 1


def finish(conn: Connection, key: int, name: str, status: JobStatus, message: str | None, now: int) -> bool:
    """COMPLETED or FAILED: the job is done, its chunks and staged rows are deleted.

    False if it is not ours.
    """
    done = conn.execute(
        update(import_job)
        .where(import_job.c.key == key, import_job.c.claim == name, import_job.c.phase != JobPhase.DONE)
        .values(
            status=status,
            phase=JobPhase.DONE,
            message=message,
            ended_at=now,
            claim=None,
            claimed_until=None,
        )
    )
    if done.rowcount != 1:
        return False
    _drop_work(conn, key)
    return True


def lock_to_end(conn: Connection, key: int) -> Job | None:
    """The job, locked so that whatever holds a claim of it waits; None if it is done. For `end`.

    Its chunks are deleted first, in the order in which a chunk's own transaction locks them and the job: once
    this returns, every chunk has either been committed or never will be.
    """
    conn.execute(delete(chunk).where(chunk.c.job == key))
    row = conn.execute(select(*_COLUMNS).where(import_job.c.key == key).with_for_update()).first()
    return None if row is None or row.phase == JobPhase.DONE else _job(row)


def end(conn: Connection, key: int, message: str, now: int) -> None:
    """End a job as FAILED, whoever holds a claim of it: call it after `lock_to_end` in the same transaction.

    Claims of it are void from now on, so nothing that is still being read for it can be committed.
    """
    conn.execute(
        update(import_job)
        .where(import_job.c.key == key)
        .values(
            status=JobStatus.FAILED,
            phase=JobPhase.DONE,
            message=message,
            ended_at=now,
            claim=None,
            claimed_until=None,
        )
    )
    _drop_work(conn, key)


def _drop_work(conn: Connection, key: int) -> None:
    conn.execute(delete(chunk).where(chunk.c.job == key))
    gc_candidates.add_staged(conn, key)
    conn.execute(delete(staged).where(staged.c.job == key))
