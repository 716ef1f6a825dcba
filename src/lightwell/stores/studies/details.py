"""What a list shows of studies: their attributes and their image sets."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightwell.stores.qido.conditions import PLACEHOLDER
from lightwell.stores.qido.search import Reader

MOST_SETS = 100
"""Of one study; `ShownStudy.has_more_sets` tells that there are more."""

_OF_STUDY = (
    *("study_instance_uid", "patient_id", "patient_name", "patient_birth_date", "patient_sex", "study_id"),
    *("study_description", "accession_number", "study_date", "study_time", "updated_at"),
)
_OF_SET = (
    *("study", "key", "id", "series_instance_uid", "series_number", "modality", "series_description"),
    *("body_part_examined", "instance_count", "is_primary", "readable_version", "created_at", "updated_at"),
)


class ShownSet(NamedTuple):
    study: int
    key: int
    id: str
    series_instance_uid: str
    series_number: str | None
    modality: str | None
    series_description: str | None
    body_part_examined: str | None
    instance_count: int
    is_primary: bool
    version: int
    created_at: int
    updated_at: int

    @property
    def order(self) -> tuple[bool, int, str, int]:
        """Primary sets first, by SeriesNumber, then by UID."""
        try:
            number = int(self.series_number or "")
        except ValueError:
            number = 2**31
        return not self.is_primary, number, self.series_instance_uid, self.key


@dataclass(frozen=True, slots=True)
class ShownStudy:
    """A study as its oldest primary set shows it; without one, as the set by which it was found."""

    sets: tuple[ShownSet, ...]
    has_more_sets: bool
    study_instance_uid: str
    patient_id: str | None
    patient_name: str | None
    patient_birth_date: str | None
    patient_sex: str | None
    study_id: str | None
    study_description: str | None
    accession_number: str | None
    study_date: str | None
    study_time: str | None
    updated_at: int


def shown(reader: Reader, datastore: int, studies: Sequence[tuple[int, int | None]]) -> list[ShownStudy]:
    """The studies by their keys; with the key of an image set, as that shows them. In the same order."""
    values = _by_key(reader, "study", [key for key, of in studies if of is None])
    of_sets = _by_key(reader, "image_set", [of for _, of in studies if of is not None])
    sets = _sets(reader, datastore, [key for key, _ in studies])
    found = []
    for key, of in studies:
        row = values.get(key) if of is None else of_sets.get(of)
        if row is not None:
            own = sorted(sets[key], key=lambda each: each.order)
            found.append(ShownStudy(tuple(own[:MOST_SETS]), len(own) > MOST_SETS, *row))
    return found


def _by_key(reader: Reader, table: str, keys: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    if not keys:
        return {}
    columns = ", ".join(f"t.{name}" for name in _OF_STUDY)
    source, given = _given(reader, keys)
    join = "CROSS JOIN" if reader.dialect == "sqlite" else "JOIN"
    rows = reader.ask(f"SELECT t.key, {columns} FROM {source} {join} {table} t ON t.key = j.value", (given,))
    return {row[0]: tuple(row[1:]) for row in rows}


def _sets(reader: Reader, datastore: int, studies: Sequence[int]) -> dict[int, list[ShownSet]]:
    """At most one more than `MOST_SETS` of each study."""
    found: dict[int, list[ShownSet]] = defaultdict(list)
    if not studies:
        return found
    mark = PLACEHOLDER[reader.dialect]
    columns = ", ".join(f"m.{name}" for name in _OF_SET)
    source, given = _given(reader, studies)
    some = (
        f"SELECT x.key FROM image_set x WHERE x.study = j.value AND x.listed_in = {mark}"
        f" ORDER BY x.is_primary DESC LIMIT {MOST_SETS + 1}"
    )
    if reader.dialect == "sqlite":
        some = some.replace("x.listed_in", "+x.listed_in")  # by the index of studies
        sql = f"SELECT {columns} FROM {source} CROSS JOIN image_set m ON m.key IN ({some})"
    else:
        sql = (
            f"SELECT {columns} FROM {source} CROSS JOIN LATERAL ({some}) s JOIN image_set m ON m.key = s.key"
        )
    for row in reader.ask(sql, (given, datastore)):
        each = ShownSet(*row)._replace(is_primary=bool(row[9]))
        found[each.study].append(each)
    return found


def _given(reader: Reader, keys: Sequence[int]) -> tuple[str, Any]:
    """The keys as a table ``j`` of the column ``value``."""
    if reader.dialect == "sqlite":
        return "json_each(?) j", json.dumps(list(keys))
    return "unnest(CAST(%s AS bigint[])) AS j(value)", list(keys)
