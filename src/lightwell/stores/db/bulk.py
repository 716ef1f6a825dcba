"""Bulk inserts, by the fastest way that each database has, and keys in batches for ``IN (...)``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql

_PG = postgresql.dialect()  # type: ignore[no-untyped-call]
_T = TypeVar("_T")

KEYS_PER_STATEMENT = 500
"""How many values one ``IN (...)`` names at most."""


def batches(values: Iterable[_T], size: int = KEYS_PER_STATEMENT) -> Iterator[list[_T]]:
    """``values`` in order, in lists of at most ``size``; no list for no values."""
    every = list(values)
    for start in range(0, len(every), size):
        yield every[start : start + size]


def insert_many(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert ``rows``, which all have the same columns.

    Raises IntegrityError if one violates a constraint.
    """
    if not rows:
        return
    columns = tuple(rows[0])
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql(_insert(table, columns), _tuples(rows, columns))
    elif len(rows) < 20:
        _insert_arrays(conn, table, rows, columns, "")
    else:
        _copy(conn, table, rows, columns)


def insert_missing(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> int:
    """Insert those of ``rows`` whose ``keys``, the columns of a unique constraint, do not exist yet.

    Returns how many these were. Afterwards every row exists, from whichever transaction, and the next
    statement of the same transaction sees it. Rows are inserted in key order, so that two transactions with
    the same rows cannot deadlock.
    """
    if not rows:
        return 0
    columns = tuple(rows[0])
    if len(rows) > 1:
        rows = sorted(rows, key=lambda row: tuple(row[name] for name in keys))
    tail = f" ON CONFLICT ({', '.join(map(_quoted, keys))}) DO NOTHING"
    if conn.dialect.name == "sqlite":
        return conn.exec_driver_sql(_insert(table, columns) + tail, _tuples(rows, columns)).rowcount
    return _insert_arrays(conn, table, rows, columns, tail)


def _tuples(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    try:
        tuples = [tuple(row[name] for name in columns) for row in rows]
    except KeyError as error:
        raise ValueError(f"rows differ in their columns: {error.args[0]!r} is missing in one") from None
    if any(len(row) != len(columns) for row in rows):
        raise ValueError("rows differ in their columns")
    return tuples


@lru_cache(256)
def _insert(table: Table, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {_quoted(table.name)} ({_names(table, columns)}) VALUES ({marks})"


def _insert_arrays(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...], tail: str
) -> int:
    """One statement and one round trip, however many rows: an array a column. Returns how many were new."""
    arrays = tuple(map(list, zip(*_tuples(rows, columns), strict=True)))
    return conn.exec_driver_sql(_insert_from_arrays(table, columns) + tail, arrays).rowcount


@lru_cache(256)
def _insert_from_arrays(table: Table, columns: tuple[str, ...]) -> str:
    names = _names(table, columns)
    arrays = ", ".join(f"%s::{_type(table, name)}[]" for name in columns)
    return f"INSERT INTO {_quoted(table.name)} ({names}) SELECT * FROM unnest({arrays})"


def _copy(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...]
) -> None:
    tuples = _tuples(rows, columns)
    # Bypasses SQLAlchemy, in the same transaction: psycopg begins it with the first statement either way.
    if not conn.in_transaction():
        conn.begin()
    driver = conn.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(_copy_from(table, columns)) as copy:
        for row in tuples:
            copy.write_row(row)


@lru_cache(256)
def _copy_from(table: Table, columns: tuple[str, ...]) -> str:
    return f"COPY {_quoted(table.name)} ({_names(table, columns)}) FROM STDIN"


def _names(table: Table, columns: tuple[str, ...]) -> str:
    for name in columns:
        if name not in table.c:
            raise ValueError(f"the table {table.name} has no column {name!r}")
    return ", ".join(map(_quoted, columns))


def _type(table: Table, column: str) -> str:
    return table.c[column].type.compile(_PG).split(" COLLATE")[0]


def _quoted(name: str) -> str:
    return f'"{name}"'
