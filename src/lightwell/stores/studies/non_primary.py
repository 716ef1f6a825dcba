"""Studies by their image sets that are not primary, which the search index of DICOMweb does not have.

There are few in most data stores: copies, and what contradicts a study. `NEWEST` of them are compared one by
one for each page. Sorted by their last change, those that follow the page before; so in the end all are. In
other orders it is always the newest, and of older ones only those are found whose patient id, accession
number or StudyInstanceUID is a word of the search.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lightwell.domain.image_sets.search_columns import clock, day
from lightwell.domain.qido.study_list import Place, Searched, StudyCriteria, StudySort, Texts, folded_name
from lightwell.stores.qido.conditions import PLACEHOLDER
from lightwell.stores.qido.search import Reader
from lightwell.stores.studies.listed import StudyRow

NEWEST = 3_000
_MOST_BY_ID = 200
_LAST = "\U0010ffff"  # follows every UID

_COLUMNS = (
    "m.key, m.study, m.updated_at, m.study_instance_uid, m.study_date, m.study_time, m.patient_id,"
    " m.patient_name, m.accession_number, m.study_description, m.modality"
)
_INDEXED = {
    Searched.ID: "m.patient_id",
    Searched.ACCESSION: "m.accession_number",
    Searched.UID: "m.study_instance_uid",
}


class _SetRow(NamedTuple):
    key: int
    study: int
    updated_at: int
    study_instance_uid: str
    study_date: str | None
    study_time: str | None
    patient_id: str | None
    patient_name: str | None
    accession_number: str | None
    study_description: str | None
    modality: str | None

    @property
    def texts(self) -> Texts:
        return Texts(
            folded_name(self.patient_name),
            self.patient_id,
            self.accession_number,
            self.study_description,
            self.study_instance_uid,
            day(self.study_date),
            () if self.modality is None else (self.modality,),
        )


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study, and the newest of its non-primary sets that matches: by the key, and what it shows."""

    set: int
    row: StudyRow


@dataclass(frozen=True, slots=True)
class FoundStudies:
    """Studies by key. ``until``: up to where in the order all have been compared, None for everywhere.

    ``named`` are those that a word of the search names, wherever they stand, where not all were compared.
    """

    studies: dict[int, FoundStudy]
    until: Place | None = None
    is_whole: bool = True
    named: dict[int, FoundStudy] = field(default_factory=dict)


def find(reader: Reader, datastore: int, criteria: StudyCriteria, after: Place | None) -> FoundStudies:
    """What follows ``after``, or may do so."""
    mark = PLACEHOLDER[reader.dialect]
    where = f"m.listed_in = {mark} AND m.is_primary = {'0' if reader.dialect == 'sqlite' else 'false'}"
    some = f"SELECT {_COLUMNS} FROM image_set m WHERE {where}"
    if criteria.studies:
        places = ", ".join([mark] * len(criteria.studies))
        sql = f"{some} AND m.study_instance_uid IN ({places}) LIMIT {mark}"
        rows = _sets(reader.ask(sql, (datastore, *criteria.studies, NEWEST + 1)))
        return FoundStudies(_by_study(rows[:NEWEST], criteria), is_whole=len(rows) <= NEWEST)
    is_in_order = criteria.sort == StudySort.UPDATED
    way, sign = (" DESC", "<") if criteria.descending or not is_in_order else ("", ">")
    bound: str = ""
    parameters: tuple[Any, ...] = ()
    if is_in_order and after is not None:
        place = f"(m.updated_at, m.study_instance_uid) {sign} ({mark}, {mark})"
        bound = f" AND m.updated_at {sign}= {mark} AND {place}"
        parameters = (after.value, after.value, after.second)
    order = f" ORDER BY m.updated_at{way}, m.key{way} LIMIT {mark}"
    rows = _sets(reader.ask(some + bound + order, (datastore, *parameters, NEWEST + 1)))
    if len(rows) <= NEWEST:
        return FoundStudies(_by_study(rows, criteria))
    named: list[_SetRow] = []
    for searched, column in _INDEXED.items():
        values = [word.typed for word in criteria.words if searched in word.within]
        if values:
            places = ", ".join([mark] * len(values))
            sql = f"{some} AND {column} IN ({places}) LIMIT {mark}"
            named += _sets(reader.ask(sql, (datastore, *values, _MOST_BY_ID)))
    if not is_in_order:
        return FoundStudies(_by_study(rows[:NEWEST] + named, criteria), is_whole=False)
    # Those of one moment stay together, since the order goes on by the UID of their studies.
    beyond = rows[NEWEST].updated_at
    kept = [row for row in rows if row.updated_at != beyond] or rows[:NEWEST]
    until = Place(kept[-1].updated_at, "" if criteria.descending else _LAST, 0)
    return FoundStudies(_by_study(kept, criteria), until, named=_by_study(named, criteria))


def _by_study(rows: Sequence[_SetRow], criteria: StudyCriteria) -> dict[int, FoundStudy]:
    found: dict[int, FoundStudy] = {}
    for row in rows:
        if criteria.is_everything or criteria.matches(row.texts):
            found.setdefault(row.study, FoundStudy(row.key, _as_study(row)))
    return found


def _sets(rows: Sequence[tuple[Any, ...]]) -> list[_SetRow]:
    return [_SetRow(*row) for row in rows]


def _as_study(row: _SetRow) -> StudyRow:
    return StudyRow(
        row.study,
        row.updated_at,
        row.study_instance_uid,
        day(row.study_date),
        clock(row.study_time),
        row.patient_id,
        folded_name(row.patient_name),
        row.accession_number,
        row.study_description,
        None if row.modality is None else json.dumps([row.modality]),
    )
