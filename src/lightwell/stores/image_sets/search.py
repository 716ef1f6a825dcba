"""Searching image sets: keyset pages, each read from an index.

A condition and an order that one index serves together are read straight from it. Otherwise there are two
ways, which use indexes too: sort the sets that meet one condition, or walk along the order until the page
is full. The first is fast if few sets meet the condition, the second if many do. Which it is cannot be
known beforehand, so both are tried with a limit that grows from `FEW`: the cost is a small multiple of the
faster way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Select, func, select, tuple_
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from lightwell.domain.image_sets.image_set import Summary
from lightwell.domain.image_sets.search import Bound, SearchCriteria
from lightwell.stores.db.tables import image_set
from lightwell.stores.image_sets.lookups import SUMMARY

FEW = 5_000
"""How many sets are counted, sorted or walked along at first."""
_GROWTH = 8

# The conditions, those that usually few sets meet first. Each has an index that continues with updated_at.
_LEADING = (
    "series_instance_uid",
    "study_instance_uid",
    "accession_number",
    "study_id",
    "patient_id",
    "is_primary",
)

Columns: TypeAlias = ReadOnlyColumnCollection[str, Any]
_PLUS: custom_op[Any] = custom_op("+")

Cursor = tuple[Bound | None, int]
"""Sort value (None for a set without StudyDate) and key of the last set of a page."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of image sets, and where the next page begins; None on the last page."""

    summaries: list[Summary]
    next: Cursor | None


def search(
    conn: Connection, datastore: int, criteria: SearchCriteria, *, after: Cursor | None, limit: int
) -> SearchPage:
    """At most ``limit`` sets of a data store, those after ``after``.

    ``conn`` must see one state of the database throughout. If the order is by StudyDate, sets without one
    come last, both ascending and descending.
    """
    if criteria.impossible:
        return SearchPage([], None)
    places: list[Cursor] = []
    for phase in _phases(criteria, after):
        places += _Query(conn, datastore, criteria, phase).read(limit + 1 - len(places))
        if len(places) > limit:
            break
    keys = [key for _, key in places[:limit]]
    rows: dict[int, Summary] = {}
    if keys:
        found = conn.execute(select(image_set.c.key, *SUMMARY).where(image_set.c.key.in_(keys)))
        rows = {key: Summary(*values) for key, *values in found}
    return SearchPage([rows[key] for key in keys], places[limit - 1] if len(places) > limit else None)


@dataclass(frozen=True, slots=True)
class _Phase:
    """A stretch of the order in which the sort value is always NULL (``is_undated``) or never."""

    is_undated: bool
    after: Cursor | None


def _phases(criteria: SearchCriteria, after: Cursor | None) -> Iterator[_Phase]:
    if after is None or after[0] is not None:
        yield _Phase(False, after)
        after = None
    # Databases differ in whether NULL sorts first or last, so those sets are a stretch of their own.
    if criteria.sort == "study_moment" and "study_moment" not in criteria.ranges:
        yield _Phase(True, after)


class _Query:
    """One stretch of the order of one search."""

    def __init__(self, conn: Connection, datastore: int, criteria: SearchCriteria, phase: _Phase) -> None:
        self._conn = conn
        self._listed = image_set.c.listed_in == datastore
        self._criteria = criteria
        self._phase = phase
        self._sort = criteria.sort

    def read(self, limit: int) -> list[Cursor]:
        """The cursors of the first sets, at most ``limit``."""
        criteria = self._criteria
        named = [*(name for name in _LEADING if name in criteria.equals), *criteria.ranges]
        # The indexes of attributes continue with updated_at, so they serve that order only.
        served = named[0] if named and named[0] in criteria.equals and self._sort == "updated_at" else None
        others = [name for name in named if name not in (served, self._sort)]
        if not others:
            return self._walk(served, others, limit)
        most = FEW
        while True:
            if served is not None and self._meet_at_most(served, most):
                return self._walk(served, others, limit)
            for name in others:
                if self._meet_at_most(name, most):
                    return self._sorted(name, most, limit)
            until = self._place(served, most)
            found = self._walk(served, others, limit, until)
            if until is None or len(found) == limit:
                return found
            most *= _GROWTH

    def _meet_at_most(self, name: str, most: int) -> bool:
        """Whether at most ``most`` sets meet the condition on one column."""
        some = (
            select(image_set.c.key).where(self._listed, *self._condition(name, image_set.c)).limit(most + 1)
        )
        return self._conn.execute(select(func.count()).select_from(some.subquery())).scalar_one() <= most

    def _place(self, served: str | None, distance: int) -> Cursor | None:
        """The cursor of the set ``distance`` on in the order, None if the order ends before."""
        conditions = [self._listed, *self._stretch(image_set.c)]
        if served is not None:
            conditions += self._condition(served, image_set.c)
        statement = select(image_set.c[self._sort], image_set.c.key).where(*conditions).offset(distance)
        places = self._places(statement, image_set.c, 1)
        return places[0] if places else None

    def _walk(
        self, served: str | None, others: Sequence[str], limit: int, until: Cursor | None = None
    ) -> list[Cursor]:
        """Walk along an index that has the order, from the right position, at most to ``until``."""
        c = image_set.c
        conditions = [self._listed, *self._stretch(c, until)]
        if served is not None:
            conditions += self._condition(served, c)
        for name in others:
            conditions += self._condition(name, c, unindexed=self._conn.dialect.name == "sqlite")
        return self._places(select(c[self._sort], c.key).where(*conditions), c, limit)

    def _sorted(self, few: str, most: int, limit: int) -> list[Cursor]:
        """Sort the sets that meet one condition, of which there are at most ``most``."""
        names = {"key", self._sort, *self._criteria.equals, *self._criteria.ranges} - {few}
        inner = (
            select(*(image_set.c[name] for name in sorted(names)))
            .where(self._listed, *self._condition(few, image_set.c))
            # Never reached, as was counted; it keeps the database from choosing another plan.
            .limit(most + 1)
            .subquery()
        )
        conditions = self._stretch(inner.c)
        for name in names & {*self._criteria.equals, *self._criteria.ranges} - {self._sort}:
            conditions += self._condition(name, inner.c)
        return self._places(select(inner.c[self._sort], inner.c.key).where(*conditions), inner.c, limit)

    def _places(self, statement: Select[Any], c: Columns, limit: int) -> list[Cursor]:
        order = [c[self._sort], c.key]
        if self._criteria.descending:
            order = [column.desc() for column in order]
        return [(value, key) for value, key in self._conn.execute(statement.order_by(*order).limit(limit))]

    def _condition(self, name: str, c: Columns, *, unindexed: bool = False) -> list[ColumnElement[bool]]:
        """That a set meets the condition on one column; ``unindexed``: without using an index of it."""
        column = c[name]
        if unindexed:
            column = UnaryExpression(column, operator=_PLUS, type_=column.type)
        if name in self._criteria.equals:
            value = self._criteria.equals[name]
            return [column.is_(None) if value is None else column == value]
        low, high = self._criteria.ranges[name]
        return [column >= low, column <= high]

    def _stretch(self, c: Columns, until: Cursor | None = None) -> list[ColumnElement[bool]]:
        """Where in the order the sets are: one bound at each end, which is what SQLite can use."""
        column, place, after = c[self._sort], tuple_(c[self._sort], c.key), self._phase.after
        ascending = not self._criteria.descending
        if self._phase.is_undated:
            bounds = [column.is_(None)]
            if after is not None:
                bounds.append(c.key > after[1] if ascending else c.key < after[1])
            if until is not None:
                bounds.append(c.key <= until[1] if ascending else c.key >= until[1])
            return bounds
        low, high = self._criteria.ranges.get(self._sort, (None, None))
        if low is None and self._sort == "study_moment":
            low = ""
        lower = None if low is None else column >= low
        upper = None if high is None else column <= high
        if ascending:
            lower = lower if after is None else place > after
            upper = upper if until is None else place <= until
        else:
            upper = upper if after is None else place < after
            lower = lower if until is None else place >= until
        return [bound for bound in (lower, upper) if bound is not None]
