"""Invariants of the DICOMweb search index; called by `invariants.check`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, text

from lightwell.domain.image_sets.edits import apply_edits
from lightwell.domain.image_sets.search_columns import clock, day, integer
from lightwell.domain.qido import grams
from lightwell.domain.qido.criteria import AnyOf, Empty, Match
from lightwell.domain.qido.grams import fold_name
from lightwell.domain.qido.index_columns import series_columns, study_columns
from lightwell.stores.db import tables
from lightwell.stores.db.qido_tables import UNNUMBERED
from lightwell.stores.image_sets import native_instances
from lightwell.stores.image_sets.edits import unpack
from lightwell.stores.qido import grams as gram_rows

_AS_LEAD = (
    *("patient_id", "patient_name", "patient_birth_date", "patient_birth_time", "patient_sex", "study_id"),
    *("study_description", "accession_number", "study_date", "study_time", "referring_physician_name"),
)


def check(conn: Connection) -> None:
    """Assert that it holds what the primary sets show, made again from their members and columns alone."""
    condition = (tables.image_set.c.is_primary, tables.image_set.c.listed_in.is_not(None))
    sets = {row.key: row for row in _rows(conn, tables.image_set, *condition)}
    series = {row.image_set: row for row in _rows(conn, tables.primary_series)}
    assert series.keys() == sets.keys(), "series of others than primary sets"
    shown = _instances_of(conn, sets)
    kept: dict[int, set[tuple[Any, ...]]] = defaultdict(set)
    names = ("instance", "record", "sop_instance_uid", "sop_class_uid", "number", "warnings", "listed_in")
    for row in _rows(conn, tables.primary_instance):
        if row.image_set in sets:
            kept[row.image_set].add(tuple(getattr(row, name) for name in names))
    assert kept == shown, "instances of searches"
    for key, row in sets.items():
        _check_series(row, series[key], shown[key])
    _check_studies(conn, sets, series)


def _rows(conn: Connection, table: Any, *where: Any) -> list[Any]:
    return list(conn.execute(select(table).where(*where)))


def _instances_of(conn: Connection, sets: Mapping[int, Any]) -> dict[int, set[tuple[Any, ...]]]:
    r, m = tables.record.c, tables.member.c
    columns = (r.sop_instance_uid, r.sop_class_uid, r.instance_number, r.warnings)
    rows = conn.execute(
        select(m.image_set, m.instance, m.record, m.edits, *columns)
        .join(tables.record, r.key == m.record)
        .where(m.valid_to.is_(None))
    )
    shown: dict[int, set[tuple[Any, ...]]] = defaultdict(set)
    for row in rows:
        if row.image_set not in sets:
            continue
        edits = unpack(conn, row.image_set, row.edits)
        block = {"InstanceNumber": row.instance_number, "SOPClassUID": row.sop_class_uid}
        block = apply_edits(block, {key: edit for key, edit in edits.items() if key in block})
        number = _number(block.get("InstanceNumber"))
        uid = native_instances.sop_instance_uid(row.sop_instance_uid, edits)
        sop_class = str(block.get("SOPClassUID") or "").strip() or None
        listed = sets[row.image_set].listed_in
        shown[row.image_set].add((row.instance, row.record, uid, sop_class, number, row.warnings, listed))
    return shown


def _number(value: object) -> int:
    number = integer(value)
    return UNNUMBERED if number is None else number


def _check_series(row: Any, series: Any, instances: set[tuple[Any, ...]]) -> None:
    first = min(instances, key=lambda instance: (instance[4], instance[2]))
    for name in ("listed_in", "study", "series_instance_uid", "modality", "requests"):
        assert getattr(series, name) == getattr(row, name), f"{name} of series {row.series_instance_uid}"
    assert (series.number, series.first_record) == (_number(row.series_number), first[1])
    assert series.performed_day == day(series.performed_date)
    assert series.performed_clock == clock(series.performed_time)
    for name in ("series_description", "body_part_examined"):
        assert getattr(series, name) == getattr(row, name), f"{name} of series {row.series_instance_uid}"
    for name, value in series_columns(row.further).items():
        assert getattr(series, name) == value, f"{name} of series {row.series_instance_uid}"


def _check_studies(conn: Connection, sets: Mapping[int, Any], series: Mapping[int, Any]) -> None:
    of: dict[int, list[Any]] = defaultdict(list)
    for row in sorted(sets.values(), key=lambda row: (row.created_at, row.key)):
        of[row.study].append(row)
    listed = {}
    for study in _rows(conn, tables.study):
        if study.key in of:
            _check_study(study, of[study.key], series)
            listed[study.key] = study
        else:
            left = {name for name, value in study._mapping.items() if value is not None}
            assert left == {"key", "datastore", "study_instance_uid"}, f"{left} of a study that nobody sees"
    assert of.keys() == listed.keys()
    _check_grams(conn, "study", listed)
    _check_grams(conn, "series", series)


def _check_study(study: Any, sets: list[Any], series: Mapping[int, Any]) -> None:
    lead = sets[0]
    assert (study.lead, study.listed_in) == (lead.key, study.datastore)
    for name in _AS_LEAD:
        assert getattr(study, name) == getattr(lead, name), f"{name} of study {study.study_instance_uid}"
    for name, value in study_columns(lead.further).items():
        assert getattr(study, name) == value, f"{name} of study {study.study_instance_uid}"
    assert study.patient_name_folded == (lead.patient_name and fold_name(lead.patient_name))
    assert study.timezone_offset == series[lead.key].timezone_offset
    assert (study.study_day, study.study_clock) == (day(lead.study_date), clock(lead.study_time))
    counts = len(sets), sum(row.instance_count for row in sets)
    assert (study.series_count, study.instance_count) == counts, "a study counts wrongly"
    assert json.loads(study.modalities or "[]") == sorted({row.modality for row in sets} - {None})
    pairs = [pair for row in sets for pair in json.loads(row.requests or "[]")]
    assert json.loads(study.scheduled_step_ids or "[]") == sorted({step for step, _ in pairs} - {None})
    assert study.updated_at is not None


def _check_grams(conn: Connection, of: gram_rows.Of, rows: Mapping[int, Any]) -> None:
    """Assert that every text of every listed study or series is found, and no unlisted one."""
    by_mark: dict[str, set[int]] = defaultdict(set)
    columns = gram_rows.STUDY_COLUMNS if of == "study" else gram_rows.SERIES_COLUMNS
    for key, row in rows.items():
        for keyword, column in columns.items():
            value = getattr(row, column)
            for match in _matches(keyword, value):
                wanted = grams.gram_prefixes(row.listed_in, keyword, match)
                if wanted is None:  # found by another index
                    continue
                assert all(key in _with_gram(conn, of, gram) for (gram,) in wanted), f"{keyword} is not found"
                by_mark[wanted[0][0][:3]].add(key)
    every = set(_all_with_grams(conn, of)) if conn.dialect.name != "sqlite" else set()
    for mark, keys in by_mark.items():
        if conn.dialect.name == "sqlite":
            assert _with_gram(conn, of, mark, whole=False) == keys
        else:
            assert keys <= every
            every -= keys
    assert not every, f"texts of a {of} that nobody sees"


def _matches(keyword: str, value: str | None) -> list[Match]:
    """What finds each of the values of a column, or that it has none."""
    if value is None:
        return [Empty()]
    if keyword in grams.LIST_ATTRIBUTES:
        return [AnyOf((each,)) for each in json.loads(value)]
    if keyword in grams.NAME_ATTRIBUTES:
        return [AnyOf((fold_name(each),)) for each in value.split("\\") if fold_name(each)] or [Empty()]
    return [AnyOf((value,))]


def _all_with_grams(conn: Connection, of: str) -> list[int]:
    return list(conn.execute(text(f"SELECT {of} FROM {of}_grams")).scalars())


def _with_gram(conn: Connection, of: str, gram: str, whole: bool | None = None) -> set[int]:
    if whole is None:
        whole = grams.is_full_length(gram)
    if conn.dialect.name == "sqlite":
        sql = text(f"SELECT rowid FROM {of}_grams WHERE {of}_grams MATCH :gram")
        return set(conn.execute(sql, {"gram": f'"{gram}"' + ("" if whole else " *")}).scalars())
    sql = text(f"SELECT {of} FROM {of}_grams WHERE grams @@ CAST(:gram AS tsquery)")
    return set(conn.execute(sql, {"gram": f"'{gram}'" + ("" if whole else ":*")}).scalars())
