"""Units that were given up: which files they were about, so that a new job can try those again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection, delete, select

from lightwell.domain.imports.jobs import InputFile
from lightwell.domain.states import JobPhase, OutcomeKind, UnitState
from lightwell.stores.db.tables import chunk, outcome, unit
from lightwell.stores.jobs import chunks


def phases(conn: Connection, job: int) -> set[JobPhase]:
    """The phases of which units of a job were given up."""
    found = conn.execute(
        select(unit.c.phase).where(unit.c.job == job, unit.c.state == UnitState.DEAD).distinct()
    )
    return {JobPhase(phase) for phase in found.scalars()}


def files(conn: Connection, job: int) -> list[InputFile]:
    """The files of a job that were not imported because units of *read* and *commit* were given up.

    They are those with an outcome that blames the server. They keep their numbers.
    """
    failed = set(
        conn.execute(
            select(outcome.c.file).where(outcome.c.job == job, outcome.c.kind == OutcomeKind.SERVER)
        ).scalars()
    )
    rows = conn.execute(
        select(chunk.c.number, chunk.c.first_file, chunk.c.files_z)
        .where(chunk.c.job == job)
        .order_by(chunk.c.first_file)
    )
    found = (chunks.unpack(conn, job, *row) for row in rows)
    return [file for some in found for file in some if file.number in failed]


def renumbered(found: Iterable[InputFile]) -> list[InputFile]:
    """The files as those of a job of their own, from number 0 on."""
    return [replace(f, number=number) for number, f in enumerate(found)]


def forget(conn: Connection, job: int) -> int:
    """Delete the units of a job that were given up, and what was kept for them. Returns how many."""
    gone = conn.execute(delete(unit).where(unit.c.job == job, unit.c.state == UnitState.DEAD))
    conn.execute(delete(chunk).where(chunk.c.job == job))
    return gone.rowcount
