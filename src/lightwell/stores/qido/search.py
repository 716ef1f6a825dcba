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
from lightwell.stores.qido.hits import Hit, hits

__all__ = ["Hit", "HitPage", "Many", "Reader", "Search", "search"]

FEW = 256
"""How many are looked at first, or twice the length of the page if that is more."""
_GROWTH = 8
_RARELY = 16_000  # from here on, grams that many studies have are looked up too

_LEVELS = (STUDY, SERIES, INSTANCE)
OWN = {
    STUDY: "t.key",
    SERIES: "s.image_set",
    INSTANCE: "i.image_set, i.number, i.sop_instance_uid",
}
PLACE = {
    STUDY: ("t.updated_at", "t.study_instance_uid"),
    SERIES: ("s.number", "s.series_instance_uid"),
    INSTANCE: ("i.number", "i.sop_instance_uid"),
}
ORDER = {
    STUDY: "t.updated_at DESC, t.study_instance_uid DESC",
    SERIES: "s.number, s.series_instance_uid",
    INSTANCE: "i.number, i.sop_instance_uid, i.image_set",
}
_OF_STUDY = "m.updated_at DESC, s.series_instance_uid, i.number, i.sop_instance_uid"
TABLE = {STUDY: "study t", SERIES: "primary_series s", INSTANCE: "primary_instance i"}
LISTED = {STUDY: "t.listed_in", SERIES: "s.listed_in", INSTANCE: "i.listed_in"}

_BY_GRAMS = {
    "sqlite": {
        level: f"SELECT rowid FROM {level}_grams WHERE {level}_grams MATCH ?" for level in (STUDY, SERIES)
    },
    "postgresql": {
        level: f"SELECT {level} FROM {level}_grams WHERE grams @@ CAST(%s AS tsquery)"
        for level in (STUDY, SERIES)
    },
}


@dataclass(frozen=True, slots=True)
class HitPage:
    """A page of hits; ``remaining`` is how many follow it, None if more follow but were not counted."""

    hits: list[Hit]
    remaining: int | None


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of the studies, sets or instances that meet a condition."""

    level: str
    keys: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Many:
    """That more than ``most`` meet the condition by which `stores.qido.at_once` looked."""

    most: int


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
    newest first. Ties are broken by UID. ``many`` is what `stores.qido.at_once` found before.
    """
    reader = Reader(conn)
    searched = Search(conn.dialect.name, reader.execute, reader.ask, datastore_key, criteria, requested)
    return searched.found(many)


class Reader:
    """Runs statements in a transaction."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.dialect = conn.dialect.name
        self._sqlite = self.dialect == "sqlite"

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


class Search:
    """One search, and the SQL of its parts."""

    def __init__(
        self,
        dialect: str,
        execute: _Run,
        ask: _Run,
        datastore: int,
        criteria: QidoCriteria,
        requested: tuple[str, ...],
    ) -> None:
        self.requested = requested
        self._execute, self.ask = execute, ask
        self._dialect = dialect
        self._many = 0
        self._sqlite = self._dialect == "sqlite"
        self._placeholder = PLACEHOLDER[self._dialect]
        self._is_listed = f"t.listed_in = {self._placeholder}"
        self.datastore = datastore
        self.criteria = criteria
        self.level = criteria.level
        self.conditions = conditions(self._dialect, datastore, list(criteria.matches.items()))

    @property
    def most(self) -> int:
        """How many are looked at first."""
        return max(FEW, 2 * (self.criteria.offset + self.criteria.limit + 1))

    def found(self, many: Many | None) -> HitPage:
        criteria = self.criteria
        self._many = 0 if many is None else many.most
        if criteria.study is not None:
            below = self._path(criteria.study, criteria.series)
            if below is None:
                return HitPage([], 0)
            if below.level == SERIES and self.level == INSTANCE:
                rows = self._rows(self.tables(None), [(f"i.image_set = {self._placeholder}", below.keys[0])])
                return self._page(rows, below)
            return self._page(self._among(below), below)
        if not self.conditions:
            return self._page(self._walk(None), None)
        most = self.most
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

    def _path(self, study: str, series: str | None) -> KeySet | None:
        """The study or series of the path."""
        studies = self._execute(*self.study_of_path(study))
        if not studies or series is None:
            return KeySet(STUDY, [studies[0][0]]) if studies else None
        sql = (
            f"SELECT image_set FROM primary_series WHERE study = {self._placeholder}"
            f" AND series_instance_uid = {self._placeholder}"
        )
        sets = self._execute(sql, (studies[0][0], series))
        return KeySet(SERIES, [sets[0][0]]) if sets else None

    def study_of_path(self, study: str) -> tuple[str, tuple[Any, ...]]:
        """The key of the study of the path."""
        sql = (
            f"SELECT key FROM study WHERE datastore = {self._placeholder}"
            f" AND study_instance_uid = {self._placeholder} AND listed_in IS NOT NULL"
        )
        return sql, (self.datastore, study)

    def _few(self, most: int, *, rarest: bool) -> KeySet | None:
        """What meets one of the conditions, if that is no more than ``most``."""
        for condition in self.conditions:
            if rarest and self.is_first(condition):
                if most <= self._many:
                    self._many = 0  # of this condition only
                    continue
                asked = True
            elif condition.grams is None or condition.indexed or rarest:
                asked = False
            else:
                asked = condition.rare == 1 or (condition.rare == 0 and most > _RARELY)
            if asked:
                level, sql, parameters = self.few_of(condition)
                rows = self.ask(f"{sql} LIMIT {self._placeholder}", (*parameters, most + 1))
                if len(rows) <= most:
                    return KeySet(level, rows if level == INSTANCE else [key for (key,) in rows])
        return None

    @staticmethod
    def is_first(condition: SqlCondition) -> bool:
        """Whether it is looked up before anything else, since usually few meet it or an index finds them."""
        return condition.indexed or (condition.grams is not None and condition.rare == 2)

    def few_of(self, condition: SqlCondition) -> tuple[str, str, tuple[Any, ...]]:
        """The keys of what meets a condition: level, statement without a LIMIT, parameters."""
        if condition.grams is not None and not condition.indexed:
            level = condition.grams_level
            return level, _BY_GRAMS[self._dialect][level], (condition.grams,)
        level = condition.level
        # The unique index of StudyInstanceUIDs begins with the data store, all others with ``listed_in``.
        leading = "t.datastore" if condition.keyword == "StudyInstanceUID" else LISTED[level]
        sql = (
            f"SELECT {OWN[level]} FROM {TABLE[level]} WHERE {leading} = {self._placeholder}"
            f" AND {condition.sql}"
        )
        return level, sql, (self.datastore, *condition.parameters)

    def _among(self, some: KeySet) -> list[tuple[Any, ...]]:
        return self._rows(self.tables(some), [])

    # The order ----------------------------------------------------------------------------------------

    def _until(self, distance: int) -> tuple[Any, ...] | None:
        """The position ``distance`` rows on in the order, None if the order ends before."""
        sql, parameters = self.places()
        rows = self._execute(f"{sql} LIMIT 1 OFFSET {self._placeholder}", (*parameters, distance))
        return rows[0] if rows else None

    def places(self) -> tuple[str, tuple[Any, ...]]:
        """All positions in the order, without a LIMIT."""
        level = self.level
        first, second = PLACE[level]
        order = f"{first} DESC, {second} DESC" if level == STUDY else f"{first}, {second}"
        sql = (
            f"SELECT {first}, {second} FROM {TABLE[level]} WHERE {LISTED[level]} = {self._placeholder}"
            f" ORDER BY {order}"
        )
        return sql, (self.datastore,)

    def _walk(self, until: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
        level = self.level
        more: list[tuple[Any, ...]] = [(f"{LISTED[level]} = {self._placeholder}", self.datastore)]
        if until is not None:
            sign = ">=" if level == STUDY else "<="
            position = f"({self._placeholder}, {self._placeholder})"
            more.append((f"({', '.join(PLACE[level])}) {sign} {position}", *until))
        return self._rows(self.tables(None), more)

    # Rows ---------------------------------------------------------------------------------------------

    def tables(
        self, some: KeySet | None, named: tuple[str, tuple[Any, ...]] | None = None
    ) -> tuple[str, tuple[Any, ...]]:
        """The tables of the level and of those above it that conditions are on, beginning with ``some``.

        ``named`` is a table of the statement with their keys, where these are not known.
        """
        level = self.level
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
        return self.level == INSTANCE and self.criteria.study is not None and self.criteria.series is None

    def _given(self, some: KeySet) -> tuple[str, tuple[Any, ...]]:
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

    def _joined(self, some: KeySet, keys: str, parameters: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        table, key = ("study t", "t.key") if some.level == STUDY else ("primary_series s", "s.image_set")
        return f"{keys} {'CROSS JOIN' if self._sqlite else 'JOIN'} {table} ON {key} = j.value", parameters

    def where(
        self, tables: tuple[str, tuple[Any, ...]], more: Sequence[tuple[Any, ...]]
    ) -> tuple[str, tuple[Any, ...]]:
        plus = "+" if self._sqlite else ""
        parts = [*more]
        if not any(part[0] == self._is_listed for part in more):
            parts.append((f"{plus}{self._is_listed}", self.datastore))
        parts += [(f"({each.filter})", *each.parameters) for each in self.conditions]
        sql = f" FROM {tables[0]} WHERE {' AND '.join(part[0] for part in parts)}"
        return sql, (*tables[1], *(value for part in parts for value in part[1:]))

    def _rows(
        self, tables: tuple[str, tuple[Any, ...]], more: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """The keys of the page in order, and the one after it if there is one."""
        where, parameters = self.where(tables, more)
        order = _OF_STUDY if self._of_study else ORDER[self.level]
        page = f"LIMIT {self._placeholder} OFFSET {self._placeholder}"
        sql = f"SELECT {OWN[self.level]}{where} ORDER BY {order} {page}"
        return self.ask(sql, (*parameters, self.criteria.limit + 1, self.criteria.offset))

    def _page(self, rows: list[tuple[Any, ...]], some: KeySet | None) -> HitPage:
        limit = self.criteria.limit
        shown, remaining = rows[:limit], 0 if len(rows) <= limit else None
        if remaining is None and some is not None:
            where, parameters = self.where(self.tables(some), [])
            total = self.ask(f"SELECT count(*){where}", parameters)[0][0]
            remaining = total - self.criteria.offset - len(shown)
        return HitPage(hits(self._execute, self._dialect, self.level, shown, self.requested), remaining)
