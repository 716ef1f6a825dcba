"""Reads every page of PostgreSQL's tables, which compares each with its checksum, if the cluster has them.

Values that lie apart (TOAST) are read with their rows. Indexes are not read; PostgreSQL's own tools
pg_basebackup and pg_checksums compare all files.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

BLOCKS = 2000


def tables(conn: Connection) -> list[str]:
    """All tables, lightwell's own and those of PgQueuer."""
    found = conn.execute(
        text(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = current_schema()::regnamespace ORDER BY relname"
        )
    )
    return [str(name) for name in found.scalars()]


def blocks_of(conn: Connection, table: str) -> int:
    """How many pages a table has, without what lies apart."""
    found = conn.execute(
        text("SELECT pg_relation_size(to_regclass(:table)) / current_setting('block_size')::int"),
        {"table": f'"{table}"'},
    ).scalar()
    return int(found or 0)


def read_blocks(conn: Connection, table: str, first: int, end: int) -> int:
    """Read the rows of these pages, all columns; how many there are. Raises what a damaged page raises."""
    rows = conn.execute(
        text(
            f'SELECT count(hashtext(t::text)) FROM "{table}" t'
            f" WHERE ctid >= '({first},0)'::tid AND ctid < '({end},0)'::tid"
        )
    ).scalar_one()
    return int(rows)
