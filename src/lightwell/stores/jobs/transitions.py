"""How an import job goes from phase to phase: the statements that change its row.

Reading may begin while the input is still being listed. A phase of many units is over once none of them is
open; that is asked after the transaction of each that might have been the last, so that no row is written by
all of them, and again by whoever looks for jobs that stand still, in case that process has died in between.

Whoever locks rows of ``unit`` and the job's row locks them in this order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import zstandard
from sqlalchemy import Connection, delete, exists, or_, select, update

from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.units import QueuedJob
from lightwell.domain.states import JobPhase, JobStatus, UnitState
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.tables import chunk, import_job, outcome, staged, unit
from lightwell.stores.jobs import import_jobs, units
from lightwell.stores.jobs.staging import WaitingSeries
from lightwell.stores.jobs.units import Enqueue, NewUnit
from lightwell.stores.keys import job_values

# A unit of *commit* has whole studies: as many as have so many series or files.
_SERIES, _FILES = 32, 1000


def queued(job: Job, phase: JobPhase) -> QueuedJob:
    """What queues need to know of a job in one of its phases; see `jobs.may_work_at_phase`."""
    nodes = {
        JobPhase.LIST: (job.input_node, job.output_node),
        JobPhase.READ: (job.input_node,),
        JobPhase.REPORT: (job.output_node,),
    }.get(phase, ())
    node = next((each for each in nodes if each), None)
    return QueuedJob(job.key, phase, job.datastore, node, job.priority)


def begin_listing(conn: Connection, key: int, files: int | None = None) -> bool:
    """Forget what an earlier attempt has listed, and what was read of that; or keep its first ``files``.

    All of those are in chunks that are written, or were refused. SUBMITTED → IN_PROGRESS; False if the job
    was in progress before.
    """
    if files is None:
        units.remove(conn, key, JobPhase.READ)
        conn.execute(delete(chunk).where(chunk.c.job == key))
        conn.execute(delete(outcome).where(outcome.c.job == key))
        _drop_staged(conn, key)
        counted: dict[str, Any] = {"scanned": 0, "read": 0}
    else:
        # They were refused while a chunk of files before them was not full yet.
        again = conn.execute(delete(outcome).where(outcome.c.job == key, outcome.c.file >= files)).rowcount
        counted = {"scanned": files, "read": import_job.c.read - again}
    conn.execute(update(import_job).where(import_job.c.key == key).values(**counted))
    done = conn.execute(
        update(import_job)
        .where(import_job.c.key == key, import_job.c.status == JobStatus.SUBMITTED)
        .values(status=JobStatus.IN_PROGRESS)
    )
    return done.rowcount == 1


def count_listed(conn: Connection, key: int, scanned: int, refused: int) -> None:
    """So many files were found, ``refused`` more of which cannot be read: for whoever lists."""
    conn.execute(
        update(import_job)
        .where(import_job.c.key == key)
        .values(scanned=scanned, read=import_job.c.read + refused)
    )


def end_listing(conn: Connection, key: int, scanned: int) -> None:
    """*list* → *read*. Call `end_reading` once this is committed."""
    conn.execute(
        update(import_job)
        .where(import_job.c.key == key, import_job.c.phase == JobPhase.LIST)
        .values(phase=JobPhase.READ, scanned=scanned)
    )


def _lock(conn: Connection, key: int, phase: JobPhase) -> Job | None:
    """The job, locked, if it is in this phase and none of its units is open."""
    row = conn.execute(select(import_job.c.phase).where(import_job.c.key == key).with_for_update()).first()
    if row is None or row[0] != phase or units.any_open(conn, key, phase):
        return None
    return import_jobs.get(conn, key)


def end_reading(conn: Connection, key: int, series: Iterable[WaitingSeries], enqueue: Enqueue) -> bool:
    """*read* → *commit*, or → *report* if nothing was read; False if some unit is open.

    ``series`` are all that the job has staged, in input order; they do not change any more once no unit of
    *read* is open.
    """
    job = _lock(conn, key, JobPhase.READ)
    if job is None:
        return False
    new = [NewUnit(number, content=_pack(run)) for number, run in enumerate(studies_together(series))]
    _set_phase(conn, key, JobPhase.COMMIT, read=job.scanned)
    if new:
        units.add(conn, queued(job, JobPhase.COMMIT), new, enqueue)
    else:
        end_committing(conn, key, enqueue)
    return True


def end_committing(conn: Connection, key: int, enqueue: Enqueue) -> bool:
    """*commit* → *report*; False if some unit is open."""
    job = _lock(conn, key, JobPhase.COMMIT)
    if job is None:
        return False
    _set_phase(conn, key, JobPhase.REPORT)
    units.add(conn, queued(job, JobPhase.REPORT), [NewUnit(0)], enqueue)
    return True


def begin_phase(conn: Connection, key: int, phase: JobPhase, enqueue: Enqueue) -> bool:
    """Give a job in *list* or *report* its only unit; False if it has one.

    A server of a version that knew no units has none for the jobs that it accepts.
    """
    job = _lock(conn, key, phase)
    known = select(unit.c.number).where(unit.c.job == key, unit.c.phase == phase)
    if job is None or conn.execute(known).first() is not None:
        return False
    units.add(conn, queued(job, phase), [NewUnit(0)], enqueue)
    return True


def _set_phase(conn: Connection, key: int, phase: JobPhase, **more: Any) -> None:
    conn.execute(update(import_job).where(import_job.c.key == key).values(phase=phase, **more))


def standing_still(conn: Connection) -> list[tuple[int, JobPhase]]:
    """Jobs whose phase is over and that have not gone on: the process that should have seen to it is dead."""
    is_open = exists().where(
        unit.c.job == import_job.c.key,
        unit.c.phase == import_job.c.phase,
        or_(*(unit.c.state == state.value for state in units.OPEN)),
    )
    rows = conn.execute(
        select(import_job.c.key, import_job.c.phase).where(import_job.c.phase != JobPhase.DONE, ~is_open)
    )
    return [(key, JobPhase(phase)) for key, phase in rows]


def studies_together(series: Iterable[WaitingSeries]) -> Iterator[list[WaitingSeries]]:
    """Runs of series, the first of each study in input order, for one unit each.

    A study is never divided: which of its series become primary depends on which is committed first.
    """
    studies: dict[str, list[WaitingSeries]] = {}
    for one in series:
        studies.setdefault(one.study_instance_uid, []).append(one)
    run: list[WaitingSeries] = []
    files = 0
    for study in studies.values():
        more = sum(one.files for one in study)
        if run and (len(run) + len(study) > _SERIES or files + more > _FILES):
            yield run
            run, files = [], 0
        run += study
        files += more
    if run:
        yield run


def _pack(series: list[WaitingSeries]) -> bytes:
    named = [[one.study_instance_uid, one.series_instance_uid] for one in series]
    return zstandard.ZstdCompressor(write_checksum=True).compress(
        json.dumps(named, separators=(",", ":")).encode()
    )


def unpack_series(content: bytes) -> list[tuple[str, str]]:
    """(StudyInstanceUID, SeriesInstanceUID) of all series of a unit of *commit*, in input order."""
    return [tuple(pair) for pair in json.loads(zstandard.ZstdDecompressor().decompress(content))]


def finish(conn: Connection, key: int, status: JobStatus, message: str | None, now: int) -> bool:
    """COMPLETED or FAILED: the job is done, its units, chunks and staged rows are deleted.

    False if the job is over. The caller has ended the unit of which this comes, in the same transaction.
    """
    _remove_units(conn, key)
    return _end(conn, key, status, message, now)


def lock_to_end(conn: Connection, key: int) -> Job | None:
    """The job, locked so that whoever works on it waits; None if it is done. For `end`.

    Its units are deleted first, in the order in which a unit's own transaction locks them: once this returns,
    each has either been committed or never will be.
    """
    _remove_units(conn, key)
    found = conn.execute(select(import_job.c.phase).where(import_job.c.key == key).with_for_update()).first()
    return None if found is None or found[0] == JobPhase.DONE else import_jobs.get(conn, key)


def end(conn: Connection, key: int, message: str, now: int) -> None:
    """End a job as FAILED, whoever works on it: call it after `lock_to_end` in the same transaction.

    All claims of it are void from now on, so nothing that is still being read for it can be committed.
    """
    _end(conn, key, JobStatus.FAILED, message, now)


def _end(conn: Connection, key: int, status: JobStatus, message: str | None, now: int) -> bool:
    said = job_values.seal_reason(conn, job_values.JOB_MESSAGE, key, 0, message)
    done = conn.execute(
        update(import_job)
        .where(import_job.c.key == key, import_job.c.phase != JobPhase.DONE)
        .values(status=status, phase=JobPhase.DONE, message=said, ended_at=now)
    )
    # What was listed between the first statement that deletes units and the lock on the job's row.
    _remove_units(conn, key)
    has_dead = conn.execute(
        select(unit.c.number).where(unit.c.job == key, unit.c.state == UnitState.DEAD).limit(1)
    ).first()
    if has_dead is None:
        # Otherwise it is kept which files those were.
        conn.execute(delete(chunk).where(chunk.c.job == key))
    _drop_staged(conn, key)
    return done.rowcount == 1


def _remove_units(conn: Connection, key: int) -> None:
    """Delete the units of a job but those that were given up, and count what they have settled."""
    removed = conn.execute(
        delete(unit)
        .where(unit.c.job == key, unit.c.state != UnitState.DEAD)
        .returning(unit.c.state, unit.c.files)
    )
    files = sum(count for state, count in removed if state == UnitState.DONE)
    if files:
        counted = update(import_job).where(
            import_job.c.key == key, import_job.c.phase.in_((JobPhase.LIST, JobPhase.READ))
        )
        conn.execute(counted.values(read=import_job.c.read + files))


def _drop_staged(conn: Connection, key: int) -> None:
    gc_candidates.add_staged(conn, key)
    conn.execute(delete(staged).where(staged.c.job == key))
