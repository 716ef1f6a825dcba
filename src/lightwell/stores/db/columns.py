"""What all tables share; see `tables`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Text

metadata = MetaData()

# Compared and sorted by bytes, as SQLite does, whatever the locale of the PostgreSQL database.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def key(name: str = "key", **kw: object) -> Column[int]:
    return Column(name, BigInteger, autoincrement=False, **kw)  # type: ignore[arg-type]
