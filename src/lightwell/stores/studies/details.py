"""What a list shows of studies: their attributes and their image sets."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    *("patient_id", "patient_name"),
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
    patient_id: str | None
    patient_name: str | None

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
    """A study as its oldest primary set shows it; else as the set by which it was found.

    The sets of its patient come first: a StudyInstanceUID does not keep others from having their own.
    """

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

    def has_other_patient(self, of: ShownSet) -> bool:
        """Whether an image set names another patient than the study, by id or by name."""
        return _patient(of.patient_id, of.patient_name) != _patient(self.patient_id, self.patient_name)


def _patient(id: str | None, name: str | None) -> tuple[str, str]:
    """What is compared; of a name, components that are not there do not count (PS3.5 §6.2.1)."""
    return (id or "").strip(), "=".join(group.rstrip("^ ") for group in (name or "").split("=")).rstrip("=")


def shown(reader: Reader, datastore: int, studies: Sequence[tuple[int, int | None]]) -> list[ShownStudy]:
    """The studies by their keys; with the key of an image set, as that shows them. In the same order."""
    values = _by_key(reader, "study", [key for key, of in studies if of is None])
    of_sets = _by_key(reader, "image_set", [of for _, of in studies if of is not None])
    sets = _sets(reader, datastore, [key for key, _ in studies])
    # Those by which studies were found, where there are more than are listed.
    absent = [of for key, of in studies if of is not None and all(each.key != of for each in sets[key])]
    for each in _rows(reader, "{source} {join} image_set m ON m.key = j.value", absent):
        sets[each.study].append(each)
    found = []
    for key, of in studies:
        row = values.get(key) if of is None else of_sets.get(of)
        if row is not None:
            study = ShownStudy((), len(sets[key]) > MOST_SETS, *row)
            found.append(replace(study, sets=_in_order(study, sets[key], of)[:MOST_SETS]))
    return found


def _in_order(study: ShownStudy, sets: Sequence[ShownSet], of: int | None) -> tuple[ShownSet, ...]:
    """The sets of the patient first; ``of`` before others of its kind, as it may be one of very many."""
    keyed = [((study.has_other_patient(each), each.key != of), each.order, each) for each in sets]
    return tuple(each for *_, each in sorted(keyed))


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
    some = (
        f"SELECT x.key FROM image_set x WHERE x.study = j.value AND x.listed_in = {mark}"
        f" ORDER BY x.is_primary DESC LIMIT {MOST_SETS + 1}"
    )
    if reader.dialect == "sqlite":
        some = some.replace("x.listed_in", "+x.listed_in")  # by the index of studies
        joined = f"{{source}} CROSS JOIN image_set m ON m.key IN ({some})"
    else:
        joined = f"{{source}} CROSS JOIN LATERAL ({some}) s JOIN image_set m ON m.key = s.key"
    for each in _rows(reader, joined, studies, datastore):
        found[each.study].append(each)
    return found


def _rows(reader: Reader, joined: str, keys: Sequence[int], *more: int) -> list[ShownSet]:
    """Image sets ``m``; ``joined`` says how they hang on the keys."""
    if not keys:
        return []
    columns = ", ".join(f"m.{name}" for name in _OF_SET)
    source, given = _given(reader, keys)
    join = "CROSS JOIN" if reader.dialect == "sqlite" else "JOIN"
    rows = reader.ask(f"SELECT {columns} FROM {joined.format(source=source, join=join)}", (given, *more))
    return [ShownSet(*row)._replace(is_primary=bool(row[9])) for row in rows]


def _given(reader: Reader, keys: Sequence[int]) -> tuple[str, Any]:
    """The keys as a table ``j`` of the column ``value``."""
    if reader.dialect == "sqlite":
        return "json_each(?) j", json.dumps(list(keys))
    return "unnest(CAST(%s AS bigint[])) AS j(value)", list(keys)
