"""Maintenance of DICOMweb's search index: called wherever a primary image set changes, in its transaction.

The caller holds the lock of the study. The index is derived from other tables: a series from the row of its
image set and its first instance, an instance from its member and record, a study from its primary sets. So
a lost index can be rebuilt, and nothing is ever incremented.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Connection,
    CursorResult,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from lightwell.domain.image_sets.edits import Edits
from lightwell.domain.image_sets.search_columns import clock, day, integer
from lightwell.domain.qido.grams import fold_name
from lightwell.domain.qido.index_columns import series_columns, study_columns
from lightwell.domain.states import ImageSetState
from lightwell.stores.db.bulk import batches, insert_many
from lightwell.stores.db.qido_tables import UNNUMBERED
from lightwell.stores.db.tables import (
    image_set,
    instance,
    member,
    primary_instance,
    primary_series,
    record,
    study,
)
from lightwell.stores.db.validity import is_open
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets import native_instances
from lightwell.stores.qido import grams

# What a study shows as its oldest primary set does.
_SHOWN = (
    *("patient_id", "patient_name", "patient_birth_date", "patient_birth_time", "patient_sex"),
    *("study_id", "study_description", "accession_number", "study_date", "study_time"),
    "referring_physician_name",
)
_STUDY = tuple(name for name in study.c.keys() if name not in ("key", "datastore", "study_instance_uid"))  # noqa: SIM118
_SERIES = tuple(primary_series.c.keys())
_KEYWORDS = ("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "TimezoneOffsetFromUTC")

# The statements that each import of a series runs are made once: to make one takes longer than to run it.
# Their parameters are ``key``, of what they read or change, and ``instances``, keys; those of updates may not
# be named as columns are.
_KEY = bindparam("key", type_=BigInteger)
_INSTANCES: BindParameter[int] = bindparam("instances", expanding=True)

_MEMBERS = member.join(record, record.c.key == member.c.record).join(
    image_set, image_set.c.key == member.c.image_set
)


def _plain(*some: Any) -> Any:
    """Inserts the open members of a set that have no edits, those of ``_INSTANCES`` or all."""
    columns = ["image_set", "number", "sop_instance_uid", "listed_in", "instance", "record", "sop_class_uid"]
    rows = (
        select(
            _KEY,
            func.coalesce(record.c.instance_number, literal(UNNUMBERED, BigInteger)),
            record.c.sop_instance_uid,
            image_set.c.listed_in,
            member.c.instance,
            member.c.record,
            record.c.sop_class_uid,
            record.c.warnings,
        )
        .select_from(_MEMBERS)
        .where(member.c.image_set == _KEY, is_open(member), *some, member.c.edits.is_(None))
    )
    return insert(primary_instance).from_select([*columns, "warnings"], rows)


def _with_edits(*some: Any) -> Any:
    """Those that have edits."""
    return (
        select(
            member.c.edits,
            image_set.c.listed_in,
            member.c.instance,
            member.c.record,
            record.c.sop_instance_uid,
            record.c.sop_class_uid,
            record.c.instance_number,
            record.c.warnings,
        )
        .select_from(_MEMBERS)
        .where(member.c.image_set == _KEY, is_open(member), *some, member.c.edits.is_not(None))
    )


_SOME = member.c.instance.in_(_INSTANCES)
_ALL_INSTANCES = (_plain(), _with_edits())
_SOME_INSTANCES = (_plain(_SOME), _with_edits(_SOME))
_DROP_INSTANCES = delete(primary_instance).where(
    primary_instance.c.listed_in
    == select(image_set.c.listed_in).where(image_set.c.key == _KEY).scalar_subquery(),
    primary_instance.c.sop_instance_uid.in_(
        select(instance.c.sop_instance_uid).where(instance.c.key.in_(_INSTANCES))
    ),
    primary_instance.c.image_set == _KEY,
)

_OF_SET = select(
    *(image_set.c.listed_in, image_set.c.study, image_set.c.series_instance_uid, image_set.c.series_number),
    *(image_set.c.modality, image_set.c.requests, image_set.c.series_description),
    *(image_set.c.body_part_examined, image_set.c.further),
).where(image_set.c.key == _KEY)
_SERIES_BEFORE = select(primary_series).where(primary_series.c.image_set == _KEY)
_FIRST = (
    select(primary_instance.c.record, primary_instance.c.instance)
    .where(primary_instance.c.image_set == _KEY)
    .order_by(primary_instance.c.number, primary_instance.c.sop_instance_uid)
    .limit(1)
)
_FIRST_FRAGMENT = (
    select(record.c.key, record.c.fragment_z, record.c.dictionary, member.c.edits)
    .select_from(member)
    .join(record, record.c.key == member.c.record)
    .where(member.c.image_set == _KEY, member.c.instance == bindparam("instance"), is_open(member))
)
_INSERT_SERIES = insert(primary_series)
_UPDATE_SERIES = update(primary_series).where(primary_series.c.image_set == bindparam("of"))

_STUDY_BEFORE = select(study).where(study.c.key == _KEY)
_OF_STUDY = and_(
    primary_series.c.study == _KEY,
    image_set.c.key == primary_series.c.image_set,
    image_set.c.state == ImageSetState.ACTIVE,
)
_SETS_OF_STUDY = (
    select(
        *(image_set.c.created_at, image_set.c.key, image_set.c.instance_count, primary_series.c.modality),
        *(primary_series.c.requests, primary_series.c.timezone_offset),
    )
    .where(_OF_STUDY)
    .order_by(image_set.c.created_at, image_set.c.key)
)
_COUNTS_OF_STUDY = select(func.count(), func.sum(image_set.c.instance_count)).where(_OF_STUDY)
_SHOWN_OF_SET = select(
    image_set.c.listed_in, image_set.c.further, *(image_set.c[name] for name in _SHOWN)
).where(image_set.c.key == _KEY)
_UPDATE_STUDY = update(study).where(study.c.key == bindparam("of"))


def add_set(conn: Connection, key: int, now: int) -> None:
    """Add a primary set that was created, with all its content."""
    add_instances(conn, key, None)
    refresh_studies(conn, {_refresh_series(conn, key, look=True).study}, now)


def grow_set(
    conn: Connection, key: int, now: int, instances: Collection[int], *, again: bool, columns: bool
) -> None:
    """Update the index after instances, given by their keys, were added to a set.

    ``again``: whether some of them replace earlier ones; ``columns``: whether the set's search columns may
    have changed.
    """
    if again:
        drop_instances(conn, key, instances)
    add_instances(conn, key, instances)
    series = _refresh_series(conn, key, look=False)
    if columns or series.changed:
        refresh_studies(conn, {series.study}, now)
    else:
        _recount(conn, series.study, now)


def change_set(
    conn: Connection, key: int, now: int, closed: Collection[int], opened: Collection[int], *, before: int
) -> None:
    """Update the index after members of a set were closed and opened, given by the keys of their instances.

    ``before``: the study that the set was in.
    """
    drop_instances(conn, key, closed)
    add_instances(conn, key, opened)
    series = _refresh_series(conn, key, look=bool(closed or opened))
    refresh_studies(conn, {before, series.study}, now)


def change_to(conn: Connection, key: int, now: int, number: int, *, before: int) -> None:
    """Update the index after any change of a set that led to version ``number``."""
    touched = select(member.c.instance).where(member.c.image_set == key)
    closed = set(conn.execute(touched.where(member.c.valid_to == number)).scalars())
    opened = set(conn.execute(touched.where(member.c.valid_from == number)).scalars())
    change_set(conn, key, now, closed | opened, opened, before=before)


def drop_set(conn: Connection, key: int, now: int) -> None:
    """Remove a deleted set. Its instances are not found any more; `empty_set` removes their rows."""
    found = conn.execute(_SERIES_BEFORE, {"key": key}).mappings().first()
    if found is None:
        return
    conn.execute(delete(primary_series).where(primary_series.c.image_set == key))
    grams.replace(conn, "series", key, dict(found), None)
    refresh_studies(conn, {found["study"]}, now)


def empty_set(conn: Connection, key: int, limit: int) -> bool:
    """Remove at most ``limit`` instances of a deleted set; True if none is left."""
    t = primary_instance.c
    last = conn.execute(
        select(t.number).where(t.image_set == key).order_by(t.number).limit(1).offset(limit - 1)
    ).scalar()
    these = [t.image_set == key] if last is None else [t.image_set == key, t.number <= last]
    conn.execute(delete(primary_instance).where(*these))
    return last is None


# Instances -----------------------------------------------------------------------------------------------


def add_instances(conn: Connection, key: int, instances: Collection[int] | None) -> None:
    """Add the open members of a set, those of the instances with these keys, or all."""
    plain, edited = _ALL_INSTANCES if instances is None else _SOME_INSTANCES
    for some in [None] if instances is None else batches(sorted(instances)):
        these: dict[str, Any] = {"key": key} if some is None else {"key": key, "instances": some}
        conn.execute(plain, these)
        insert_many(
            conn, primary_instance, [instance_values(conn, key, row) for row in conn.execute(edited, these)]
        )


def instance_values(conn: Connection, key: int, row: Any) -> dict[str, Any]:
    """What the index has of an open member of set ``key``, from the columns of `_with_edits`."""
    edits = packed_edits.unpack(conn, key, row.edits)
    number = integer(_edited_value(edits, "InstanceNumber", row.instance_number))
    sop_class = _edited_value(edits, "SOPClassUID", row.sop_class_uid)
    return {
        "image_set": key,
        "number": UNNUMBERED if number is None else number,
        "sop_instance_uid": native_instances.sop_instance_uid(row.sop_instance_uid, edits),
        "listed_in": row.listed_in,
        "instance": row.instance,
        "record": row.record,
        "sop_class_uid": None if sop_class is None else str(sop_class).strip() or None,
        "warnings": row.warnings,
    }


def _edited_value(edits: Edits, keyword: str, value: object) -> object:
    if keyword not in edits:
        return value
    edit = edits[keyword]
    return None if edit is None else edit.value


def drop_instances(conn: Connection, key: int, instances: Collection[int]) -> None:
    """Remove instances of a set, given by their keys, from the index."""
    for some in batches(sorted(instances)):
        conn.execute(_DROP_INSTANCES, {"key": key, "instances": some})


# Series --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Series:
    """A refreshed series: its study, and whether what it shows has changed."""

    study: int
    changed: bool


def _refresh_series(conn: Connection, key: int, *, look: bool) -> _Series:
    """``look``: read the first instance even if it is the same as before."""
    row = conn.execute(_OF_SET, {"key": key}).one()
    before = conn.execute(_SERIES_BEFORE, {"key": key}).mappings().first()
    number = integer(row.series_number)
    values: dict[str, Any] = {
        "image_set": key,
        "listed_in": row.listed_in,
        "study": row.study,
        "series_instance_uid": row.series_instance_uid,
        "number": UNNUMBERED if number is None else number,
        "modality": row.modality,
        "requests": row.requests,
        "series_description": row.series_description,
        "body_part_examined": row.body_part_examined,
        **series_columns(row.further),
    }
    first = conn.execute(_FIRST, {"key": key}).first()
    if first is None:
        # Its part of the index was lost; a change of the set must not fail because of that.
        add_instances(conn, key, None)
        first = conn.execute(_FIRST, {"key": key}).one()
    if look or before is None or before["first_record"] != first.record:
        fragment = _first_fragment(conn, key, first.instance).one()
        values |= {"first_record": first.record, **_of_first(conn, key, fragment)}
    else:
        values |= {name: before[name] for name in _SERIES if name not in values}
    grams.replace(conn, "series", key, None if before is None else dict(before), values)
    if before is None:
        conn.execute(_INSERT_SERIES, values)
    elif changed := {name: value for name, value in values.items() if before[name] != value}:
        conn.execute(_UPDATE_SERIES, {"of": key, **changed})
        return _Series(row.study, changed.keys() != {"first_record"})
    return _Series(row.study, before is None)


def first_values(conn: Connection, key: int) -> dict[str, Any] | None:
    """What a series shows of its first instance; None if the index has none, or another set's."""
    first = conn.execute(_FIRST, {"key": key}).first()
    if first is None or (row := _first_fragment(conn, key, first.instance).first()) is None:
        return None
    return {"first_record": first.record, **_of_first(conn, key, row)}


def _first_fragment(conn: Connection, key: int, instance_key: int) -> CursorResult[Any]:
    return conn.execute(_FIRST_FRAGMENT, {"key": key, "instance": instance_key})


def _of_first(conn: Connection, key: int, row: Any) -> dict[str, str | None]:
    fragments = native_instances.InstanceFragments(conn, key)
    fragment = fragments.of_record(row.key, row.fragment_z, row.dictionary)
    shown: Mapping[str, object] = {}
    # Most of a fragment is irrelevant here, and it may be megabytes long.
    if any(f'"{keyword}"'.encode() in fragment for keyword in _KEYWORDS):
        shown = json.loads(b"{" + fragment + b"}")["DICOM"]
    edits = packed_edits.unpack(conn, key, row.edits)
    date, time, offset = (
        None if value is None else str(value).strip() or None
        for value in (_edited_value(edits, keyword, shown.get(keyword)) for keyword in _KEYWORDS)
    )
    return {
        "performed_date": date,
        "performed_time": time,
        "timezone_offset": offset,
        "performed_day": day(date),
        "performed_clock": clock(time),
    }


# Studies -------------------------------------------------------------------------------------------------


def refresh_studies(conn: Connection, keys: Collection[int], now: int) -> None:
    """Update studies from their primary sets; those without one are no longer found."""
    for key in sorted(keys):
        before = conn.execute(_STUDY_BEFORE, {"key": key}).mappings().first()
        if before is None:
            continue
        after = study_values(conn, key, now)
        grams.replace(conn, "study", key, dict(before), after)
        changed = {name: value for name, value in after.items() if before[name] != value}
        if changed:
            conn.execute(_UPDATE_STUDY, {"of": key, **changed})


def study_values(conn: Connection, key: int, now: int) -> dict[str, Any]:
    """What the index has of a study, from the rows of its primary sets."""
    rows = conn.execute(_SETS_OF_STUDY, {"key": key}).all()
    values: dict[str, Any] = dict.fromkeys(_STUDY)
    if not rows:
        return values
    lead = rows[0]
    shown = conn.execute(_SHOWN_OF_SET, {"key": lead.key}).mappings()
    pairs = [pair for row in rows if row.requests for pair in json.loads(row.requests)]
    values |= dict(shown.one())
    values |= study_columns(values.pop("further"))
    values |= {
        "lead": lead.key,
        "updated_at": now,
        "series_count": len(rows),
        "instance_count": sum(row.instance_count for row in rows),
        "patient_name_folded": _folded(values["patient_name"]),
        "referring_physician_name_folded": _folded(values["referring_physician_name"]),
        "timezone_offset": lead.timezone_offset,
        "modalities": _array(row.modality for row in rows),
        "scheduled_step_ids": _array(step for step, _ in pairs),
        "requested_procedure_ids": _array(procedure for _, procedure in pairs),
        "study_day": day(values["study_date"]),
        "study_clock": clock(values["study_time"]),
        "birth_day": day(values["patient_birth_date"]),
        "birth_clock": clock(values["patient_birth_time"]),
    }
    return values


def _folded(name: str | None) -> str | None:
    return None if name is None else fold_name(name)


def _array(values: Iterator[str | None]) -> str | None:
    found = sorted({value for value in values if value is not None})
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) if found else None


def _recount(conn: Connection, key: int, now: int) -> None:
    series, instances = conn.execute(_COUNTS_OF_STUDY, {"key": key}).one()
    conn.execute(
        _UPDATE_STUDY,
        {"of": key, "series_count": series, "instance_count": int(instances), "updated_at": now},
    )
