"""Searching studies, series and instances of primary image sets, for QIDO-RS.

There are two ways to find a page: take what meets one condition, by its index, and sort what of it meets the
others; or walk along the index of the order until the page is full. The first is fast if few rows meet the
condition, the second if many do. Which it is cannot be known beforehand, so both are tried with a limit that
grows: the cost is a small multiple of the faster way, however many studies there are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY, QidoCriteria
from lightwell.stores.qido.conditions import PLACEHOLDER, SqlCondition, conditions
from lightwell.stores.qido.hits import Hit, hit, hits, page_columns

__all__ = ["Hit", "HitPage", "Many", "search", "search_at_once"]

FEW = 256
"""How many are looked at first, or twice the length of the page if that is more."""
_GROWTH = 8
_RARELY = 16_000  # from here on, grams that many studies have are looked up too

_LEVELS = (STUDY, SERIES, INSTANCE)
_OWN = {
    STUDY: "t.key",
    SERIES: "s.image_set",
    INSTANCE: "i.image_set, i.number, i.sop_instance_uid",
}
_PLACE = {
    STUDY: ("t.updated_at", "t.study_instance_uid"),
    SERIES: ("s.number", "s.series_instance_uid"),
    INSTANCE: ("i.number", "i.sop_instance_uid"),
}
_ORDER = {
    STUDY: "t.updated_at DESC, t.study_instance_uid DESC",
    SERIES: "s.number, s.series_instance_uid",
    INSTANCE: "i.number, i.sop_instance_uid, i.image_set",
}
_OF_STUDY = "m.updated_at DESC, s.series_instance_uid, i.number, i.sop_instance_uid"
_TABLE = {STUDY: "study t", SERIES: "primary_series s", INSTANCE: "primary_instance i"}
_LISTED = {STUDY: "t.listed_in", SERIES: "s.listed_in", INSTANCE: "i.listed_in"}

_BY_GRAMS = {
    "sqlite": {
        level: f"SELECT rowid FROM {level}_grams WHERE {level}_grams MATCH ? LIMIT ?"
        for level in (STUDY, SERIES)
    },
    "postgresql": {
        level: f"SELECT {level} FROM {level}_grams WHERE grams @@ CAST(%s AS tsquery) LIMIT %s"
        for level in (STUDY, SERIES)
    },
}


@dataclass(frozen=True, slots=True)
class HitPage:
    """A page of hits; ``remaining`` is how many follow it, None if more follow but were not counted."""

    hits: list[Hit]
    remaining: int | None


@dataclass(frozen=True, slots=True)
class _KeySet:
    """The keys of the studies, sets or instances that meet a condition."""

    level: str
    keys: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Many:
    """That more than ``most`` meet the condition by which `search_at_once` looked."""

    most: int


def search_at_once(
    select: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]],
    datastore_key: int,
    criteria: QidoCriteria,
    requested: tuple[str, ...] = (),
) -> HitPage | Many | None:
    """What `search` returns, by one statement of PostgreSQL, or two that do not depend on each other; None
    where that cannot do.

    One statement sees one state of the database without a transaction around it, and costs one round trip
    instead of six.
    """
    return _Search("postgresql", select, select, datastore_key, criteria, requested).at_once()


def search(
    conn: Connection,
    datastore_key: int,
    criteria: QidoCriteria,
    requested: tuple[str, ...] = (),
    many: Many | None = None,
) -> HitPage:
    """The hits of one page. ``conn`` must see one state of the database throughout.

    ``requested``: keywords of optional match keys whose values are wanted, of the level or of those above.

    Order: studies by their last change, newest first; series by SeriesNumber and instances by
    InstanceNumber, those without a number last; instances of a study by the last change of their series,
    newest first. Ties are broken by UID. ``many`` is what `search_at_once` found before.
    """
    reader = _Reader(conn)
    searched = _Search(conn.dialect.name, reader.execute, reader.ask, datastore_key, criteria, requested)
    return searched.found(many)


class _Reader:
    """Runs statements in a transaction."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._sqlite = conn.dialect.name == "sqlite"

    def execute(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The driver's own tuples: for a page of a thousand, SQLAlchemy's rows would cost the most."""
        result = self._conn.exec_driver_sql(sql, tuple(parameters))
        rows: list[tuple[Any, ...]] = list(result.cursor.fetchall()) if result.cursor is not None else []
        result.close()
        return rows

    def ask(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """`execute`, planned for these very parameters.

        For a statement that has often run, PostgreSQL would keep a plan for any parameters; it cannot know
        then whether a value is rare, and reads a whole table for one that is.
        """
        if self._sqlite:
            return self.execute(sql, parameters)
        # As in `stores.db.bulk`: past SQLAlchemy, in the same transaction.
        if not self._conn.in_transaction():
            self._conn.begin()
        driver = self._conn.connection.driver_connection
        assert driver is not None
        rows: list[tuple[Any, ...]] = driver.execute(sql, tuple(parameters), prepare=False).fetchall()
        return rows


_Run = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


class _Search:
    def __init__(
        self,
        dialect: str,
        execute: _Run,
        ask: _Run,
        datastore: int,
        criteria: QidoCriteria,
        requested: tuple[str, ...],
    ) -> None:
        self._requested = requested
        self._execute, self._ask = execute, ask
        self._dialect = dialect
        self._many = 0
        self._sqlite = self._dialect == "sqlite"
        self._placeholder = PLACEHOLDER[self._dialect]
        self._is_listed = f"t.listed_in = {self._placeholder}"
        self._datastore = datastore
        self._criteria = criteria
        self._level = criteria.level
        self._conditions = conditions(self._dialect, datastore, list(criteria.matches.items()))

    def at_once(self) -> HitPage | Many | None:
        """The ways of `found` that end soon, each by one statement."""
        criteria, level = self._criteria, self._level
        if level == INSTANCE or criteria.study is not None:
            return None
        if not self._conditions:
            few = "SELECT 0 WHERE false"
            listed = (f"{_LISTED[level]} = %s", self._datastore)
            _, rows = self._hits_at_once(few, (), self._where(self._from(None), [listed]), "0")
            return self._hit_page(rows, is_counted=False)
        first = list(filter(self._is_first, self._conditions))
        page = self._few_at_once(first[0]) if first else None
        if page is None and len(first) < 2:
            page = self._walk_at_once()
        return page or (Many(self._most) if first else None)

    def _few_at_once(self, condition: SqlCondition) -> HitPage | None:
        """The page of what meets a condition; None if that is too many."""
        level, few, parameters = self._few_of(condition, self._most)
        where = self._where(
            self._from(_KeySet(level, ()), ("few AS j(value)", ())),
            [("(SELECT count(*) FROM few) <= %s", self._most)],
        )
        count, rows = self._hits_at_once(few, parameters, where, "count(*) OVER ()")
        return self._hit_page(rows, is_counted=True) if count <= self._most else None

    def _walk_at_once(self) -> HitPage | None:
        """The page, if it is full before the order has been walked along too far."""
        level = self._level
        until, parameters = self._place_at(self._most)
        sign = ">=" if level == STUDY else "<="
        where = self._where(
            self._from(None),
            [
                (f"{_LISTED[level]} = %s", self._datastore),
                (f"({', '.join(_PLACE[level])}) {sign} (SELECT few.a, few.b FROM few)",),
            ],
        )
        _, rows = self._hits_at_once(until, parameters, where, "0", names="a, b")
        return self._hit_page(rows, is_counted=False) if len(rows) > self._criteria.limit else None

    def _hits_at_once(
        self,
        few: str,
        few_parameters: tuple[Any, ...],
        where: tuple[str, tuple[Any, ...]],
        total: str,
        names: str = "value",
    ) -> tuple[int, list[tuple[Any, ...]]]:
        """How many rows the statement ``few`` finds, whose columns are ``names``; and what the page shows of
        each hit, after ``total`` in all and one of its own.
        """
        criteria, level = self._criteria, self._level
        columns, joins, _ = page_columns(level, self._requested)
        rows = self._ask(
            f"WITH few({names}) AS MATERIALIZED ({few}), j(value, total, key) AS ("
            f"SELECT {_OWN[level]}, {total}, row_number() OVER (ORDER BY {_ORDER[level]}){where[0]}"
            f" ORDER BY {_ORDER[level]} LIMIT %s OFFSET %s)"
            " SELECT c.few, h.* FROM (SELECT count(*) AS few FROM few) c"
            f" LEFT JOIN (SELECT j.key AS place, j.total, {columns} FROM j {joins}) h ON true"
            " ORDER BY h.place",
            (*few_parameters, *where[1], criteria.limit + 1, criteria.offset),
        )
        return rows[0][0], [] if rows[0][1] is None else rows

    def _hit_page(self, rows: list[tuple[Any, ...]], *, is_counted: bool) -> HitPage:
        """The page of the rows of `_hits_at_once`."""
        criteria = self._criteria
        _, _, names = page_columns(self._level, self._requested)
        shown = [hit(names, row[3:]) for row in rows[: criteria.limit]]
        if len(rows) <= criteria.limit:
            return HitPage(shown, 0)
        return HitPage(shown, rows[0][2] - criteria.offset - criteria.limit if is_counted else None)

    @property
    def _most(self) -> int:
        return max(FEW, 2 * (self._criteria.offset + self._criteria.limit + 1))

    def found(self, many: Many | None) -> HitPage:
        criteria = self._criteria
        self._many = 0 if many is None else many.most
        if criteria.study is not None:
            below = self._path(criteria.study, criteria.series)
            if below is None:
                return HitPage([], 0)
            if below.level == SERIES and self._level == INSTANCE:
                rows = self._rows(self._from(None), [(f"i.image_set = {self._placeholder}", below.keys[0])])
                return self._page(rows, below)
            return self._page(self._among(below), below)
        if not self._conditions:
            return self._page(self._walk(None), None)
        most = self._most
        while True:
            some = self._few(most, rarest=True)
            if some is None:
                until = self._until(most)
                rows = self._walk(until)
                if until is None or len(rows) > criteria.limit:
                    return self._page(rows, None)
                some = self._few(most, rarest=False)
            if some is not None:
                return self._page(self._among(some), some)
            most *= _GROWTH

    # Few ----------------------------------------------------------------------------------------------

    def _path(self, study: str, series: str | None) -> _KeySet | None:
        """The study or series of the path."""
        sql = (
            f"SELECT key FROM study WHERE datastore = {self._placeholder}"
            f" AND study_instance_uid = {self._placeholder} AND listed_in IS NOT NULL"
        )
        studies = self._execute(sql, (self._datastore, study))
        if not studies or series is None:
            return _KeySet(STUDY, [studies[0][0]]) if studies else None
        sql = (
            f"SELECT image_set FROM primary_series WHERE study = {self._placeholder}"
            f" AND series_instance_uid = {self._placeholder}"
        )
        sets = self._execute(sql, (studies[0][0], series))
        return _KeySet(SERIES, [sets[0][0]]) if sets else None

    def _few(self, most: int, *, rarest: bool) -> _KeySet | None:
        """What meets one of the conditions, if that is no more than ``most``."""
        for condition in self._conditions:
            if rarest and self._is_first(condition):
                if most <= self._many:
                    self._many = 0  # of this condition only
                    continue
                asked = True
            elif condition.grams is None or condition.indexed or rarest:
                asked = False
            else:
                asked = condition.rare == 1 or (condition.rare == 0 and most > _RARELY)
            if asked:
                level, sql, parameters = self._few_of(condition, most)
                rows = self._ask(sql, parameters)
                if len(rows) <= most:
                    return _KeySet(level, rows if level == INSTANCE else [key for (key,) in rows])
        return None

    @staticmethod
    def _is_first(condition: SqlCondition) -> bool:
        """Whether it is looked up before anything else, since usually few meet it or an index finds them."""
        return condition.indexed or (condition.grams is not None and condition.rare == 2)

    def _few_of(self, condition: SqlCondition, most: int) -> tuple[str, str, tuple[Any, ...]]:
        """The keys of what meets a condition, at most ``most`` and one: level, statement, parameters."""
        if condition.grams is not None and not condition.indexed:
            level = condition.grams_level
            return level, _BY_GRAMS[self._dialect][level], (condition.grams, most + 1)
        level = condition.level
        # The unique index of StudyInstanceUIDs begins with the data store, all others with ``listed_in``.
        leading = "t.datastore" if condition.keyword == "StudyInstanceUID" else _LISTED[level]
        sql = (
            f"SELECT {_OWN[level]} FROM {_TABLE[level]} WHERE {leading} = {self._placeholder}"
            f" AND {condition.sql} LIMIT {self._placeholder}"
        )
        return level, sql, (self._datastore, *condition.parameters, most + 1)

    def _among(self, some: _KeySet) -> list[tuple[Any, ...]]:
        return self._rows(self._from(some), [])

    # The order ----------------------------------------------------------------------------------------

    def _until(self, distance: int) -> tuple[Any, ...] | None:
        """The position ``distance`` rows on in the order, None if the order ends before."""
        rows = self._execute(*self._place_at(distance))
        return rows[0] if rows else None

    def _place_at(self, distance: int) -> tuple[str, tuple[Any, ...]]:
        level = self._level
        first, second = _PLACE[level]
        order = f"{first} DESC, {second} DESC" if level == STUDY else f"{first}, {second}"
        sql = (
            f"SELECT {first}, {second} FROM {_TABLE[level]} WHERE {_LISTED[level]} = {self._placeholder}"
            f" ORDER BY {order} LIMIT 1 OFFSET {self._placeholder}"
        )
        return sql, (self._datastore, distance)

    def _walk(self, until: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
        level = self._level
        more: list[tuple[Any, ...]] = [(f"{_LISTED[level]} = {self._placeholder}", self._datastore)]
        if until is not None:
            sign = ">=" if level == STUDY else "<="
            position = f"({self._placeholder}, {self._placeholder})"
            more.append((f"({', '.join(_PLACE[level])}) {sign} {position}", *until))
        return self._rows(self._from(None), more)

    # Rows ---------------------------------------------------------------------------------------------

    def _from(
        self, some: _KeySet | None, named: tuple[str, tuple[Any, ...]] | None = None
    ) -> tuple[str, tuple[Any, ...]]:
        """The tables of the level and of those above it that conditions are on, beginning with ``some``.

        ``named`` is a table of the statement with their keys, where these are not known.
        """
        level = self._level
        tables = {
            STUDY: ("study t", "t.key = s.study", "t.key = {}"),
            SERIES: ("primary_series s", "s.study = t.key", "s.image_set = {}"),
            INSTANCE: ("primary_instance i", "i.image_set = s.image_set", ""),
        }
        join = "CROSS JOIN" if self._sqlite else "JOIN"
        start = _LEVELS.index(level if some is None else some.level)
        sql, parameters = tables[_LEVELS[start]][0], ()
        if some is not None:
            sql, parameters = self._given(some) if named is None else self._joined(some, *named)
        for above in reversed(_LEVELS[:start]):
            on = "s.image_set = i.image_set" if above == SERIES else tables[above][1]
            sql += f" {join} {tables[above][0]} ON {on}"
        for beneath in _LEVELS[start + 1 : _LEVELS.index(level) + 1]:
            sql += f" {join} {tables[beneath][0]} ON {tables[beneath][1]}"
        if level == INSTANCE and self._of_study:
            sql += f" {join} image_set m ON m.key = i.image_set"
        return sql, parameters

    @property
    def _of_study(self) -> bool:
        return self._level == INSTANCE and self._criteria.study is not None and self._criteria.series is None

    def _given(self, some: _KeySet) -> tuple[str, tuple[Any, ...]]:
        if some.level == INSTANCE:
            if self._sqlite:
                return (
                    "json_each(?) j CROSS JOIN primary_instance i ON i.image_set = j.value ->> 0"
                    " AND i.number = j.value ->> 1 AND i.sop_instance_uid = j.value ->> 2",
                    (json.dumps(some.keys),),
                )
            sets, numbers, uids = ([key[column] for key in some.keys] for column in range(3))
            return (
                "unnest(CAST(%s AS bigint[]), CAST(%s AS bigint[]), CAST(%s AS text[])) AS j(a, b, c)"
                " JOIN primary_instance i"
                " ON i.image_set = j.a AND i.number = j.b AND i.sop_instance_uid = j.c",
                (sets, numbers, uids),
            )
        if self._sqlite:
            return self._joined(some, "json_each(?) j", (json.dumps(list(some.keys)),))
        return self._joined(some, "unnest(CAST(%s AS bigint[])) AS j(value)", (list(some.keys),))

    def _joined(self, some: _KeySet, keys: str, parameters: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        table, key = ("study t", "t.key") if some.level == STUDY else ("primary_series s", "s.image_set")
        return f"{keys} {'CROSS JOIN' if self._sqlite else 'JOIN'} {table} ON {key} = j.value", parameters

    def _where(
        self, tables: tuple[str, tuple[Any, ...]], more: Sequence[tuple[Any, ...]]
    ) -> tuple[str, tuple[Any, ...]]:
        plus = "+" if self._sqlite else ""
        parts = [*more]
        if not any(part[0] == self._is_listed for part in more):
            parts.append((f"{plus}{self._is_listed}", self._datastore))
        parts += [(f"({each.filter})", *each.parameters) for each in self._conditions]
        sql = f" FROM {tables[0]} WHERE {' AND '.join(part[0] for part in parts)}"
        return sql, (*tables[1], *(value for part in parts for value in part[1:]))

    def _rows(
        self, tables: tuple[str, tuple[Any, ...]], more: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """The keys of the page in order, and the one after it if there is one."""
        where, parameters = self._where(tables, more)
        order = _OF_STUDY if self._of_study else _ORDER[self._level]
        page = f"LIMIT {self._placeholder} OFFSET {self._placeholder}"
        sql = f"SELECT {_OWN[self._level]}{where} ORDER BY {order} {page}"
        return self._ask(sql, (*parameters, self._criteria.limit + 1, self._criteria.offset))

    def _page(self, rows: list[tuple[Any, ...]], some: _KeySet | None) -> HitPage:
        limit = self._criteria.limit
        shown, remaining = rows[:limit], 0 if len(rows) <= limit else None
        if remaining is None and some is not None:
            where, parameters = self._where(self._from(some), [])
            total = self._ask(f"SELECT count(*){where}", parameters)[0][0]
            remaining = total - self._criteria.offset - len(shown)
        return HitPage(hits(self._execute, self._dialect, self._level, shown, self._requested), remaining)
