"""How the tables themselves are a queue: which units wait, and claims of them that end unless renewed.

All times are the database's, so that no server's clock matters. On PostgreSQL claimants pass over the rows
that others are about to take (SKIP LOCKED) and wait for nobody; no row is written by all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Update,
    and_,
    any_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    update,
)

from lightwell.domain.imports.fairness import OpenJob
from lightwell.domain.imports.units import Token, Unit
from lightwell.domain.states import JobPhase, UnitState
from lightwell.stores.db.now import now_by
from lightwell.stores.db.tables import import_job, unit
from lightwell.stores.jobs.units import LEASE_MS, is_due, no_flush, until, until_by

_PHASES = (JobPhase.LIST, JobPhase.READ, JobPhase.COMMIT, JobPhase.REPORT)
_IS_READY = unit.c.state == literal_column("'ready'")  # not a parameter: the index is partial
_NO_FLUSH = text("SET LOCAL synchronous_commit TO off")

# How long a claim holds whose row does not say: no engine writes such a one any more.
_UNSAID_MS = 60_000


def _ends() -> ColumnElement[int]:
    return func.coalesce(unit.c.claimed_until, unit.c.claimed_at + literal(_UNSAID_MS), 0)


def _has_ended(dialect: str) -> ColumnElement[bool]:
    """Whether a claim is over. One that ends later than any made now was made before the clock was set back:
    its holder renews it at once if it lives."""
    at = now_by(dialect)
    return or_(_ends() < at, _ends() > at + literal(LEASE_MS[dialect] + _UNSAID_MS))


def _ready_of(phase: JobPhase, at: ColumnElement[int]) -> ColumnElement[bool]:
    return and_(
        unit.c.job == import_job.c.key,
        unit.c.phase == literal_column(f"'{phase.value}'"),
        _IS_READY,
        is_due(at),
    )


@functools.cache
def _open_jobs(dialect: str) -> Select[Any]:
    """Made once, as is all that is run again and again: that costs several times what running it does."""
    at = now_by(dialect)
    first, last = func.min(unit.c.number), func.max(unit.c.number)
    numbers = [select(first).where(_ready_of(phase, at)).scalar_subquery() for phase in _PHASES]
    numbers.append(select(last).where(_ready_of(JobPhase.READ, at)).scalar_subquery())
    return (
        select(
            import_job.c.key,
            import_job.c.phase,
            import_job.c.datastore,
            import_job.c.priority,
            import_job.c.input_node,
            import_job.c.output_node,
            import_job.c.submitted_at,
            import_job.c.scanned,
            *numbers,
        )
        .where(import_job.c.phase.in_(_PHASES))
        .order_by(import_job.c.submitted_at, import_job.c.key)
    )


@functools.cache
def _taken(dialect: str) -> Select[Any]:
    ended = func.sum(case((_has_ended(dialect), 1), else_=0))
    return (
        select(unit.c.job, func.count(), ended)
        .where(unit.c.state == literal_column("'claimed'"))
        .group_by(unit.c.job)
    )


_ANY_JOB = select(import_job.c.key).where(import_job.c.phase.in_(_PHASES)).limit(1)


def any_open_job(conn: Connection) -> bool:
    """Whether `open_jobs` would find any: several times cheaper where there is none."""
    return conn.execute(_ANY_JOB).first() is not None


def open_jobs(conn: Connection) -> list[OpenJob]:
    """All jobs that are not done, oldest first, in two statements, which need not see the same state."""
    jobs = conn.execute(_open_jobs(conn.dialect.name)).all()
    if not jobs:
        return []
    taken = {job: (count, over or 0) for job, count, over in conn.execute(_taken(conn.dialect.name))}
    read = _PHASES.index(JobPhase.READ)
    return [
        OpenJob(
            key=row[0],
            phase=JobPhase(row[1]),
            datastore=row[2],
            priority=row[3],
            input_node=row[4],
            output_node=row[5],
            submitted_at=row[6],
            size=row[7],
            ready=frozenset(
                phase for phase, first in zip(_PHASES, row[8:], strict=False) if first is not None
            ),
            claimed=taken.get(row[0], (0, 0))[0],
            ended=taken.get(row[0], (0, 0))[1] > 0,
            waiting=0 if row[-1] is None else row[-1] - (row[8 + read] or 0) + 1,
        )
        for row in jobs
    ]


def need_no_flush(conn: Connection) -> None:
    """For a transaction of signs of life alone, which are not worth a flush of PostgreSQL's log."""
    if conn.dialect.name == "postgresql":
        conn.execute(_NO_FLUSH)


_OF_PHASE = and_(unit.c.job == bindparam("of_job"), unit.c.phase == bindparam("of_phase"))


@functools.cache
def _claim(dialect: str) -> Update:
    at = now_by(dialect)
    ready = (
        select(unit.c.number)
        .where(_OF_PHASE, _IS_READY, is_due(at), unit.c.number >= bindparam("first"))
        .order_by(unit.c.number)
        .limit(bindparam("count"))
        .with_for_update(skip_locked=True)
    )
    # As an array they are found once and looked up by key, whatever PostgreSQL knows of the table.
    is_one = (
        unit.c.number.in_(ready)
        if dialect == "sqlite"
        else unit.c.number == any_(func.array(ready.scalar_subquery(), type_=ARRAY(Integer)))
    )
    return (
        update(unit)
        .where(_OF_PHASE, is_one, _IS_READY)
        .values(
            state=UnitState.CLAIMED,
            claim=bindparam("name"),
            claimed_at=at,
            claimed_until=until_by(dialect),
            tries=unit.c.tries + 1,
        )
        .returning(unit.c.number, unit.c.tries, no_flush(dialect))
    )


def claim(conn: Connection, job: int, phase: JobPhase, name: str, count: int, first: int = 0) -> list[Token]:
    """Take the first ``count`` units from number ``first`` on that are ready, in their order.

    The transaction is not flushed (`units.no_flush`).
    """
    named = {"of_job": job, "of_phase": phase, "first": first, "name": name, "count": count}
    rows = conn.execute(_claim(conn.dialect.name), named)
    return [Token(Unit(job, phase, number), name, tries) for number, tries, _ in sorted(rows)]


def give_back(conn: Connection, tokens: Iterable[Token]) -> set[Unit]:
    """Make units ready again that were claimed and not begun: it is as if they had not been taken.

    Returns those that were still these tokens'.
    """
    given: set[Unit] = set()
    by_claim: dict[tuple[int, JobPhase, str], list[int]] = {}
    for token in tokens:
        by_claim.setdefault((token.unit.job, token.unit.phase, token.claim), []).append(token.unit.number)
    for (job, phase, name), numbers in by_claim.items():
        # A row that some transaction has locked is about to be settled, and waits for nobody here.
        free = (
            select(unit.c.number)
            .where(
                unit.c.job == job,
                unit.c.phase == phase,
                unit.c.number.in_(numbers),
                unit.c.state == UnitState.CLAIMED,
                unit.c.claim == name,
            )
            .with_for_update(skip_locked=True)
        )
        done = conn.execute(
            update(unit)
            .where(unit.c.job == job, unit.c.phase == phase, unit.c.number.in_(free), unit.c.claim == name)
            .values(state=UnitState.READY, claim=None, claimed_until=None, tries=unit.c.tries - 1)
            .returning(unit.c.number)
        )
        given |= {Unit(job, phase, number) for number in done.scalars()}
    return given


def renew(conn: Connection, names: Collection[str]) -> set[str]:
    """Extend claims, all in one statement; returns those that are still held.

    A row that some transaction has locked is about to be settled, and waits for nobody here.
    """
    held = select(unit.c.job, unit.c.phase, unit.c.number).where(
        unit.c.state == UnitState.CLAIMED, unit.c.claim.in_(list(names))
    )
    ours = held.with_for_update(skip_locked=True).cte("ours")
    renewed = conn.execute(
        update(unit)
        .where(
            unit.c.job == ours.c.job,
            unit.c.phase == ours.c.phase,
            unit.c.number == ours.c.number,
            unit.c.state == UnitState.CLAIMED,
        )
        .values(claimed_until=until(conn))
        .returning(unit.c.claim)
    )
    kept = set(renewed.scalars())
    if missing := set(names) - kept:
        still = select(unit.c.claim).where(unit.c.state == UnitState.CLAIMED, unit.c.claim.in_(missing))
        kept |= set(conn.execute(still).scalars())
    return kept


def take_back(conn: Connection) -> int:
    """Make the units ready whose claims have ended. Returns how many."""
    is_over = and_(unit.c.state == UnitState.CLAIMED, _has_ended(conn.dialect.name))
    which = select(unit.c.job, unit.c.phase, unit.c.number).where(is_over)
    over = which.with_for_update(skip_locked=True).cte("ended")
    same = and_(unit.c.job == over.c.job, unit.c.phase == over.c.phase, unit.c.number == over.c.number)
    done = conn.execute(
        update(unit)
        .where(same, is_over)
        .values(state=UnitState.READY, claim=None, claimed_until=None, not_before=0)
        .returning(unit.c.number)
    )
    return len(done.all())
