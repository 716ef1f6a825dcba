"""Events that wait for delivery, written in the transaction that they report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from lightwell.stores.db.tables import outbox

_APPEND = insert(outbox)


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event that has not been delivered; ``event`` is its JSON."""

    number: int
    event: str


def append(conn: Connection, event: Mapping[str, object]) -> None:
    """Add a whole EventBridge envelope (`domain.events`) to the outbox."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    conn.execute(_APPEND, {"event": text})


_ANY_WAITING = select(outbox.c.number).where(outbox.c.delivered_at.is_(None)).limit(1)


def any_waiting(conn: Connection) -> bool:
    return conn.execute(_ANY_WAITING).first() is not None


def waiting(conn: Connection, limit: int) -> Sequence[PendingEvent]:
    """The oldest events that have not been delivered.

    Numbers are assigned before their transaction commits, so a lower one may appear later: delivered events
    are marked one by one, never "up to this number". On PostgreSQL, events that another process is
    delivering are left out until its transaction ends.
    """
    rows = conn.execute(
        select(outbox.c.number, outbox.c.event)
        .where(outbox.c.delivered_at.is_(None))
        .order_by(outbox.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [PendingEvent(row.number, row.event) for row in rows]


def mark_delivered(conn: Connection, numbers: Sequence[int], now: int) -> None:
    """Mark events as delivered at ``now``."""
    if numbers:
        conn.execute(update(outbox).where(outbox.c.number.in_(numbers)).values(delivered_at=now))


def newest(
    conn: Connection, before: int | None, span: int, limit: int, containing: Sequence[str]
) -> tuple[list[PendingEvent], int | None]:
    """Events below the number ``before``, newest first, delivered or not.

    At most ``limit`` of ``span`` numbers, whose JSON contains each of the given texts. The second is the
    number below which to go on, None at the end.
    """
    if before is None:
        newest = conn.execute(select(func.max(outbox.c.number))).scalar()
        if newest is None:
            return [], None
        before = newest + 1
    oldest = before - span
    statement = (
        select(outbox.c.number, outbox.c.event)
        .where(outbox.c.number < before, outbox.c.number >= oldest)
        .order_by(outbox.c.number.desc())
        .limit(limit)
    )
    for text in containing:
        statement = statement.where(outbox.c.event.contains(text, autoescape=True))
    found = [PendingEvent(row.number, row.event) for row in conn.execute(statement)]
    if len(found) == limit:
        return found, found[-1].number
    last = conn.execute(select(func.max(outbox.c.number)).where(outbox.c.number < oldest)).scalar()
    return found, None if last is None else int(last) + 1
