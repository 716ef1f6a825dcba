"""Studies with a primary image set, from the search index of DICOMweb, in any order that an index has.

Those that match are found in two ways: by the grams of the words (see `domain.qido.grams`), or by walking
along the index of the order. Both are bounded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightwell.domain.qido import grams as qido_grams
from lightwell.domain.qido.criteria import AnyOf, Match, Wildcard
from lightwell.domain.qido.study_list import Place, Searched, StudyCriteria, StudySort, Texts, folded_text
from lightwell.stores.qido.conditions import PLACEHOLDER, gram_query
from lightwell.stores.qido.search import Reader

_SHORTEST = 3
"""Grams of fewer characters are those of too many studies to be of use."""

_COLUMNS = (
    "t.key, t.updated_at, t.study_instance_uid, t.study_day, t.study_clock, t.patient_id,"
    " t.patient_name_folded, t.accession_number, t.study_description, t.modalities"
)
_BY_GRAMS = {
    "sqlite": "SELECT rowid FROM study_grams WHERE study_grams MATCH ? LIMIT ?",
    "postgresql": "SELECT study FROM study_grams WHERE grams @@ CAST(%s AS tsquery) LIMIT %s",
}
_INDEX = {
    StudySort.UPDATED: "study_by_update",
    StudySort.DATE: "study_by_moment",
    StudySort.PATIENT_ID: "study_by_patient",
    StudySort.PATIENT_NAME: "study_by_name",
}
_SORT_COLUMN = {StudySort.PATIENT_ID: "t.patient_id", StudySort.PATIENT_NAME: "t.patient_name_folded"}

SERVED = frozenset(_INDEX)
"""The orders that an index has."""


class StudyRow(NamedTuple):
    """What is compared and sorted of a study."""

    key: int
    updated_at: int
    study_instance_uid: str
    study_day: str | None
    study_clock: str | None
    patient_id: str | None
    patient_name_folded: str | None
    accession_number: str | None
    study_description: str | None
    modalities: str | None

    @property
    def texts(self) -> Texts:
        return Texts(
            self.patient_name_folded,
            self.patient_id,
            self.accession_number,
            self.study_description,
            self.study_instance_uid,
            self.study_day,
            tuple(json.loads(self.modalities)) if self.modalities else (),
        )


@dataclass(frozen=True, slots=True)
class Walked:
    """What was found along an order; ``until`` is where the walk was left off, None at the end of all."""

    rows: list[StudyRow]
    until: Place | None
    scanned: int


_Sql = tuple[str, tuple[Any, ...]]


class ListedStudies:
    """The studies of one data store that have a primary image set. For one read transaction."""

    def __init__(self, reader: Reader, datastore: int) -> None:
        self._reader = reader
        self._datastore = datastore
        self._mark = PLACEHOLDER[reader.dialect]
        self._is_sqlite = reader.dialect == "sqlite"
        # Where studies without a time stand among those of their day: where the index has them.
        self._no_time = "" if self._is_sqlite else "~"

    def place(self, row: StudyRow, sort: StudySort) -> Place:
        match sort:
            case StudySort.UPDATED:
                return Place(row.updated_at, row.study_instance_uid, row.key)
            case StudySort.DATE:
                if row.study_day is None:
                    return Place(None, "", row.key)
                return Place(row.study_day, row.study_clock or self._no_time, row.key)
            case StudySort.PATIENT_NAME:
                return Place(row.patient_name_folded, "", row.key)
            case StudySort.PATIENT_ID:
                return Place(row.patient_id, "", row.key)
            case StudySort.DESCRIPTION:
                return Place(folded_text(row.study_description), "", row.key)
            case StudySort.MODALITY:
                return Place(" ".join(row.texts.modalities) or None, "", row.key)

    def rows(self, keys: Sequence[int]) -> list[StudyRow]:
        """Those of the studies that have a primary image set."""
        if not keys:
            return []
        if self._is_sqlite:
            source, given = "json_each(?) j CROSS JOIN study t ON t.key = j.value", json.dumps(list(keys))
            found = self._reader.ask(
                f"SELECT {_COLUMNS} FROM {source} WHERE +t.listed_in = ?", (given, self._datastore)
            )
        else:
            source = "unnest(CAST(%s AS bigint[])) AS j(value) JOIN study t ON t.key = j.value"
            found = self._reader.ask(
                f"SELECT {_COLUMNS} FROM {source} WHERE t.listed_in = %s", (list(keys), self._datastore)
            )
        return [StudyRow(*row) for row in found]

    def few(self, criteria: StudyCriteria, most: int) -> list[StudyRow] | None:
        """All that match, in no order, if an index finds no more than ``most`` that may; else None.

        Of studies that are named, always.
        """
        if criteria.studies:
            return [row for row in self.rows(self._keys_of_named(criteria)) if criteria.matches(row.texts)]
        for keys in (self._by_words(criteria, most), self._by_day(criteria, most)):
            if keys is not None and len(keys) <= most:
                return [row for row in self.rows(keys) if criteria.matches(row.texts)]
        return None

    def named(self, criteria: StudyCriteria, most: int) -> list[StudyRow]:
        """Some that match, and of which a word of the search is the patient id, accession number or UID."""
        found: list[StudyRow] = []
        indexed = (
            (Searched.ID, "t.listed_in", "t.patient_id"),
            (Searched.ACCESSION, "t.listed_in", "t.accession_number"),
            (Searched.UID, "t.datastore", "t.study_instance_uid"),
        )
        for searched, leading, column in indexed:
            values = [word.typed for word in criteria.words if searched in word.within]
            if values:
                places = ", ".join([self._mark] * len(values))
                sql = (
                    f"SELECT {_COLUMNS} FROM study t WHERE {leading} = {self._mark}"
                    f" AND t.listed_in IS NOT NULL AND {column} IN ({places}) LIMIT {self._mark}"
                )
                found += [StudyRow(*row) for row in self._reader.ask(sql, (self._datastore, *values, most))]
        return [row for row in found if criteria.matches(row.texts)]

    def _keys_of_named(self, criteria: StudyCriteria) -> list[int]:
        places = ", ".join([self._mark] * len(criteria.studies))
        named = f"t.datastore = {self._mark} AND t.study_instance_uid IN ({places})"
        sql = f"SELECT t.key FROM study t WHERE {named}"
        return [key for (key,) in self._reader.ask(sql, (self._datastore, *criteria.studies))]

    def _by_words(self, criteria: StudyCriteria, most: int) -> list[int] | None:
        """Studies among which are all that match, or more than ``most``; None if grams do not help."""
        uid = next((word for word in criteria.words if word.is_uid), None)
        query = self._gram_query(criteria)
        if query is None:
            return None
        found = {key for (key,) in self._reader.ask(_BY_GRAMS[self._reader.dialect], (query, most + 1))}
        if uid is not None:
            sql = (
                f"SELECT t.key FROM study t WHERE t.datastore = {self._mark}"
                f" AND t.study_instance_uid >= {self._mark} AND t.study_instance_uid < {self._mark}"
                f" LIMIT {self._mark}"
            )
            found |= {
                key
                for (key,) in self._reader.ask(sql, (self._datastore, uid.typed, uid.typed + "~", most + 1))
            }
        return sorted(found)

    def _gram_query(self, criteria: StudyCriteria) -> str | None:
        wanted: list[list[list[list[str]]]] = []
        uids = [word for word in criteria.words if word.is_uid]
        for word in criteria.words:
            # A second one might be the beginning of the UID, which has no grams.
            if len(word.folded) < _SHORTEST or word in uids[1:]:
                continue
            ways = [
                self._prefixes(where, Wildcard(f"*{word.folded}*"))
                for where in word.within
                if where != Searched.UID
            ]
            wanted.append([way for way in ways if way])
        if criteria.modalities:
            wanted.append([self._prefixes("ModalitiesInStudy", AnyOf(criteria.modalities))])
        return gram_query(self._reader.dialect, wanted) if wanted else None

    def _prefixes(self, keyword: str, match: Match) -> list[list[str]]:
        return qido_grams.gram_prefixes(self._datastore, keyword, match) or []

    def _by_day(self, criteria: StudyCriteria, most: int) -> list[int] | None:
        if not criteria.has_days:
            return None
        sql, parameters = self._days(criteria)
        found = self._reader.ask(
            f"SELECT t.key FROM study t WHERE t.listed_in = {self._mark}{sql} LIMIT {self._mark}",
            (self._datastore, *parameters, most + 1),
        )
        return [key for (key,) in found]

    def _days(self, criteria: StudyCriteria) -> _Sql:
        ends = (("t.study_day >=", criteria.first_day), ("t.study_day <=", criteria.last_day))
        given = [(sql, day) for sql, day in ends if day is not None]
        return "".join(f" AND {sql} {self._mark}" for sql, _ in given), tuple(day for _, day in given)

    # The orders ---------------------------------------------------------------------------------------

    def walk(self, criteria: StudyCriteria, after: Place | None, limit: int, most: int) -> Walked:
        """The first ``limit`` that match, in an order of `SERVED`, among at most ``most``."""
        found: list[StudyRow] = []
        scanned = 0
        last: StudyRow | None = None
        # SQLite would sort all studies where its statistics are of a time before this index.
        by = f" INDEXED BY {_INDEX[criteria.sort]}" if self._is_sqlite else ""
        for where, parameters, order in self._stretches(criteria, after):
            left = most - scanned
            rows = self._reader.ask(
                f"SELECT {_COLUMNS} FROM study t{by} WHERE t.listed_in = {self._mark}{where}"
                f" ORDER BY {order} LIMIT {self._mark}",
                (self._datastore, *parameters, left + 1),
            )
            for values in rows[:left]:
                last = StudyRow(*values)
                scanned += 1
                if criteria.matches(last.texts):
                    found.append(last)
                    if len(found) == limit:
                        return Walked(found, self.place(last, criteria.sort), scanned)
            if len(rows) > left:
                return Walked(found, after if last is None else self.place(last, criteria.sort), scanned)
        return Walked(found, None, scanned)

    def _stretches(
        self, criteria: StudyCriteria, after: Place | None
    ) -> list[tuple[str, tuple[Any, ...], str]]:
        """The parts of the order, one after another: conditions, their parameters, and the order within."""
        way, sign = (" DESC", "<") if criteria.descending else ("", ">")
        mark = self._mark
        if criteria.sort == StudySort.UPDATED:
            order = f"t.updated_at{way}, t.study_instance_uid{way}"
            if after is None:
                return [("", (), order)]
            where = f" AND (t.updated_at, t.study_instance_uid) {sign} ({mark}, {mark})"
            return [(where, (after.value, after.second), order)]
        if criteria.sort == StudySort.DATE:
            return self._by_moment(criteria, after, way, sign)
        column = _SORT_COLUMN[criteria.sort]
        parts: list[tuple[str, tuple[Any, ...], str]] = []
        if after is None:
            parts.append((f" AND {column} IS NOT NULL", (), f"{column}{way}, t.key{way}"))
        elif after.value is not None:
            where = f" AND ({column}, t.key) {sign} ({mark}, {mark})"
            parts.append((where, (after.value, after.key), f"{column}{way}, t.key{way}"))
        parts.append(self._without(column, after, way, sign))
        return parts

    def _without(
        self, column: str, after: Place | None, way: str, sign: str
    ) -> tuple[str, tuple[Any, ...], str]:
        """Those without a value, by key."""
        if after is None or after.value is not None:
            return f" AND {column} IS NULL", (), f"t.key{way}"
        return f" AND {column} IS NULL AND t.key {sign} {self._mark}", (after.key,), f"t.key{way}"

    def _by_moment(
        self, criteria: StudyCriteria, after: Place | None, way: str, sign: str
    ) -> list[tuple[str, tuple[Any, ...], str]]:
        mark = self._mark
        order = f"t.study_day{way}, t.study_clock{way}, t.key{way}"
        days, given = self._days(criteria)
        parts: list[tuple[str, tuple[Any, ...], str]] = []
        if after is None:
            parts.append((days or " AND t.study_day IS NOT NULL", given, order))
        elif after.value is not None:
            of_day = f"{days} AND t.study_day = {mark}"
            has_time = after.second != self._no_time
            nulls = f"{of_day} AND t.study_clock IS NULL"
            timed = f"{of_day} AND t.study_clock IS NOT NULL"
            # SQLite has them before all others, PostgreSQL behind.
            nulls_follow = criteria.descending == self._is_sqlite
            within = f"t.study_clock{way}, t.key{way}"
            if has_time:
                where = f"{of_day} AND (t.study_clock, t.key) {sign} ({mark}, {mark})"
                parts.append((where, (*given, after.value, after.second, after.key), within))
                if nulls_follow:
                    parts.append((nulls, (*given, after.value), f"t.key{way}"))
            else:
                parts.append(
                    (f"{nulls} AND t.key {sign} {mark}", (*given, after.value, after.key), f"t.key{way}")
                )
                if not nulls_follow:
                    parts.append((timed, (*given, after.value), within))
            parts.append((f"{days} AND t.study_day {sign} {mark}", (*given, after.value), order))
        if not criteria.has_days:
            parts.append(self._without("t.study_day", after, way, sign))
        return parts
