"""A job with units of *read* in the database, without any files: for tests of what hands units out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update

from lightwell.domain.imports.units import QueuedJob
from lightwell.domain.states import JobPhase, JobStatus, UnitState
from lightwell.stores import Stores
from lightwell.stores.db.pgqueuer_schema import TABLE
from lightwell.stores.db.tables import import_job, unit
from lightwell.stores.jobs import unit_claims, units
from lightwell.stores.queues import pgqueuer_queue

BLAMED = """
    SELECT count(*) FROM chunk
    JOIN unit ON unit.job = chunk.job AND unit.number = chunk.number AND unit.phase = 'read'
    WHERE chunk.deaths IS NOT NULL AND unit.state IN ('ready', 'claimed')
"""
"""How many chunks are yet to be read of which a worker has died: another death at the same file fails it."""


def add_job(
    stores: Stores, key: int, count: int, *, priority: int = 0, datastore: int = 1, queue: bool = True
) -> QueuedJob:
    """A job that is being read, in ``count`` units; ``queue``: and the queue has them."""
    job = QueuedJob(key, JobPhase.READ, datastore, None, priority)

    def work(conn: Connection) -> None:
        insert_job(conn, job)
        add_units(stores, conn, job, range(count), queue=queue)

    stores.db.write(work)
    return job


def insert_job(conn: Connection, job: QueuedJob) -> None:
    conn.execute(
        insert(import_job).values(
            key=job.key,
            id=f"job-{job.key}",
            datastore=job.datastore,
            status=JobStatus.IN_PROGRESS,
            phase=job.phase,
            role_arn="arn",
            input_uri="s3://in/",
            output_uri="s3://out/",
            caller="arn",
            submitted_at=job.key,
            scanned=1,
            read=0,
            priority=job.priority,
        )
    )


def add_units(
    stores: Stores, conn: Connection, job: QueuedJob, numbers: Sequence[int], *, queue: bool = True
) -> None:
    new = [units.NewUnit(number, 1) for number in numbers]
    if queue:
        units.add(conn, job, new, stores.enqueue)
    else:
        units.add(conn, job, new, lambda conn, job, numbers: None)


def states(stores: Stores) -> list[tuple[int, str]]:
    """(number, state) of all units of job 1."""
    with stores.db.read() as conn:
        rows = conn.execute(
            select(unit.c.number, unit.c.state).where(unit.c.job == 1).order_by(unit.c.number)
        )
        return [(number, UnitState(state)) for number, state in rows]


def hold_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is claimed from now on stays so until `let_lapse`, even if this process stops for long."""
    hour = timedelta(hours=1)
    for dialect in units.LEASE_MS:
        monkeypatch.setitem(units.LEASE_MS, dialect, hour // timedelta(milliseconds=1))
    for module, name in ((units, "_stamp"), (unit_claims, "_claim"), (unit_claims, "_taken")):
        # The statements are made once, and have the leases of then.
        monkeypatch.setattr(module, name, functools.cache(getattr(module, name).__wrapped__))
    monkeypatch.setattr(pgqueuer_queue, "SILENT", hour)


def let_lapse(stores: Stores) -> None:
    """All claims end now."""

    def work(conn: Connection) -> None:
        conn.execute(update(unit).where(unit.c.claim.is_not(None)).values(claimed_until=1))
        if conn.dialect.name == "postgresql":
            conn.execute(text(f"UPDATE {TABLE} SET heartbeat = now() - interval '2 hours'"))

    stores.db.write(work)


def remove_jobs(conn: Connection) -> None:
    """All jobs and their units, as if there had never been any."""
    conn.execute(delete(unit))
    conn.execute(delete(import_job))
