"""Searches of QIDO-RS as one statement of PostgreSQL, or as two that do not depend on each other.

One statement sees one state of the database without a transaction around it, and costs one round trip
instead of six. Most of its time would be its planning, so its plan is kept for any values. Therefore it
begins with the index of one condition, or with the order, takes a number of rows from there that is written
into it, and looks up nothing else but what belongs to these: PostgreSQL cannot know of a parameter how far a
LIMIT goes, nor of two conditions which one finds less.
"""

from __future__ import annotations

from typing import Any

from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY, QidoCriteria
from lightwell.stores.account.datastores import STANDS, DatastoreGoneError
from lightwell.stores.db.database import SelectAtOnce
from lightwell.stores.qido import search
from lightwell.stores.qido.hits import hit, page_columns
from lightwell.stores.qido.search import HitPage, KeySet, Many, Search

_NONE = "SELECT 0 WHERE false"
_KEY = {STUDY: "key", SERIES: "image_set"}


def search_at_once(
    select: SelectAtOnce,
    datastore: tuple[int, str],
    criteria: QidoCriteria,
    requested: tuple[str, ...] = (),
) -> HitPage | Many | None:
    """What `search` returns; None where one statement cannot do, and nothing was asked.

    ``datastore`` is its key and its id. Raises `DatastoreGoneError` where it is no more.
    """
    return _SearchAtOnce(select, datastore, criteria, requested).found_at_once()


class _SearchAtOnce(Search):
    def __init__(
        self,
        select: SelectAtOnce,
        datastore: tuple[int, str],
        criteria: QidoCriteria,
        requested: tuple[str, ...],
    ) -> None:
        super().__init__("postgresql", select, select, datastore[0], criteria, requested)
        self._select = select
        self._named = datastore

    def found_at_once(self) -> HitPage | Many | None:
        """The ways of `found` that end soon, each by one statement."""
        criteria, level = self.criteria, self.level
        if level == INSTANCE:
            return None
        if criteria.study is not None:
            return self._few_at_once(STUDY, *self.study_of_path(criteria.study))
        if not self.conditions:
            listed = (f"{search.LISTED[level]} = %s", self.datastore)
            where = self.where(self.tables(None), [listed])
            _, rows = self._hits(_NONE, (), where, "0")
            return self._hit_page(rows, is_counted=False)
        first = list(filter(self.is_first, self.conditions))
        page = self._few_at_once(*self.few_of(first[0])) if first else None
        if page is None and len(first) < 2:
            page = self._walk_at_once()
        return page or Many(self.most if first else 0)

    def _few_at_once(self, level: str, few: str, parameters: tuple[Any, ...]) -> HitPage | None:
        """The page of what is among those whose keys a statement finds; None if these are too many."""
        tables, _ = self.tables(KeySet(level, ()), ("few AS j(value)", ()))
        name = search.TABLE[level].rpartition(" ")[2]
        found = f"few AS j(value) JOIN {search.TABLE[level]} ON {name}.{_KEY[level]} = j.value"
        assert tables.startswith(found)
        # In a table of their own, so that PostgreSQL does not begin with another condition.
        tables = f"(SELECT {name}.* FROM {found} OFFSET 0) {name}{tables.removeprefix(found)}"
        where = self.where((tables, ()), [(f"(SELECT count(*) FROM few) <= {self.most:d}",)])
        few += f" LIMIT {self.most + 1:d}"
        count, rows = self._hits(few, parameters, where, "count(*) OVER ()")
        return self._hit_page(rows, is_counted=True) if count <= self.most else None

    def _walk_at_once(self) -> HitPage | None:
        """The page, if it is full before the order has been walked along too far."""
        level = self.level
        table, _, name = search.TABLE[level].rpartition(" ")
        stretch = (
            f"(SELECT * FROM {table} {name} WHERE {search.LISTED[level]} = %s"
            f" ORDER BY {search.ORDER[level]} LIMIT {self.most + 1:d}) {name}"
        )
        # Whatever the conditions are, no other rows are read, so that one plan is good for all values.
        tables, parameters = self.tables(None)
        tables = tables.replace(search.TABLE[level], stretch, 1)
        where = self.where((tables, (self.datastore, *parameters)), [])
        _, rows = self._hits(_NONE, (), where, "0")
        return self._hit_page(rows, is_counted=False) if len(rows) > self.criteria.limit else None

    def _hits(
        self,
        few: str,
        few_parameters: tuple[Any, ...],
        where: tuple[str, tuple[Any, ...]],
        total: str,
    ) -> tuple[int, list[tuple[Any, ...]]]:
        """How many rows the statement ``few`` finds; and what the page shows of each hit, after ``total`` in
        all and two of its own, before one of its own.
        """
        criteria, order = self.criteria, search.ORDER[self.level]
        columns, joins, _ = page_columns(self.level, self.requested)
        rows = self._select(
            f"WITH few(value) AS MATERIALIZED ({few}), j(value, total, key) AS ("
            f"SELECT {search.OWN[self.level]}, {total}, row_number() OVER (ORDER BY {order}){where[0]}"
            f" ORDER BY {order} LIMIT {criteria.limit + 1:d} OFFSET {criteria.offset:d})"
            f" SELECT c.few, h.*, {STANDS} FROM (SELECT count(*) AS few FROM few) c"
            f" LEFT JOIN (SELECT j.key AS place, j.total, {columns} FROM j {joins}) h ON true"
            " ORDER BY h.place",
            (*few_parameters, *where[1], *self._named),
        )
        if not rows[0][-1]:
            raise DatastoreGoneError
        return rows[0][0], [] if rows[0][1] is None else rows

    def _hit_page(self, rows: list[tuple[Any, ...]], *, is_counted: bool) -> HitPage:
        """The page of the rows of `_hits`."""
        criteria = self.criteria
        _, _, names = page_columns(self.level, self.requested)
        shown = [hit(names, row[3:-1]) for row in rows[: criteria.limit]]
        if len(rows) <= criteria.limit:
            return HitPage(shown, 0)
        return HitPage(shown, rows[0][2] - criteria.offset - criteria.limit if is_counted else None)
