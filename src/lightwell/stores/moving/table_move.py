"""Copies all rows of a database into another one, and compares them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Table

from lightwell.errors import LightwellError, StorageError
from lightwell.stores.db.database import Database
from lightwell.stores.moving import rows
from lightwell.stores.moving.changes import Changes
from lightwell.stores.moving.rows import Key, Row

_GRAMS: tuple[Literal["study", "series"], ...] = ("study", "series")


@dataclass(frozen=True, slots=True)
class TableDigest:
    """What a table holds: how many rows, and the SHA-256 of all in the order of their keys."""

    table: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Page:
    """The rows of the old database between two keys, in plain form; ``last`` is None for no bound."""

    after: Key | None
    last: Key | None
    rows: Sequence[Row]


class TableMove:
    """One move. ``show`` is called with rows done and rows in all."""

    def __init__(
        self, old: Database, new: Database, changes: Changes, show: Callable[[str, int, int], None]
    ) -> None:
        self._old = old
        self._new = new
        self._changes = changes
        self._show = show
        self._total = 0

    def copy(self) -> None:
        """Bring the new database what it does not have yet. Raises `StorageError`, `LightwellError`."""
        # For the bars alone: PostgreSQL gives up counting what takes longer than a minute.
        with suppress(StorageError), self._old.read() as conn:
            self._total = sum(rows.count(conn, table) for table in rows.tables())
        done = 0
        for table in rows.tables():
            try:
                done = self._copy(table, done)
            except Exception as error:
                if not rows.is_duplicate(error):
                    raise
                # The source was used since an earlier attempt, and a row has got another key.
                while self._new.write(lambda conn, table=table: rows.clear(conn, table)):  # type: ignore[misc]
                    pass
                done = self._copy(table, done)
        self._index()

    def _copy(self, table: Table, done: int) -> int:
        for page in self._pages(table):
            try:
                self._new.write(lambda conn, page=page: self._put(conn, table, page))  # type: ignore[misc]
            except Exception as error:
                if rows.is_unfit(error):
                    raise LightwellError(
                        f"The table {table.name} has a row that {self._new.address} cannot hold: {error}"
                    ) from error
                raise
            done += len(page.rows)
            self._show("rows", done, self._total)
        return done

    def _put(self, conn: Connection, table: Table, page: _Page) -> None:
        found = rows.between(conn, table, page.after, page.last)
        if list(self._changes.plain_of_new(table, found)) != list(page.rows):
            rows.replace(conn, table, page.after, page.last, self._changes.to_new(table, page.rows))

    def _index(self) -> None:
        self._new.write(rows.forget_grams)
        for of in _GRAMS:
            for page in self._pages(rows.grams_table(of)):
                self._new.write(
                    lambda conn, of=of, page=page: rows.index_grams(  # type: ignore[misc]
                        conn, of, page.after, page.last, page.rows
                    )
                )

    def _pages(self, table: Table) -> Iterator[_Page]:
        """All rows of the old database; the last page has no upper bound."""
        after: Key | None = None
        with self._old.read() as conn:
            found = rows.page(conn, table, None)
        while True:
            last = rows.key_of(table, found[-1]) if found else None
            ahead: list[Row] = []
            if last is not None:
                with self._old.read() as conn:
                    ahead = rows.page(conn, table, last)
            plain = self._changes.plain_of_old(table, found)
            yield _Page(after, last if ahead else None, plain)
            if not ahead:
                return
            after, found = last, ahead

    def compare(self) -> tuple[list[TableDigest], list[str]]:
        """Read both again; what each table holds, and in which sentences they differ."""
        digests, problems, done = [], [], 0
        for table in rows.tables():
            digest, count = hashlib.sha256(), 0
            for page in self._pages(table):
                with self._new.read() as conn:
                    found = rows.between(conn, table, page.after, page.last)
                there = list(self._changes.plain_of_new(table, found))
                if there != list(page.rows):
                    problems.append(_difference(table, page.rows, there))
                    break
                count += len(there)
                digest.update(repr(there).encode())
                self._show("rows compared", done := done + len(there), self._total)
            digests.append(TableDigest(table.name, count, digest.hexdigest()))
        return digests, [*problems, *self._unsearchable()]

    def _unsearchable(self) -> list[str]:
        lost = []
        for of in _GRAMS:
            for page in self._pages(rows.grams_table(of)):
                with self._new.read() as conn:
                    missing = rows.missing_grams(conn, of, page.rows)
                if missing:
                    lost.append(f"the search index of {of} lacks {len(missing)} rows, such as {missing[0]}")
                    break
        return lost


def _difference(table: Table, old: Sequence[Row], new: Sequence[Row]) -> str:
    mine = {rows.key_of(table, row): row for row in old}
    theirs = {rows.key_of(table, row): row for row in new}
    first = min((key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)), default=())
    what = "is missing" if first not in theirs else "should not be there" if first not in mine else "differs"
    return f"the table {table.name}: the row {', '.join(map(str, first))} {what} in the new database"
