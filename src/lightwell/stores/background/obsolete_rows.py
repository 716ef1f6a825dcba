"""Deletes old rows of events, client tokens and outcomes, a bounded number at a time.

Each function deletes at most ``limit`` rows that became obsolete before a time, in ms since the epoch, and
returns how many; 0 once none is left.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, exists, select, tuple_

from lightwell.domain.states import JobPhase
from lightwell.stores.db.tables import import_job, outbox, outcome, token


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
    last = max(conn.execute(files).scalars())
    return conn.execute(delete(outcome).where(outcome.c.job == job, outcome.c.file <= last)).rowcount
