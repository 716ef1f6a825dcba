"""Searching image sets: the right ones, in order, page by page, and from indexes alone."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, update

from lightwell.domain.image_sets.search import Bound, SearchCriteria
from lightwell.stores.account.datastores import DatastoreGoneError
from lightwell.stores.db import tables
from lightwell.stores.db.database import Database
from lightwell.stores.image_sets import search
from tests.support import image_set_builders

_EQUALS = (
    "patient_id",
    "accession_number",
    "study_id",
    "study_instance_uid",
    "series_instance_uid",
    "is_primary",
)
_RANGES = ("created_at", "updated_at", "study_moment")
_STORE, _OTHER_STORE = 11, 12
_ID = "a" * 32


def rows(count: int) -> list[dict[str, Any]]:
    """Sets with few values in every column, so that all combinations of conditions meet some."""
    chance = random.Random(7)
    found = []
    for number in range(count):
        day = chance.choice([None, None, "20200101", "20200102", "20210101"])
        found.append(
            image_set_builders.image_set_row(
                chance.choice([_STORE, _STORE, _STORE, _OTHER_STORE]),
                key=number + 1,
                created_at=chance.randrange(20),
                updated_at=chance.randrange(20),
                patient_id=chance.choice([None, "A", "B"]),
                accession_number=chance.choice([None, "A", "B"]),
                study_id=chance.choice([None, "1", "2"]),
                study_instance_uid=chance.choice(["1.1", "1.2"]),
                series_instance_uid=f"1.{number % 2}.{number}" if number % 3 else "1.1",
                is_primary=bool(number % 3) and chance.choice([True, True, False]),
                study_moment=day and f"{day}{chance.randrange(3):06}.000000",
            )
        )
    return found


_ROWS = rows(400)
_BOUNDS: dict[str, tuple[Bound, Bound]] = {
    "created_at": (5, 15),
    "updated_at": (3, 12),
    "study_moment": ("20200101000001.000000", "20200102000001.000000"),
}
_VALUES: dict[str, str | bool | None] = {
    "patient_id": "A",
    "accession_number": None,
    "study_id": "1",
    "study_instance_uid": "1.1",
    "series_instance_uid": "1.1",
    "is_primary": False,
}


def criteria(names: tuple[str, ...], sort: str, descending: bool) -> SearchCriteria:
    return SearchCriteria(
        {name: _VALUES[name] for name in names if name in _EQUALS},
        {name: _BOUNDS[name] for name in names if name in _RANGES},
        sort,
        descending,
    )


def expected(asked: SearchCriteria) -> list[str]:
    met = [
        row
        for row in _ROWS
        if row["listed_in"] == _STORE
        and all(row[name] == value for name, value in asked.equals.items())
        and all(
            row[name] is not None and low <= row[name] <= high for name, (low, high) in asked.ranges.items()
        )
    ]
    dated = [row for row in met if row[asked.sort] is not None]
    undated = [row for row in met if row[asked.sort] is None]
    dated.sort(key=lambda row: (row[asked.sort], row["key"]), reverse=asked.descending)
    undated.sort(key=lambda row: row["key"], reverse=asked.descending)
    return [row["id"] for row in dated + undated]


def combinations() -> Iterator[SearchCriteria]:
    every = (*_EQUALS, *_RANGES)
    filters = [(), *((name,) for name in every), *itertools.combinations(every, 2)]
    for names, sort, descending in itertools.product(filters, _RANGES, (True, False)):
        yield criteria(names, sort, descending)


def fill(db: Database) -> None:
    db.write(lambda conn: image_set_builders.datastore(conn, key=_STORE, id=_ID))
    db.write(lambda conn: image_set_builders.insert_image_sets(conn, _ROWS))


def at_once(db: Database, asked: SearchCriteria, after: search.Cursor | None, size: int) -> Any:
    return search.search_at_once(db.select_at_once, (_STORE, _ID), asked, after=after, limit=size)


def pages(conn: Connection, asked: SearchCriteria, size: int, db: Database | None = None) -> list[str]:
    """All that is found, page by page. Asserts that one statement finds the same, if it can do."""
    found: list[str] = []
    after = None
    while True:
        page = search.search(conn, _STORE, asked, after=after, limit=size)
        if db is not None and db.selects_at_once:
            assert at_once(db, asked, after, size) in (page, None)
        assert len(page.summaries) == size or page.next is None
        found += [summary.id for summary in page.summaries]
        if page.next is None:
            return found
        after = page.next


# With every set sorted at once, and with limits that have to grow: each combination goes all ways.
@pytest.mark.parametrize("few", [5_000, 1])
def test_finds_the_same_as_a_look_at_every_set(
    database: Database, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW", few)
    monkeypatch.setattr(search, "_FEW_AT_ONCE", min(few, search._FEW_AT_ONCE))
    fill(database)
    with database.read() as conn:
        for asked in combinations():
            assert pages(conn, asked, 50, database) == expected(asked), asked
    if database.selects_at_once:
        for names, sort, way in itertools.product(((), ("patient_id",)), _RANGES, (True, False)):
            done = at_once(database, criteria(names, sort, way), None, 3)
            assert (done is None) == (bool(names) and sort == "study_moment")


def test_neither_repeats_nor_skips_at_any_page_size(database: Database) -> None:
    fill(database)
    asked = criteria((), "study_moment", True)
    with database.read() as conn:
        for size in (1, 7, len(expected(asked))):
            assert pages(conn, asked, size, database) == expected(asked)


def test_sees_in_its_statement_that_the_data_store_is_deleted(migrated_postgres_url: str) -> None:
    db = Database(migrated_postgres_url)
    fill(db)
    asked = criteria((), "updated_at", True)
    assert len(at_once(db, asked, None, 5).summaries) == 5
    nobody = SearchCriteria({"patient_id": "nobody"})
    assert at_once(db, nobody, None, 5) == search.SearchPage([], None)
    db.write(lambda conn: conn.execute(update(tables.datastore).values(status="DELETED")))
    for each in (asked, nobody):
        with pytest.raises(DatastoreGoneError):
            at_once(db, each, None, 5)
    db.close()


def test_returns_nothing_for_what_cannot_be(database: Database) -> None:
    fill(database)
    with database.read() as conn:
        found = search.search(conn, _STORE, SearchCriteria(impossible=True), after=None, limit=50)
    assert found == search.SearchPage([], None)


@pytest.mark.parametrize("few", [5_000, 1])
def test_never_looks_through_nor_sorts_the_whole_store(
    migrated_sqlite_url: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every statement of every combination starts in an index; only what was counted is sorted."""
    monkeypatch.setattr(search, "FEW", few)
    db = Database(migrated_sqlite_url)
    fill(db)
    statements: set[tuple[str, tuple[Any, ...]]] = set()
    with db.read() as conn:

        def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            statements.add((statement, tuple(parameters)))

        event.listen(conn.engine, "before_cursor_execute", note)
        for asked in combinations():
            pages(conn, asked, 50)
        event.remove(conn.engine, "before_cursor_execute", note)
        for statement, parameters in statements:
            plan = [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            sorts_few = "FROM (SELECT" in statement
            for step in plan:
                if step.startswith("SCAN"):
                    assert sorts_few and not step.startswith("SCAN image_set"), (statement, plan)
                if step.startswith("SEARCH image_set"):
                    assert re.search(
                        r"USING (COVERING )?INDEX (search_\w+ \(listed_in=\?|sqlite_auto)", step
                    ), step
                if "TEMP B-TREE" in step:
                    assert sorts_few, (statement, plan)
    db.close()
