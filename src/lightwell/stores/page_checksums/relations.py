"""Reads every page of PostgreSQL's tables, which compares each with its checksum, if the cluster has them.

Values that lie apart (TOAST) are read with their rows. Indexes are not read; PostgreSQL's own tools
pg_basebackup and pg_checksums compare all files.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

BLOCKS = 1000


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, its size in pages without what lies apart, and the size of a page in bytes."""

    oid: int
    name: str
    pages: int
    page_size: int


def tables(conn: Connection, first: int = 0) -> list[Relation]:
    """All tables from the object identifier ``first`` on, in that order: lightwell's own and PgQueuer's."""
    found = conn.execute(
        text(
            "SELECT oid::bigint AS oid, relname, pg_relation_size(oid) / current_setting('block_size')::int,"
            " current_setting('block_size')::int FROM pg_class WHERE relkind = 'r' AND oid >= :first"
            " AND relnamespace = current_schema()::regnamespace ORDER BY pg_class.oid"
        ),
        {"first": first},
    )
    return [Relation(*row) for row in found]


def read_blocks(conn: Connection, table: str, first: int, end: int) -> int:
    """Read the rows of these pages, all columns; how many there are. Raises what a damaged page raises."""
    rows = conn.execute(
        text(
            f'SELECT count(hashtext(t::text)) FROM "{table}" t'
            f" WHERE ctid >= '({first},0)'::tid AND ctid < '({end},0)'::tid"
        )
    ).scalar_one()
    return int(rows)
