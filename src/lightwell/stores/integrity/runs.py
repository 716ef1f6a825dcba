"""How far runs of `data verify` have got. One of a mode is under way at most."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, not_, or_, select, update

from lightwell.domain.integrity import FaultKind
from lightwell.stores.db.tables import integrity_fault, integrity_run
from lightwell.stores.integrity.faults import BARE_PLACE, IS_OF_RUN

_KEPT = 20  # runs that have ended
# A run was seen at most so long ahead of the time by others; more than that, and the clock has been set back.
AHEAD_MS = 60_000


@dataclass(frozen=True, slots=True)
class Run:
    """A run; ``number`` counts those of all modes, and ``progress`` is what its owner has kept last."""

    key: int
    mode: str
    number: int
    started_at: int
    seen_at: int
    progress: dict[str, Any]


def unfinished(conn: Connection, mode: str) -> Run | None:
    """The run of a mode that is under way, or was interrupted."""
    t = integrity_run.c
    row = conn.execute(
        select(integrity_run)
        .where(t.mode == mode, t.finished_at.is_(None))
        .order_by(t.started_at.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    progress = json.loads(row.progress)
    return Run(row.key, row.mode, int(progress["number"]), row.started_at, row.seen_at, progress)


def begin(conn: Connection, key: int, mode: str, now: int) -> Run:
    """A new run; what was under way in its mode is given up."""
    t = integrity_run.c
    given_up = select(t.key).where(t.mode == mode, t.finished_at.is_(None))
    _drop(conn, list(conn.execute(given_up).scalars()))
    last = conn.execute(select(t.progress).order_by(t.started_at.desc()).limit(1)).scalar()
    number = 0 if last is None else int(json.loads(last)["number"]) + 1
    progress = {"number": number}
    row = {"key": key, "mode": mode, "started_at": now, "seen_at": now, "progress": json.dumps(progress)}
    conn.execute(insert(integrity_run), [row])
    old = select(t.key).where(t.finished_at.is_not(None)).order_by(t.started_at.desc()).offset(_KEPT)
    _drop(conn, list(conn.execute(old.limit(100)).scalars()))
    return Run(key, mode, number, now, now, progress)


def _drop(conn: Connection, keys: list[int]) -> None:
    """Forget runs and what they have found; what is damaged stays known."""
    if keys:
        conn.execute(delete(integrity_fault).where(integrity_fault.c.run.in_(keys), IS_OF_RUN))
        conn.execute(delete(integrity_run).where(integrity_run.c.key.in_(keys)))


def is_kept(conn: Connection, run: Run) -> bool:
    """Whether what a run has found is still there."""
    return conn.execute(select(integrity_run.c.key).where(integrity_run.c.key == run.key)).first() is not None


def keep(conn: Connection, run: Run, progress: dict[str, Any], now: int, *, is_over: bool = False) -> bool:
    """Keep how far a run has got; False if somebody else goes on with it, or has given it up."""
    t = integrity_run.c
    this = and_(t.key == run.key, t.seen_at == run.seen_at, t.finished_at.is_(None))
    values = {
        "seen_at": now if run.seen_at > now + AHEAD_MS else max(now, run.seen_at + 1),
        "progress": json.dumps(progress),
        "finished_at": now if is_over else None,
    }
    return conn.execute(update(integrity_run).where(this).values(values)).rowcount == 1


def last_finished(conn: Connection, modes: tuple[str, ...], now: int) -> int | None:
    """When the last run of these modes ended, in ms; None if none has.

    What ended after ``now`` did so before the clock was set back, nobody knows when, and is passed over.
    """
    t = integrity_run.c
    ended = and_(t.mode.in_(modes), t.finished_at <= now)
    found = conn.execute(select(func.max(t.finished_at)).where(ended)).scalar()
    return None if found is None else int(found)


def drop_healed(conn: Connection, run: Run, *, everything: bool) -> None:
    """Forget faults that were known before this run, which neither it nor another has found again since.

    ``everything``: it has looked at all; otherwise only at the bytes of all packs. What it could not read, or
    not without a key, it has not looked at.
    """
    t = integrity_fault.c
    found = select(BARE_PLACE).where(IS_OF_RUN, or_(t.run == run.key, t.found_at >= run.started_at))
    closed = select(t.pack, t.datastore).where(t.run == run.key, t.kind != FaultKind.DAMAGED.value)
    packs = closed.with_only_columns(t.pack).where(t.pack.is_not(None))
    stores = closed.with_only_columns(t.datastore).where(t.pack.is_(None), t.datastore.is_not(None))
    healed = delete(integrity_fault).where(
        not_(IS_OF_RUN),
        t.found_at < run.started_at,
        or_(t.run.is_(None), t.run != run.key),  # a row of an earlier release is that of its run
        t.place.not_in(found),
        or_(t.pack.is_(None), t.pack.not_in(packs)),
        or_(t.image_set.is_(None), t.datastore.is_(None), t.datastore.not_in(stores)),
    )
    conn.execute(healed if everything else healed.where(t.pack.is_not(None), t.record.is_(None)))
