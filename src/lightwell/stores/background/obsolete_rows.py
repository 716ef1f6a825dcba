"""Deletes old rows of events, client tokens, outcomes and dead units, a bounded number at a time.

Each function deletes at most ``limit`` rows that became obsolete before a time, in ms since the epoch, and
returns how many; 0 once none is left.
"""

from __future__ import annotations

from sqlalchemy import Connection, Table, delete, exists, select, tuple_

from lightwell.domain.states import JobPhase
from lightwell.stores.db.tables import chunk, import_job, outbox, outcome, token, unit


def remove_events(conn: Connection, before: int, limit: int) -> int:
    """Of events that were delivered. They are looked for from the oldest on, which were delivered first."""
    oldest = select(outbox.c.number, outbox.c.delivered_at).order_by(outbox.c.number).limit(limit).subquery()
    old = select(oldest.c.number).where(oldest.c.delivered_at < before)
    return conn.execute(delete(outbox).where(outbox.c.number.in_(old))).rowcount


def remove_client_tokens(conn: Connection, before: int, limit: int) -> int:
    key = (token.c.operation, token.c.account, token.c.token)
    old = select(*key).where(token.c.created_at < before).limit(limit)
    rows = [tuple(row) for row in conn.execute(old)]
    return conn.execute(delete(token).where(tuple_(*key).in_(rows))).rowcount if rows else 0


def remove_outcomes(conn: Connection, before: int, limit: int) -> int:
    """Of jobs that ended; their reports tell the same."""
    has_some = exists().where(outcome.c.job == import_job.c.key)
    old = select(import_job.c.key).where(
        import_job.c.phase == JobPhase.DONE, import_job.c.ended_at < before, has_some
    )
    job = conn.execute(old.limit(1)).scalar()
    if job is None:
        return 0
    files = select(outcome.c.file).where(outcome.c.job == job).order_by(outcome.c.file).limit(limit)
    last = max(conn.execute(files).scalars(), default=0)  # none, if another process has just removed them
    return conn.execute(delete(outcome).where(outcome.c.job == job, outcome.c.file <= last)).rowcount


def remove_dead_units(conn: Connection, before: int, limit: int) -> int:
    """Of jobs that ended, and then their lists of files: without its outcomes no file can be tried again.

    As long as one unit of a job is left, all of its lists are, so that `queue retry` retries all or nothing.
    """
    ended = (import_job.c.phase == JobPhase.DONE, import_job.c.ended_at < before)
    dead = select(unit.c.job).join(import_job, import_job.c.key == unit.c.job)
    job = conn.execute(dead.where(unit.c.state == "dead", *ended).limit(1)).scalar()
    table: Table = unit
    if job is None:
        listed = select(chunk.c.job).join(import_job, import_job.c.key == chunk.c.job)
        job = conn.execute(listed.where(*ended).limit(1)).scalar()
        table = chunk
    if job is None:
        return 0
    key = tuple(table.primary_key.columns)
    some = conn.execute(select(*key).where(table.c.job == job).limit(limit)).all()
    return conn.execute(delete(table).where(tuple_(*key).in_([tuple(row) for row in some]))).rowcount
