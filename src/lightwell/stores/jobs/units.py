"""Rows of ``unit``: the units of work of import jobs, whose each is, and which are done.

They are the truth for every engine (`work.dispatch`). Whoever keeps the result of a unit calls `close` in
the same transaction, which fails where the row no longer bears the claim of its token; so a result is kept
once however often a unit is delivered. `hold` says the same in the middle of longer work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    text,
    update,
)

from lightwell.domain.imports.units import QueuedJob, Token, Unit
from lightwell.domain.states import JobPhase, UnitState
from lightwell.stores.background.wakeups import CHANNEL
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.now import now, now_by
from lightwell.stores.db.tables import unit
from lightwell.stores.keys import job_values

LEASE_MS = {"sqlite": 10_000, "postgresql": 4_000}
"""How long a claim holds without being renewed. On SQLite there is one engine, which can outlive no other."""

LONGEST_DELAY_MS = 600_000
"""For how long a unit may have to wait before it is tried again. A time that is further away was written
before the clock was set back, and counts as past: otherwise the unit would wait until the clock is there."""

OPEN = (UnitState.READY, UnitState.CLAIMED)

Enqueue = Callable[[Connection, QueuedJob, Sequence[int]], None]
"""`work.dispatch.Dispatch.enqueue`, for those below `work`."""


@dataclass(frozen=True, slots=True)
class NewUnit:
    """A unit to be added; ``files`` are settled once it is done."""

    number: int
    files: int = 0
    content: bytes | None = None


def announce(conn: Connection, job: QueuedJob, numbers: Sequence[int]) -> None:
    """Let engines that wait look at the tables once this is committed: the rows themselves are the queue."""
    if conn.dialect.name == "postgresql" and numbers:
        conn.execute(text("SELECT pg_notify(:channel, :phase)"), {"channel": CHANNEL, "phase": job.phase})


def add(conn: Connection, job: QueuedJob, new: Iterable[NewUnit], enqueue: Enqueue = announce) -> None:
    """Write the rows of units, and queue them."""
    since, every = now(conn), list(new)
    sealer = job_values.sealer(conn, job.key) if any(each.content for each in every) else None
    rows = [
        {
            "job": job.key,
            "phase": job.phase,
            "number": each.number,
            "state": UnitState.READY,
            "files": each.files,
            "not_before": 0,
            "tries": 0,
            "content": job_values.seal(
                sealer, _about(job_values.CONTENT, job.phase), job.key, each.number, each.content
            ),
        }
        for each in every
    ]
    if rows:
        conn.execute(insert(unit).values(since=since), rows)
        enqueue(conn, job, [row["number"] for row in rows])  # type: ignore[misc]


def is_unit(one: Unit) -> ColumnElement[bool]:
    return and_(unit.c.job == one.job, unit.c.phase == one.phase, unit.c.number == one.number)


def _is_held(token: Token) -> ColumnElement[bool]:
    return and_(is_unit(token.unit), unit.c.state == UnitState.CLAIMED, unit.c.claim == token.claim)


def until(conn: Connection) -> ColumnElement[int]:
    """When a claim that is made or renewed now ends."""
    return until_by(conn.dialect.name)


def until_by(dialect: str) -> ColumnElement[int]:
    """`until` for statements that are made once."""
    return now_by(dialect) + literal(LEASE_MS[dialect])


def is_due(at: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a unit that is ready may be taken at this time."""
    return or_(unit.c.not_before <= at, unit.c.not_before > at + literal(LONGEST_DELAY_MS))


# What is run for each unit is made once: that costs several times what running it does.
_IS_NAMED = and_(
    unit.c.job == bindparam("of_job"),
    unit.c.phase == bindparam("of_phase"),
    unit.c.number == bindparam("of_number"),
)


def _named(one: Unit) -> dict[str, object]:
    return {"of_job": one.job, "of_phase": one.phase, "of_number": one.number}


def no_flush(dialect: str) -> ColumnElement[str]:
    """For a statement that claims a unit to return, so that PostgreSQL does not flush its transaction.

    A claim that is lost with the database server leaves a unit that is ready.
    """
    return literal_column(
        "set_config('synchronous_commit', 'off', true)" if dialect == "postgresql" else "''"
    )


@functools.cache
def _stamp(dialect: str) -> Update:
    return (
        update(unit)
        .where(
            unit.c.job == bindparam("of_job"),
            unit.c.phase == bindparam("of_phase"),
            unit.c.number.in_(bindparam("numbers", expanding=True)),
            unit.c.state.in_(OPEN),
        )
        .values(
            state=UnitState.CLAIMED,
            claim=bindparam("name"),
            claimed_at=now_by(dialect),
            claimed_until=until_by(dialect),
            tries=unit.c.tries + 1,
        )
        .returning(unit.c.number, unit.c.tries, no_flush(dialect))
    )


_CLOSE = (
    update(unit)
    .where(_IS_NAMED, unit.c.state == UnitState.CLAIMED, unit.c.claim == bindparam("name"))
    .values(state=bindparam("ending"), claim=None, claimed_until=None, note=bindparam("why"))
)


def stamp(
    conn: Connection, job: int, phase: JobPhase, numbers: Sequence[int], claim: str
) -> dict[int, Token]:
    """Give units to whoever bears ``claim``, whoever had them before; without those done, dead or gone.

    For engines with a queue of their own, which decides when a worker is dead. The claim ends by itself, too,
    unless it is renewed, for engines that have the rows alone. The transaction is not flushed (`no_flush`).
    """
    named = {"of_job": job, "of_phase": phase, "numbers": list(numbers), "name": claim}
    rows = conn.execute(_stamp(conn.dialect.name), named)
    return {number: Token(Unit(job, phase, number), claim, tries) for number, tries, _ in rows}


def hold(conn: Connection, token: Token) -> bool:
    """Whether the unit is still this token's. It stays so until the transaction ends, and the claim begins
    anew."""
    done = conn.execute(update(unit).where(_is_held(token)).values(claimed_until=until(conn)))
    return done.rowcount == 1


def close(conn: Connection, token: Token, dead: str | None = None) -> bool:
    """End a unit: it is done, or ``dead`` says why it was given up. False if it is not this token's."""
    ending, note = (UnitState.DONE, None) if dead is None else (UnitState.DEAD, _note(conn, token.unit, dead))
    done = conn.execute(_CLOSE, {**_named(token.unit), "name": token.claim, "ending": ending, "why": note})
    return done.rowcount == 1


def _note(conn: Connection, one: Unit, why: str) -> str:
    return job_values.seal_reason(conn, _about(job_values.NOTE, one.phase), one.job, one.number, why)


def shown_note(conn: Connection, one: Unit, note: str | None) -> str | None:
    """Why a unit was given up, of the column that says so."""
    return job_values.shown_text(conn, _about(job_values.NOTE, one.phase), one.job, one.number, note)


def _about(place: bytes, phase: JobPhase) -> bytes:
    return b"%s %s" % (place, phase.encode())


def release(conn: Connection, token: Token, delay_ms: int = 0) -> bool:
    """Make a unit ready again, for nobody before ``delay_ms``; False if it is not this token's."""
    not_before = now(conn) + literal(delay_ms) if delay_ms else literal(0)
    done = conn.execute(
        update(unit)
        .where(_is_held(token))
        .values(state=UnitState.READY, claim=None, claimed_until=None, not_before=not_before)
    )
    return done.rowcount == 1


def release_all(conn: Connection) -> None:
    """Make everything ready that is claimed: for the only engine of a database when it starts."""
    conn.execute(
        update(unit)
        .where(unit.c.state == UnitState.CLAIMED)
        .values(state=UnitState.READY, claim=None, claimed_until=None)
    )


def any_open(conn: Connection, job: int, phase: JobPhase) -> bool:
    """Whether a unit of a phase is ready or claimed."""
    return any(
        conn.execute(
            select(unit.c.number)
            .where(unit.c.job == job, unit.c.phase == phase, unit.c.state == state.value)
            .limit(1)
        ).first()
        for state in OPEN
    )


_ANY_READY = (
    select(unit.c.number)
    .where(
        unit.c.job == bindparam("of_job"),
        unit.c.phase == bindparam("of_phase"),
        unit.c.state == literal_column("'ready'"),  # not a parameter: the index is partial
    )
    .limit(1)
)


def any_ready(conn: Connection, job: int, phase: JobPhase) -> bool:
    """Whether a unit of a phase is ready: cheaper than `any_open`, and enough to know that some is open."""
    return conn.execute(_ANY_READY, {"of_job": job, "of_phase": phase}).first() is not None


def files_done(conn: Connection, jobs: Sequence[int]) -> dict[int, int]:
    """How many files the units that are done or dead have settled, by job."""
    rows = conn.execute(
        select(unit.c.job, func.sum(unit.c.files))
        .where(unit.c.job.in_(list(jobs)), unit.c.state.in_((UnitState.DONE, UnitState.DEAD)))
        .group_by(unit.c.job)
    )
    return {job: int(files) for job, files in rows}


def content(conn: Connection, one: Unit) -> bytes | None:
    """The content of a unit of *commit*, or how far one of *list* has come."""
    found = conn.execute(select(unit.c.content).where(is_unit(one))).scalar()
    about = _about(job_values.CONTENT, one.phase)
    return None if found is None else job_values.opened(conn, about, one.job, one.number, found)


def keep_content(conn: Connection, one: Unit, content: bytes | None) -> None:
    """For whoever holds the unit."""
    sealer = None if content is None else job_values.sealer(conn, one.job)
    sealed = job_values.seal(sealer, _about(job_values.CONTENT, one.phase), one.job, one.number, content)
    conn.execute(update(unit).where(is_unit(one)).values(content=sealed))


def remove(conn: Connection, job: int, phase: JobPhase) -> None:
    """Delete the units of a phase of a job."""
    conn.execute(delete(unit).where(unit.c.job == job, unit.c.phase == phase))


def ended(conn: Connection, which: Sequence[Unit]) -> set[Unit]:
    """Those of the units that are done, dead or gone: they need not be delivered any more."""
    left: set[Unit] = set()
    by_phase: dict[tuple[int, JobPhase], list[int]] = {}
    for one in which:
        by_phase.setdefault((one.job, one.phase), []).append(one.number)
    for (job, phase), numbers in by_phase.items():
        for some in batches(numbers):
            found = conn.execute(
                select(unit.c.number).where(
                    unit.c.job == job,
                    unit.c.phase == phase,
                    unit.c.number.in_(some),
                    unit.c.state.in_(OPEN),
                )
            )
            left |= {Unit(job, phase, number) for number in found.scalars()}
    return set(which) - left


def open_numbers(conn: Connection, job: int, phase: JobPhase) -> list[int]:
    """The numbers of the units of a phase that are ready or claimed."""
    which = select(unit.c.number).where(unit.c.job == job, unit.c.phase == phase, unit.c.state.in_(OPEN))
    return list(conn.execute(which.order_by(unit.c.number)).scalars())
