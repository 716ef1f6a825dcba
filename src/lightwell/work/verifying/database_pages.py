"""The pages of the database against their checksums, part by part, as far as it lets them be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lightwell.errors import DamagedError
from lightwell.stores.db.database import Database
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.integrity.faults import Fault
from lightwell.stores.page_checksums import relations, write_ahead_log
from lightwell.stores.page_checksums.pages import has_checksums, read_pages
from lightwell.stores.page_checksums.vfs import PAGE

START = -1
# A place among PostgreSQL's pages: the table's object identifier, and the number of a block.
_BLOCK_BITS = 32


@dataclass(frozen=True, slots=True)
class PartOfPages:
    """``pages`` were read, which have so many ``bytes``; the next part comes after the place ``end``."""

    pages: int
    bytes: int
    end: int
    found: list[Fault]


def check(db: Database, after: int) -> PartOfPages | None:
    """The next few megabytes of pages after the place ``after``; None when there are no more.

    No transaction is longer than that. Raises `StorageError`.
    """
    return _of_sqlite(db, after) if db.dialect == "sqlite" else _of_postgresql(db, after)


def size(db: Database) -> int:
    """The bytes of all pages that there are to read."""
    if db.dialect == "sqlite":
        path = sqlite_path(db.url)
        return path.stat().st_size if has_checksums(path) else 0
    with db.read() as conn:
        return sum(table.pages * table.page_size for table in relations.tables(conn))


def _of_sqlite(db: Database, after: int) -> PartOfPages | None:
    path = sqlite_path(db.url)
    part = read_pages(path, max(after, 0))
    if part is None:
        return None
    found = [_fault(f"page {number}", "its checksum differs") for number in part.damaged]
    if after < 0 and (frame := write_ahead_log.damaged_frame(path)) is not None:
        found.append(_fault(f"log {path.name}-wal", f"frame {frame} is not as it was written"))
    return PartOfPages(part.read, part.read * PAGE, part.end, found)


def _of_postgresql(db: Database, after: int) -> PartOfPages | None:
    oid, first = divmod(max(after, 0), 1 << _BLOCK_BITS)
    with db.read() as conn:
        tables = relations.tables(conn, oid)
    pages = size = 0
    found: list[Fault] = []
    for table in tables:
        begin = first if table.oid == oid else 0
        end = min(begin + relations.BLOCKS - pages, table.pages)
        if begin < end:
            found += _of_blocks(db, table.name, begin, end)
            pages += end - begin
            size += (end - begin) * table.page_size
            after = table.oid << _BLOCK_BITS | end
            if pages >= relations.BLOCKS:
                break
    return PartOfPages(pages, size, after, found) if pages else None


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
