"""How far the chains of the audit trail of each data folder had come, noted in the database.

So it is seen when the end of a chain is missing, by whoever has the database: the chain itself cannot say so.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select, update

from lightwell.observe.audit.heads import Head
from lightwell.stores.db.tables import audit_head


def note(conn: Connection, heads: Sequence[Head], now: int) -> None:
    """Note each head; one that had come further by an earlier note stays as it is noted."""
    table = audit_head.c
    for head in heads:
        where = (table.node == head.node, table.writer == head.writer, table.key_id == head.key_id)
        values = {"number": head.number, "mac": head.mac.hex(), "noted_at": now}
        known = conn.execute(select(table.number).where(*where)).scalar()
        if known is None:
            names = {"node": head.node, "writer": head.writer, "key_id": head.key_id}
            conn.execute(insert(audit_head).values(**names, **values))
        elif known < head.number:
            conn.execute(update(audit_head).where(*where).values(**values))


def newest(conn: Connection, node: str) -> int | None:
    """When a head of this data folder was noted last, in milliseconds; None if none is."""
    found = conn.execute(select(func.max(audit_head.c.noted_at)).where(audit_head.c.node == node)).scalar()
    return None if found is None else int(found)


def of_nodes(conn: Connection, nodes: Sequence[str]) -> list[Head]:
    """What is noted of the chains of these data folders."""
    table = audit_head.c
    rows = conn.execute(
        select(table.node, table.writer, table.key_id, table.number, table.mac)
        .where(table.node.in_(nodes))
        .order_by(table.writer, table.number)
    )
    return [Head(row.node, row.writer, row.key_id, row.number, bytes.fromhex(row.mac)) for row in rows]
