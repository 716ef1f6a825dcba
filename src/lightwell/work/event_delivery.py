"""Delivery of events: each becomes a line of the event log, at least once, in outbox order."""

from __future__ import annotations

from sqlalchemy import Connection

from lightwell.clock import Clock
from lightwell.stores import Stores
from lightwell.stores.background import outbox
from lightwell.work.event_log import EventLog

_AT_ONCE = 200


def deliver(stores: Stores, log: EventLog, clock: Clock) -> int:
    """Deliver events that wait. Returns how many, 0 once none is left."""
    if stores.db.dialect == "sqlite":
        # There is one engine, so the writer need not be blocked while the file is written.
        with stores.db.read() as conn:
            waiting = list(outbox.waiting(conn, _AT_ONCE))
        if waiting:
            log.append([w.event for w in waiting])
            numbers = [w.number for w in waiting]
            stores.db.write(lambda conn: outbox.mark_delivered(conn, numbers, clock.now()))
        return len(waiting)

    with stores.db.read_singly() as conn:
        if not outbox.any_waiting(conn):
            return 0

    def work(conn: Connection) -> int:
        # The rows are locked while the file is written; other engines skip them.
        waiting = list(outbox.waiting(conn, _AT_ONCE))
        if waiting:
            log.append([w.event for w in waiting])
            outbox.mark_delivered(conn, [w.number for w in waiting], clock.now())
        return len(waiting)

    return stores.db.write(work)
