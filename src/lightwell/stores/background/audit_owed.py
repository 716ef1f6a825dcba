"""Records that the audit trail owes: written by the transaction that did what they tell, until it has them.

A row is there for some seconds. One that stays was left by a process that was killed, or that could not write
its trail to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, or_, select, update

from lightwell.stores.db.tables import audit_owed


class Debt(NamedTuple):
    """Records of one transaction, lines of JSON without numbers, that all have this ``id``.

    Which process owes them: of which data folder (``node``), which ``writer`` there. ``at`` is when, in
    milliseconds.
    """

    id: str
    node: str
    writer: str
    at: int
    records: str


def add(conn: Connection, debt: Debt) -> None:
    """Note a debt in the transaction that makes it."""
    conn.execute(insert(audit_owed).values(debt._asdict()))


def clear(conn: Connection, ids: Sequence[str]) -> None:
    """Remove debts that are paid."""
    if ids:
        conn.execute(delete(audit_owed).where(audit_owed.c.id.in_(ids)))


def left(conn: Connection, node: str, before: int, limit: int) -> list[Debt]:
    """The oldest debts of this data folder, and of others if they are older than ``before``."""
    table = audit_owed.c
    rows = conn.execute(
        select(table.id, table.node, table.writer, table.at, table.records)
        .where(or_(table.node == node, table.at < before))
        .order_by(table.at, table.id)
        .limit(limit)
    )
    return [Debt(*row) for row in rows]


def take_over(conn: Connection, debts: Sequence[Debt], node: str, writer: str) -> list[Debt]:
    """Make them those of another process; all but what others have taken over or paid meanwhile."""
    table, taken = audit_owed.c, []
    for debt in debts:
        where = (table.id == debt.id, table.node == debt.node)
        if conn.execute(update(audit_owed).where(*where).values(node=node, writer=writer)).rowcount:
            taken.append(debt._replace(node=node, writer=writer))
    return taken
