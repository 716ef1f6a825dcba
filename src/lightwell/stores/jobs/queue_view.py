"""The queue of units of work as people and monitoring see it. No engine depends on what stands here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, func, select

from lightwell.domain.imports.units import Unit
from lightwell.domain.states import JobPhase, UnitState
from lightwell.stores.db.now import now
from lightwell.stores.db.tables import datastore, import_job, unit
from lightwell.stores.jobs.units import OPEN, is_due, shown_note

_SHOWN = (*OPEN, UnitState.DEAD)


@dataclass(frozen=True, slots=True)
class Depth:
    """How many units of a phase are in a state; ``oldest_ms``: since when the oldest was queued."""

    phase: JobPhase
    state: UnitState
    units: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class QueuedUnits:
    """The units of one phase of a job that are in one state.

    ``delayed`` of them are not to be taken before some time. ``again``: how many were taken before.
    """

    job: str
    datastore: str
    priority: int
    phase: JobPhase
    state: UnitState
    units: int
    files: int
    delayed: int
    again: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class OneUnit:
    """A unit that somebody has, or that was given up; ``who`` is as the claims of its engine begin."""

    job: str
    phase: JobPhase
    number: int
    files: int
    tries: int
    who: str | None
    held_ms: int | None
    note: str | None


def depths(conn: Connection) -> list[Depth]:
    """What is open and what was given up, by phase and state."""
    rows = conn.execute(
        select(unit.c.phase, unit.c.state, func.count(), now(conn) - func.min(unit.c.since))
        .where(unit.c.state.in_(_SHOWN))
        .group_by(unit.c.phase, unit.c.state)
    )
    return [Depth(JobPhase(row[0]), UnitState(row[1]), row[2], max(0, row[3])) for row in rows]


def summary(
    conn: Connection, *, job: str | None = None, states: Collection[UnitState] = _SHOWN
) -> list[QueuedUnits]:
    """What is open and what was given up, by job, phase and state, oldest first."""
    at = now(conn)
    oldest = func.min(unit.c.since)
    query = (
        select(
            import_job.c.id,
            datastore.c.name,
            import_job.c.priority,
            unit.c.phase,
            unit.c.state,
            func.count(),
            func.sum(unit.c.files),
            func.sum(case((and_(unit.c.state == UnitState.READY, ~is_due(at)), 1), else_=0)),
            func.sum(case((unit.c.tries > case((unit.c.state == UnitState.READY, 0), else_=1), 1), else_=0)),
            at - oldest,
        )
        .join(import_job, import_job.c.key == unit.c.job)
        .join(datastore, datastore.c.key == import_job.c.datastore)
        .where(unit.c.state.in_(list(states)))
        .group_by(import_job.c.id, datastore.c.name, import_job.c.priority, unit.c.phase, unit.c.state)
        .order_by(oldest, import_job.c.id, unit.c.phase, unit.c.state)
    )
    if job is not None:
        query = query.where(import_job.c.id == job)
    return [
        QueuedUnits(
            job=row[0],
            datastore=row[1],
            priority=row[2],
            phase=JobPhase(row[3]),
            state=UnitState(row[4]),
            units=row[5],
            files=int(row[6]),
            delayed=int(row[7]),
            again=int(row[8]),
            oldest_ms=max(0, row[9]),
        )
        for row in conn.execute(query)
    ]


def of_state(
    conn: Connection, state: UnitState, *, job: str | None = None, limit: int = 1000
) -> list[OneUnit]:
    """The units that are claimed, longest held first, or those that were given up."""
    query = (
        select(
            import_job.c.id,
            unit.c.phase,
            unit.c.number,
            unit.c.files,
            unit.c.tries,
            unit.c.claim,
            now(conn) - unit.c.claimed_at,
            unit.c.note,
            unit.c.job,
        )
        .join(import_job, import_job.c.key == unit.c.job)
        .where(unit.c.state == state.value)
        .order_by(unit.c.claimed_at, unit.c.job, unit.c.phase, unit.c.number)
        .limit(limit)
    )
    if job is not None:
        query = query.where(import_job.c.id == job)
    return [
        OneUnit(
            row[0],
            JobPhase(row[1]),
            row[2],
            row[3],
            row[4],
            row[5],
            row[6],
            shown_note(conn, Unit(row[8], JobPhase(row[1]), row[2]), row[7]),
        )
        for row in conn.execute(query)
    ]
