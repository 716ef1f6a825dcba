"""What a destination of `lightwell data move` is: empty, a move of this source under way, or somebody else's.

While a move is under way, the version of the destination's schema is one that no lightwell knows, so that no
server starts on half of the data; and the id of its storage names the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, delete, insert, select, text

from lightwell.domain.imports.units import QueuedJob
from lightwell.domain.states import JobPhase, UnitState
from lightwell.errors import LightwellError
from lightwell.stores.background.installation import MARKER, read_id, set_id
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import MOVING, REVISIONS, migrate, schema_revision
from lightwell.stores.db.tables import import_job, installation, unit
from lightwell.stores.jobs import import_jobs, transitions
from lightwell.stores.jobs.units import Enqueue
from lightwell.stores.moving import rows
from lightwell.stores.objects.interface import Objects

_MOVE, _MOVED = "move", "moved from"


@dataclass(frozen=True, slots=True)
class Begun:
    """A move: the id of its source, and the id that database and storage get once all is there."""

    source: str
    storage: str


def begin(db: Database, begun: Begun) -> Begun:
    """Claim an empty database for a move, or find the same move under way, which is returned.

    Raises `LightwellError` if there is anything else in it.
    """
    if schema_revision(db) is None:
        migrate(db)
    version = schema_revision(db)
    if (found := under_way(db)) is not None:
        if found.source != begun.source:
            raise LightwellError(
                f"Another source is being moved into the database {db.address}: go on with that one, or give "
                "an empty database"
            )
        return found
    if version != REVISIONS[-1]:
        raise LightwellError(
            f"The database {db.address} is not empty, and not of this version of lightwell: give an empty one"
        )
    db.write(lambda conn: _claim(conn, db.address, begun))
    return begun


def under_way(db: Database) -> Begun | None:
    """The move into the database that was begun and has not ended."""
    if schema_revision(db) != f"{MOVING}{REVISIONS[-1]}":
        return None
    with db.read() as conn:
        source, _, storage = (_value(conn, _MOVE) or "").partition(" ")
    return Begun(source, storage)


def _claim(conn: Connection, address: str, begun: Begun) -> None:
    if _value(conn, _MOVED) == begun.source:
        raise LightwellError(
            f"This source was moved into the database {address} already, which may have been used since"
        )
    held = [table.name for table in rows.tables() if not rows.is_empty(conn, table)]
    if held:
        raise LightwellError(
            f"The database {address} is not empty: its table {held[0]} has rows. Give an empty one: what is "
            "in it would be lost"
        )
    conn.execute(delete(installation))
    conn.execute(insert(installation), [{"name": _MOVE, "value": f"{begun.source} {begun.storage}"}])
    _set_version(conn, f"{MOVING}{REVISIONS[-1]}")


def finish(conn: Connection, begun: Begun, enqueue: Enqueue) -> int:
    """Make the database what any server may use, its open units queued; returns how many these are."""
    rows.count_on(conn)
    conn.execute(delete(installation))
    conn.execute(insert(installation), [{"name": _MOVED, "value": begun.source}])
    set_id(conn, begun.storage)
    _set_version(conn, REVISIONS[-1])
    return _enqueue_all(conn, enqueue)


def claim_storage(objects: Objects, begun: Begun) -> None:
    """Claim an empty storage for a move, or find that it was claimed for it.

    Raises `LightwellError` if there is anything else in it.
    """
    found = read_id(objects)
    if found in (_mark(begun), begun.storage):
        return
    if found is not None and found.startswith(MOVING):
        raise LightwellError(
            f"Another source is being moved to {objects.address}: go on with that one, or give an empty "
            "storage"
        )
    if found is not None or next(objects.list("packs"), None) is not None:
        raise LightwellError(
            f"{objects.address} is not empty, but the storage of another installation: give an empty one"
        )
    objects.put(MARKER, _mark(begun).encode())


def release_storage(objects: Objects, begun: Begun) -> None:
    """Give the storage its id: it has everything."""
    objects.put(MARKER, begun.storage.encode())


def _mark(begun: Begun) -> str:
    return f"{MOVING}{begun.source}"


def open_jobs(conn: Connection) -> list[str]:
    """The ids of import jobs that have not ended."""
    query = select(import_job.c.id).where(import_job.c.phase != JobPhase.DONE)
    return list(conn.execute(query.order_by(import_job.c.submitted_at)).scalars())


def _enqueue_all(conn: Connection, enqueue: Enqueue) -> int:
    query = (
        select(unit.c.job, unit.c.phase, unit.c.number)
        .where(unit.c.state == UnitState.READY)
        .order_by(unit.c.job, unit.c.phase, unit.c.number)
    )
    queued = 0
    for (key, phase), found in groupby(conn.execute(query).all(), lambda row: (row.job, row.phase)):
        job = import_jobs.get(conn, key)
        if job is None:
            continue
        numbers = [row.number for row in found]
        to: QueuedJob = transitions.queued(job, JobPhase(phase))
        enqueue(conn, to, numbers)
        queued += len(numbers)
    return queued


def _set_version(conn: Connection, version: str) -> None:
    conn.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})


def _value(conn: Connection, name: str) -> str | None:
    found = conn.execute(select(installation.c.value).where(installation.c.name == name)).scalar()
    return None if found is None else str(found)
