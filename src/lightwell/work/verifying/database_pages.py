"""The pages of the database against their checksums, as far as the database lets them be read."""

from __future__ import annotations

from collections.abc import Iterator

from lightwell.errors import DamagedError
from lightwell.stores.db.database import Database
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.integrity.faults import Fault
from lightwell.stores.page_checksums import relations
from lightwell.stores.page_checksums.pages import damaged_pages


def check(db: Database) -> Iterator[tuple[int, list[Fault]]]:
    """(how many pages were read more, what is damaged among them)."""
    return _of_sqlite(db) if db.dialect == "sqlite" else _of_postgresql(db)


def _of_sqlite(db: Database) -> Iterator[tuple[int, list[Fault]]]:
    before = 0
    for pages, damaged in damaged_pages(sqlite_path(db.url)):
        yield pages - before, [_fault(f"page {number}", "its checksum differs") for number in damaged]
        before = pages


def _of_postgresql(db: Database) -> Iterator[tuple[int, list[Fault]]]:
    with db.read() as conn:
        tables = relations.tables(conn)
    for table in tables:
        with db.read() as conn:
            pages = relations.blocks_of(conn, table)
        for first in range(0, pages, relations.BLOCKS):
            end = min(first + relations.BLOCKS, pages)
            yield end - first, list(_of_blocks(db, table, first, end))


def _of_blocks(db: Database, table: str, first: int, end: int) -> Iterator[Fault]:
    try:
        with db.read() as conn:
            relations.read_blocks(conn, table, first, end)
    except DamagedError as error:
        if end - first > 1:
            middle = (first + end) // 2
            yield from _of_blocks(db, table, first, middle)
            yield from _of_blocks(db, table, middle, end)
        else:
            yield _fault(f"page {first} of table {table}", str(error).split(";")[0])


def _fault(where: str, reason: str) -> Fault:
    return Fault(place=f"database {where}", reason=f"{where} of the database is damaged: {reason}")
