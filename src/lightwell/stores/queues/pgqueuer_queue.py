"""The tables of PgQueuer, the queue of units of work on PostgreSQL, by the library's own statements.

Everything here runs in the caller's transaction on the caller's connection: what is queued there is never
delivered if it is rolled back, and is not lost in between. The library's `Queries` are used without its
workers, which hold a connection and an event loop each, and wake each other whenever a unit is done.

An entrypoint of PgQueuer is one phase of one job, so that whoever takes a unit says of which jobs; the
number of the unit is the payload. The rows of ``unit`` stay the truth (`work.dispatch`): whatever is lost
here can be queued again from them (`look_after`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection, text

from lightwell.domain.imports.units import QueuedJob, Unit
from lightwell.domain.states import JobPhase
from lightwell.stores.db.pgqueuer_schema import LOG_TABLE, TABLE, at_once, queries
from lightwell.stores.jobs import units

if TYPE_CHECKING:
    from pgqueuer.domain.models import Job

SILENT = timedelta(seconds=4)
"""Whoever holds a unit and has not been heard of for so long is dead: `beat` several times meanwhile."""

# Rows in one statement.
_ROWS = 5000
_LOCK = 0x6C7767717565  # of whoever looks after the queue; "lwgque"
_LOG_DAYS = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A unit as PgQueuer has delivered it to this process."""

    unit: Unit
    job: Job


def entrypoint(job: int, phase: JobPhase) -> str:
    return f"{phase}:{job}"


def key(unit: Unit) -> str:
    """What no two waiting entries have in common."""
    return f"{unit.phase}:{unit.job}:{unit.number}"


def enqueue(conn: Connection, job: QueuedJob, numbers: Sequence[int]) -> None:
    """`work.dispatch.Dispatch.enqueue`. A unit that is in the queue is not queued a second time."""
    put(conn, [Unit(job.key, job.phase, number) for number in numbers], job.priority)
    units.announce(conn, job, numbers)


def put(conn: Connection, which: Sequence[Unit], priority: int = 0) -> int:
    """Queue units, unless they are queued; returns how many were not."""
    count = 0
    for start in range(0, len(which), _ROWS):
        some = which[start : start + _ROWS]
        made = at_once(
            queries(conn).enqueue(
                [entrypoint(unit.job, unit.phase) for unit in some],
                [str(unit.number).encode() for unit in some],
                [priority] * len(some),
                dedupe_key=[key(unit) for unit in some],
                on_conflict="skip",
            )
        )
        count += sum(one is not None for one in made)
    return count


def deliver(conn: Connection, job: int, phase: JobPhase, to: UUID, count: int) -> list[Entry]:
    """At most so many units of a phase of a job: waiting ones, or those whose holder is silent."""
    from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
    from pgqueuer.ports.repository import EntrypointExecutionParameter

    jobs = at_once(
        queries(conn).dequeue(
            count,
            {QueueEntrypoint(entrypoint(job, phase)): EntrypointExecutionParameter(0)},
            QueueManagerId(to),
            None,
            SILENT,
        )
    )
    return [Entry(Unit(job, phase, int(one.payload or b"-1")), one) for one in jobs]


def acknowledge(conn: Connection, entries: Iterable[Entry]) -> None:
    """Take entries out of the queue whose units are over."""
    over = [(one.job, "successful", None) for one in entries]
    if over:
        at_once(queries(conn).log_jobs(over))  # type: ignore[arg-type]


def put_back(conn: Connection, entry: Entry, delay_ms: int = 0) -> None:
    """Let an entry be delivered again after a while."""
    at_once(queries(conn).retry_job(entry.job, timedelta(milliseconds=delay_ms), None))


def beat(conn: Connection, entries: Iterable[Entry]) -> None:
    """The holder of these entries lives."""
    at_once(queries(conn).update_heartbeat([one.job.id for one in entries]))


def silent(conn: Connection) -> set[tuple[int, JobPhase]]:
    """The phases of jobs of which some unit's holder is silent."""
    found = at_once(queries(conn).stale_jobs(SILENT, _ROWS))
    places = set()
    for one in found:
        phase, _, job = one.entrypoint.partition(":")
        places.add((int(job), JobPhase(phase)))
    return places


_MISSING = text(
    f"""
    SELECT unit.job, unit.phase, unit.number, coalesce(import_job.priority, 0)
    FROM unit JOIN import_job ON import_job.key = unit.job
    WHERE unit.state IN ('ready', 'claimed') AND NOT EXISTS (
        SELECT FROM {TABLE} q
        WHERE q.dedupe_key = unit.phase || ':' || unit.job || ':' || unit.number
        AND q.status IN ('queued', 'picked')
    )
    ORDER BY unit.job, unit.phase, unit.number LIMIT 50000
    """
)
_OVER = text(
    f"""
    DELETE FROM {TABLE} q
    WHERE CASE q.status WHEN 'picked' THEN q.heartbeat ELSE q.updated END < now() - interval '30 seconds'
    AND NOT EXISTS (
        SELECT FROM unit
        WHERE unit.job = split_part(q.dedupe_key, ':', 2)::bigint
        AND unit.phase = split_part(q.dedupe_key, ':', 1)
        AND unit.number = split_part(q.dedupe_key, ':', 3)::int
        AND unit.state IN ('ready', 'claimed')
    )
    """
)
# Written before the clock was set back: nobody has been heard of later than now.
_AHEAD = text(
    f"""
    UPDATE {TABLE} SET heartbeat = least(heartbeat, now()), execute_after = least(execute_after, now())
    WHERE heartbeat > now() + interval '1 minute' OR execute_after > now() + make_interval(secs => :delay)
    """
)
_OLD = text(f"DELETE FROM {LOG_TABLE} WHERE created < now() - make_interval(days => :days)")


def queue_missing(conn: Connection) -> int:
    """Queue the open units that are not in the queue; returns how many."""
    by_priority: dict[int, list[Unit]] = {}
    for job, phase, number, priority in conn.execute(_MISSING):
        by_priority.setdefault(priority, []).append(Unit(job, JobPhase(phase), number))
    return sum(put(conn, some, priority) for priority, some in by_priority.items())


def look_after(conn: Connection) -> int | None:
    """Queue what is missing, delete entries of units that are over and what is old in the log.

    Returns how many units were missing; None if another process does this now.
    """
    alone = conn.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar()
    if not alone:
        return None
    missing = queue_missing(conn)
    conn.execute(_AHEAD, {"delay": units.LONGEST_DELAY_MS / 1000})
    conn.execute(_OVER)
    conn.execute(_OLD, {"days": _LOG_DAYS})
    return missing
