"""Searching image sets: keyset pages, each read from an index.

A condition and an order that one index serves together are read straight from it. Otherwise there are two
ways, which use indexes too: sort the sets that meet one condition, or walk along the order until the page
is full. The first is fast if few sets meet the condition, the second if many do. Which it is cannot be
known beforehand, so both are tried with a limit that grows from `FEW`: the cost is a small multiple of the
faster way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Select, func, select, tuple_
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from lightwell.domain.image_sets.image_set import Summary
from lightwell.domain.image_sets.search import Bound, SearchCriteria
from lightwell.stores.account.datastores import STANDS, DatastoreGoneError
from lightwell.stores.db.database import SelectAtOnce
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

_SUMMARY_IN_SQL = ", ".join(f"m.{column.element.name}" for column in SUMMARY)
_FEW_AT_ONCE, _WALKED = 256, 2048
_Sql: TypeAlias = tuple[str, tuple[Any, ...]]
"""A piece of SQL and its parameters."""


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


def search_at_once(
    select_at_once: SelectAtOnce,
    datastore_: tuple[int, str],
    criteria: SearchCriteria,
    *,
    after: Cursor | None,
    limit: int,
) -> SearchPage | None:
    """What `search` returns, by one statement of PostgreSQL, or two that do not depend on each other; None
    where that cannot do.

    One statement sees one state of the database without a transaction around it, and costs one round trip.
    ``datastore_`` is the key and the id. Raises `DatastoreGoneError` where it is no more.
    """
    phase = next(_phases(criteria, after), None)
    if phase is None or phase.is_undated or criteria.impossible:
        return None
    served, others = _ways(criteria)
    first = served or (others[0] if others else None)
    if first is not None and criteria.equals.get(first, "") is None:
        return None
    if served is not None and criteria.sort in criteria.ranges:
        return None
    asked = _AtOnce(select_at_once, datastore_, criteria, phase.after, limit)
    if not others or first is None:
        # All of them are walked along, so a page that is not full is the last, unless sets without a date
        # follow.
        found = asked.walk(served, [], None)
        return None if found.next is None and _has_undated(criteria) else found
    if _has_undated(criteria):
        return None
    few = asked.few(first)
    if few is not None:
        return few
    found = asked.walk(served, others, _WALKED)
    return None if found.next is None else found


class _AtOnce:
    """The statements of `search_at_once`.

    Where one reads an index, all columns of that are in the order, and none but the first is compared by
    ``=``, which would take it out of the order. So only this index will do, whatever PostgreSQL knows of the
    values: the plan, which is kept, is good for all. Where to begin in the index is said by comparing rows,
    where to end by one column: PostgreSQL does not end at what a row says of other columns than its first.
    """

    def __init__(
        self,
        select_at_once: SelectAtOnce,
        datastore_: tuple[int, str],
        criteria: SearchCriteria,
        after: Cursor | None,
        limit: int,
    ) -> None:
        self._select = select_at_once
        self._datastore = datastore_
        self._listed = "listed_in = %s", (datastore_[0],)
        self._criteria = criteria
        self._after = after
        self._limit = limit
        self._way = " DESC" if criteria.descending else ""

    def few(self, first: str) -> SearchPage | None:
        """The page, if at most `_FEW_AT_ONCE` sets meet the condition on the column ``first``."""
        criteria = self._criteria
        others = sorted({*criteria.equals, *criteria.ranges} - {first})
        low, high = criteria.ranges[first] if first in criteria.ranges else (criteria.equals[first],) * 2
        order = (first, *(("key",) if first in criteria.ranges else ("updated_at", "key")))
        bounds = [self._listed, _bound(order, ">=", (low,)), _bound(order, "<=", (high,))]
        some = _stretch({"key", criteria.sort, *others}, bounds, order, _FEW_AT_ONCE + 1)
        conditions: list[_Sql] = [(f"(SELECT count(*) FROM part) <= {_FEW_AT_ONCE:d}", ())]
        conditions += [_condition_in_sql(criteria, name) for name in others]
        if self._after is not None:
            conditions.append(_bound((criteria.sort, "key"), "<" if self._way else ">", self._after))
        table = f"WITH part AS MATERIALIZED ({some[0]}) ", some[1]
        place = (criteria.sort + self._way, "key" + self._way)
        count, found = self._page(table, ("part", ()), conditions, place)
        return found if count <= _FEW_AT_ONCE else None

    def walk(self, served: str | None, others: Sequence[str], most: int | None) -> SearchPage:
        """The page as far as it is found among the first ``most`` in the order; None for all."""
        criteria, sort = self._criteria, self._criteria.sort
        order: tuple[str, ...] = (sort, "key")
        low, high = criteria.ranges.get(sort, ("" if sort == "study_moment" else None, None))
        place: tuple[Any, ...] | None = self._after
        if served is not None:
            order = (served, *order)
            low = high = criteria.equals[served]
            place = None if self._after is None else (low, *self._after)
        lower = [] if low is None else [_bound(order, ">=", (low,))]
        upper = [] if high is None else [_bound(order, "<=", (high,))]
        if place is not None and self._way:
            upper = [_bound(order, "<", place)]
        elif place is not None:
            lower = [_bound(order, ">", place)]
        limit = self._limit + 1 if most is None else most
        way = tuple(name + self._way for name in order)
        some = _stretch({*order, *others}, [self._listed, *lower, *upper], way, limit)
        conditions = [_condition_in_sql(criteria, name) for name in others]
        return self._page(("", ()), (f"({some[0]}) part", some[1]), conditions, way)[1]

    def _page(
        self, before: _Sql, source: _Sql, conditions: Sequence[_Sql], order: Sequence[str]
    ) -> tuple[int, SearchPage]:
        """How many rows ``part`` has, a table of ``before``; and the page of what of ``source`` meets the
        conditions."""
        sort, way, limit = self._criteria.sort, self._way, self._limit
        count = "(SELECT count(*) FROM part)" if before[0] else "0"
        where = " AND ".join(sql for sql, _ in conditions) or "true"
        rows = self._select(
            f"{before[0]}SELECT {STANDS}, {count}, s.* FROM (SELECT 1) one LEFT JOIN ("
            f"SELECT f.place, f.place_key, {_SUMMARY_IN_SQL} FROM (SELECT {sort} AS place, key AS place_key"
            f" FROM {source[0]} WHERE {where} ORDER BY {', '.join(order)} LIMIT {limit + 1:d}) f"
            " JOIN image_set m ON m.key = f.place_key"
            f") s ON true ORDER BY s.place{way}, s.place_key{way}",
            (*before[1], *self._datastore, *source[1], *(value for _, own in conditions for value in own)),
        )
        if not rows[0][0]:
            raise DatastoreGoneError
        found = [] if rows[0][3] is None else rows
        after = (found[limit - 1][2], found[limit - 1][3]) if len(found) > limit else None
        return rows[0][1], SearchPage([Summary(*row[4:]) for row in found[:limit]], after)


def _bound(columns: Sequence[str], sign: str, values: Sequence[Bound | bool | None]) -> _Sql:
    """That the first of these columns, or a row of them, stands so to these values."""
    if len(values) == 1:
        return f"{columns[0]} {sign} %s", tuple(values)
    named = ", ".join(columns[: len(values)])
    return f"({named}) {sign} ({', '.join(['%s'] * len(values))})", tuple(values)


def _condition_in_sql(criteria: SearchCriteria, name: str) -> _Sql:
    if name in criteria.equals:
        value = criteria.equals[name]
        return (f"{name} IS NULL", ()) if value is None else (f"{name} = %s", (value,))
    return f"{name} BETWEEN %s AND %s", criteria.ranges[name]


def _stretch(columns: Iterable[str], bounds: Sequence[_Sql], order: Sequence[str], limit: int) -> _Sql:
    """The first sets in an order, between bounds."""
    sql = (
        f"SELECT {', '.join(sorted(columns))} FROM image_set WHERE {' AND '.join(sql for sql, _ in bounds)}"
        f" ORDER BY {', '.join(order)} LIMIT {limit:d}"
    )
    return sql, tuple(value for _, values in bounds for value in values)


@dataclass(frozen=True, slots=True)
class _Phase:
    """A stretch of the order in which the sort value is always NULL (``is_undated``) or never."""

    is_undated: bool
    after: Cursor | None


def _phases(criteria: SearchCriteria, after: Cursor | None) -> Iterator[_Phase]:
    if after is None or after[0] is not None:
        yield _Phase(False, after)
        after = None
    if _has_undated(criteria):
        yield _Phase(True, after)


def _has_undated(criteria: SearchCriteria) -> bool:
    """Whether sets without StudyDate come last.

    Databases differ in whether NULL sorts first or last, so those sets are a stretch of their own.
    """
    return criteria.sort == "study_moment" and "study_moment" not in criteria.ranges


def _ways(criteria: SearchCriteria) -> tuple[str | None, list[str]]:
    """The column whose index has both its condition and the order, and the columns of the other conditions.

    The indexes of attributes continue with updated_at, so they serve that order only.
    """
    named = [*(name for name in _LEADING if name in criteria.equals), *criteria.ranges]
    served = named[0] if named and named[0] in criteria.equals and criteria.sort == "updated_at" else None
    return served, [name for name in named if name not in (served, criteria.sort)]


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
        served, others = _ways(self._criteria)
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
