"""The rows of a database in the order of their keys, as `lightwell data move` reads, writes, compares them.

Tables are taken in pages: ranges of the primary key, which both databases sort alike. A page is written in
one transaction, and only if the destination does not have it already; so a move that was interrupted goes on
where it was, and one whose source has changed meanwhile brings what has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    exc,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy import table as named

from lightwell.stores.db.bulk import insert_many
from lightwell.stores.db.columns import metadata
from lightwell.stores.db.tables import (
    audit_head,
    installation,
    integrity_fault,
    integrity_run,
    outbox,
    server,
)
from lightwell.stores.qido import grams

Row = tuple[Any, ...]
Key = tuple[Any, ...]

_ROWS = 1000
# What is true of the old place only: its servers and the ends of their audit trails, which storage it belongs
# to, and what is damaged there. What its trails owe is moved, since nobody may ever start there again.
_NOT_MOVED = tuple(table.name for table in (server, installation, integrity_run, integrity_fault, audit_head))


def tables() -> list[Table]:
    """The tables that are moved."""
    return [table for table in metadata.sorted_tables if table.name not in _NOT_MOVED]


def count(conn: Connection, table: Table) -> int:
    return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def count_of(conn: Connection, name: str) -> int:
    """How many rows the table of this name has, in whatever version of the schema."""
    return int(conn.execute(select(func.count()).select_from(named(name))).scalar_one())


def is_empty(conn: Connection, table: Table) -> bool:
    return conn.execute(select(table).limit(1)).first() is None


def key_of(table: Table, row: Row) -> Key:
    """The primary key of a row."""
    return tuple(row[place] for place in _places(table))


def page(conn: Connection, table: Table, after: Key | None, limit: int = _ROWS) -> list[Row]:
    """The rows that follow a key, None for the first, all columns in the order of the table."""
    query = select(table).where(*_within(table, after, None)).order_by(*_keys(table)).limit(limit)
    return [tuple(row) for row in conn.execute(query)]


def between(conn: Connection, table: Table, after: Key | None, last: Key | None) -> list[Row]:
    """The rows that follow ``after``, up to and with ``last``; None for no bound."""
    query = select(table).where(*_within(table, after, last)).order_by(*_keys(table))
    return [tuple(row) for row in conn.execute(query)]


def replace(conn: Connection, table: Table, after: Key | None, last: Key | None, rows: Sequence[Row]) -> None:
    """Put these rows instead of those that follow ``after`` up to ``last``."""
    conn.execute(delete(table).where(*_within(table, after, last)))
    names = [column.name for column in table.columns]
    insert_many(conn, table, [dict(zip(names, row, strict=True)) for row in rows])


def clear(conn: Connection, table: Table) -> int:
    """Delete the first rows of a table, so many that it takes no long time; returns how many."""
    last = [key_of(table, row) for row in page(conn, table, None)]
    if last:
        conn.execute(delete(table).where(*_within(table, None, last[-1])))
    return len(last)


def is_duplicate(error: Exception) -> bool:
    """Whether a row was refused because another one has its unique values."""
    state = getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    return isinstance(error, exc.IntegrityError) or str(state).startswith("23")


def is_unfit(error: Exception) -> bool:
    """Whether a value cannot be held by this database, such as U+0000 in a text by PostgreSQL."""
    state = getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    is_of_driver = type(error).__module__.startswith("psycopg") and type(error).__name__ == "DataError"
    return isinstance(error, exc.DataError) or str(state).startswith("22") or is_of_driver


def index_grams(
    conn: Connection, of: grams.Of, after: Key | None, last: Key | None, rows: Sequence[Row]
) -> None:
    """Write the grams of a page of ``study`` or ``primary_series``; see `forget_grams`."""
    table = grams_table(of)
    names = [column.name for column in table.columns]
    if conn.dialect.name == "postgresql":
        bounds = {"after": -1 if after is None else after[0], "last": 2**63 - 1 if last is None else last[0]}
        conn.execute(text(f"DELETE FROM {of}_grams WHERE {of} > :after AND {of} <= :last"), bounds)
    for row in rows:
        grams.replace(conn, of, key_of(table, row)[0], None, dict(zip(names, row, strict=True)))


def forget_grams(conn: Connection) -> None:
    """On SQLite, drop what an interrupted move has indexed: it cannot be told which rows that are."""
    if conn.dialect.name == "sqlite":
        for of in ("study", "series"):
            conn.exec_driver_sql(f"INSERT INTO {of}_grams ({of}_grams) VALUES ('delete-all')")


def missing_grams(conn: Connection, of: grams.Of, rows: Sequence[Row]) -> list[Key]:
    """The keys of those of these rows of whose texts not all grams are indexed."""
    table = grams_table(of)
    names = [column.name for column in table.columns]
    lost = []
    for row in rows:
        key = key_of(table, row)
        wanted = grams.grams_of(of, dict(zip(names, row, strict=True)))
        if not wanted:
            continue
        if conn.dialect.name == "postgresql":
            found = conn.execute(
                text(
                    f"SELECT 1 FROM {of}_grams WHERE {of} = :key"
                    " AND grams = array_to_tsvector(string_to_array(:grams, ' '))"
                ),
                {"key": key[0], "grams": wanted},
            ).first()
        else:
            some = " ".join(f'"{each}"' for each in wanted.split(" ")[:50])
            found = conn.exec_driver_sql(
                f"SELECT 1 FROM {of}_grams WHERE {of}_grams MATCH ? AND rowid = ?", (some, key[0])
            ).first()
        if found is None:
            lost.append(key)
    return lost


def grams_table(of: grams.Of) -> Table:
    return metadata.tables["study" if of == "study" else "primary_series"]


def count_on(conn: Connection) -> None:
    """Let the next event get a number that no moved one has, and PostgreSQL know its tables."""
    if conn.dialect.name == "postgresql":
        highest = conn.execute(select(func.max(outbox.c.number))).scalar()
        if highest is not None:
            conn.execute(
                text("SELECT setval(pg_get_serial_sequence('outbox', 'number'), :n)"), {"n": highest}
            )


def analyze(conn: Connection, table: Table) -> None:
    """Let PostgreSQL know what a table holds."""
    if conn.dialect.name == "postgresql":
        conn.execute(text(f'ANALYZE "{table.name}"'))


def _keys(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


def _places(table: Table) -> Iterator[int]:
    names = [column.name for column in table.columns]
    return (names.index(column.name) for column in _keys(table))


def _within(table: Table, after: Key | None, last: Key | None) -> list[ColumnElement[bool]]:
    keys = _keys(table)
    found: list[ColumnElement[bool]] = []
    for bound, is_lower in ((after, True), (last, False)):
        if bound is None:
            continue
        if len(keys) == 1:
            found.append(keys[0] > bound[0] if is_lower else keys[0] <= bound[0])
            continue
        key = tuple_(*keys)
        to = tuple_(*(literal(value, column.type) for value, column in zip(bound, keys, strict=True)))
        found.append(key > to if is_lower else key <= to)
    return [and_(*found)] if found else []
