"""The database's clock, which all servers share, whatever their own clocks say."""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, Connection, literal_column

_SQLITE = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
_POSTGRESQL = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


def now(conn: Connection) -> ColumnElement[int]:
    """Milliseconds since the epoch by the database's clock."""
    return now_by(conn.dialect.name)


def now_by(dialect: str) -> ColumnElement[int]:
    """`now` for statements that are made once: ``sqlite`` or ``postgresql``."""
    return literal_column(_SQLITE if dialect == "sqlite" else _POSTGRESQL, BigInteger)
