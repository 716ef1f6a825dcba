"""Records that the audit trail owes: written by the transaction that did what they tell, until it has them.

A row is there for some seconds. One that stays was left by a process that was killed, or that could not write
its trail to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

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


def writers(conn: Connection, node: str) -> list[str]:
    """Whose chains of this data folder owe something, in their order."""
    table = audit_owed.c
    query = select(table.writer).where(table.node == node).distinct().order_by(table.writer)
    return list(conn.execute(query).scalars())


def left(conn: Connection, node: str, writer: str, limit: int) -> dict[str, int]:
    """The ids of the oldest debts of a writer, and when they were made."""
    table = audit_owed.c
    query = select(table.id, table.at).where(table.node == node, table.writer == writer)
    rows = conn.execute(query.order_by(table.at, table.id).limit(limit))
    return {id: at for id, at in rows}


def get(conn: Connection, ids: Sequence[str]) -> list[Debt]:
    """Those of these debts that are not paid, the oldest first."""
    table = audit_owed.c
    columns = (table.id, table.node, table.writer, table.at, table.records)
    rows = conn.execute(select(*columns).where(table.id.in_(ids)).order_by(table.at, table.id))
    return [Debt(*row) for row in rows]


def take_over(conn: Connection, node: str, writer: str, before: int, limit: int) -> None:
    """Make the oldest debts of other data folders, made before a time, those of a writer of this one."""
    table = audit_owed.c
    of_others = select(table.id, table.node).where(table.node != node, table.at < before)
    for id, debtor in conn.execute(of_others.order_by(table.at, table.id).limit(limit)).all():
        # Not what somebody else has taken over meanwhile.
        where = (table.id == id, table.node == debtor)
        conn.execute(update(audit_owed).where(*where).values(node=node, writer=writer))
