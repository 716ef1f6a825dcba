"""Fills the search index of revision 0004 from what revision 0003 has kept.

Its own SQL, since the tables of the code may be newer when this runs; a batch of sets or studies at a time.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, text

from lightwell.domain.image_sets.edits import apply_edits
from lightwell.domain.image_sets.search_columns import SearchColumns, clock, columns_of_levels, day, integer
from lightwell.domain.qido.grams import fold_name, grams
from lightwell.stores.db.compression import FragmentReader, decompress
from lightwell.stores.image_sets.edits import unpack_plain

_BATCH = 500
_UNNUMBERED = 2**31

_PRIMARY = "s.is_primary AND s.state = 'ACTIVE' AND s.listed_in IS NOT NULL"
_SETS = f"""
SELECT s.key, s.study, s.listed_in, s.series_instance_uid, s.series_number, s.modality, ({_PRIMARY}) AS found
FROM image_set s
WHERE s.state = 'ACTIVE' AND s.readable_version > 0 AND s.key > :after ORDER BY s.key LIMIT {_BATCH}
"""
_LEVELS = """
SELECT l.image_set, l.level, l.base, l.edits FROM level l WHERE l.image_set IN :keys AND l.valid_to IS NULL
"""
_BODIES = "SELECT v.key, v.body_z FROM level_value v WHERE v.key IN :keys"
_SET = """
UPDATE image_set SET patient_birth_time = :patient_birth_time,
    referring_physician_name = :referring_physician_name, series_description = :series_description,
    requests = :requests
WHERE key = :key
"""
_INSTANCES = f"""
INSERT INTO primary_instance
    (image_set, number, sop_instance_uid, listed_in, instance, record, sop_class_uid)
SELECT m.image_set, coalesce(r.instance_number, {_UNNUMBERED}), r.sop_instance_uid, s.listed_in, m.instance,
    m.record, r.sop_class_uid
FROM image_set s JOIN member m ON m.image_set = s.key JOIN record r ON r.key = m.record
WHERE {_PRIMARY} AND m.valid_to IS NULL AND m.edits IS NULL
"""
_EDITED = f"""
SELECT m.image_set, m.instance, m.record, m.edits, s.listed_in, n.sop_instance_uid, r.sop_class_uid,
    r.instance_number
FROM image_set s JOIN member m ON m.image_set = s.key JOIN record r ON r.key = m.record
JOIN instance n ON n.key = m.instance
WHERE {_PRIMARY} AND m.valid_to IS NULL AND m.edits IS NOT NULL AND s.key > :after AND s.key <= :upto
"""
_INSTANCE = """
INSERT INTO primary_instance
    (image_set, number, sop_instance_uid, listed_in, instance, record, sop_class_uid)
VALUES (:image_set, :number, :sop_instance_uid, :listed_in, :instance, :record, :sop_class_uid)
"""
_FIRST = """
SELECT i.instance, i.record FROM primary_instance i WHERE i.image_set = :key
ORDER BY i.number, i.sop_instance_uid LIMIT 1
"""
_FRAGMENT = """
SELECT r.fragment_z, d.bytes, m.edits FROM member m JOIN record r ON r.key = m.record
LEFT JOIN dictionary d ON d.key = r.dictionary
WHERE m.image_set = :key AND m.instance = :instance AND m.valid_to IS NULL
"""
_SERIES = """
INSERT INTO primary_series
    (image_set, listed_in, study, series_instance_uid, number, modality, requests, first_record,
     performed_date, performed_time, timezone_offset, performed_day, performed_clock)
VALUES (:image_set, :listed_in, :study, :series_instance_uid, :number, :modality, :requests, :first_record,
     :performed_date, :performed_time, :timezone_offset, :performed_day, :performed_clock)
"""
_STUDIES = f"""
SELECT t.key FROM study t WHERE t.key > :after
AND EXISTS (SELECT 1 FROM primary_series p WHERE p.study = t.key) ORDER BY t.key LIMIT {_BATCH}
"""
_SHOWN = (
    *("patient_id", "patient_name", "patient_birth_date", "patient_birth_time", "patient_sex"),
    *("study_id", "study_description", "accession_number", "study_date", "study_time"),
    "referring_physician_name",
)
_OF_STUDIES = f"""
SELECT p.study, s.key, s.listed_in, s.updated_at, s.instance_count, p.modality, p.requests,
    p.timezone_offset, {", ".join(f"s.{name}" for name in _SHOWN)}
FROM primary_series p JOIN image_set s ON s.key = p.image_set
WHERE p.study IN :keys ORDER BY s.created_at, s.key
"""
_COLUMNS = (
    *("listed_in", "lead", "updated_at", "series_count", "instance_count", *_SHOWN),
    *("patient_name_folded", "referring_physician_name_folded", "timezone_offset", "modalities"),
    *("scheduled_step_ids", "requested_procedure_ids"),
    *("study_day", "study_clock", "birth_day", "birth_clock"),
)
_STUDY = f"UPDATE study SET {', '.join(f'{name} = :{name}' for name in _COLUMNS)} WHERE key = :key"
_GRAMS = {
    "sqlite": "INSERT INTO study_grams (rowid, grams) VALUES (:study, :grams)",
    "postgresql": "INSERT INTO study_grams (study, grams)"
    " VALUES (:study, array_to_tsvector(string_to_array(:grams, ' ')))",
}
_KEYWORDS = ("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "TimezoneOffsetFromUTC")


def fill(conn: Connection) -> None:
    """Everything, in the migration's transaction."""
    conn.execute(text(_INSTANCES))
    after = -1
    while rows := conn.execute(text(_SETS), {"after": after}).all():
        _sets(conn, rows, after)
        after = rows[-1].key
    after = -1
    while keys := conn.execute(text(_STUDIES), {"after": after}).scalars().all():
        _studies(conn, keys)
        after = keys[-1]


def _in(sql: str) -> Any:
    return text(sql).bindparams(bindparam("keys", expanding=True))


def _sets(conn: Connection, rows: Sequence[Any], after: int) -> None:
    columns = columns_of_sets(conn, [row.key for row in rows])
    names = ("patient_birth_time", "referring_physician_name", "series_description", "requests")
    changes = [{"key": key, **{name: getattr(of, name) for name in names}} for key, of in columns.items()]
    if changes:
        conn.execute(text(_SET), changes)
    edited = [
        _edited(row) for row in conn.execute(text(_EDITED), {"after": after, "upto": rows[-1].key}).all()
    ]
    if edited:
        conn.execute(text(_INSTANCE), edited)
    series = [
        _series(conn, row, columns[row.key].requests) for row in rows if row.found and row.key in columns
    ]
    if found := [row for row in series if row is not None]:
        conn.execute(text(_SERIES), found)


def columns_of_sets(conn: Connection, keys: Sequence[int]) -> dict[int, SearchColumns]:
    """What sets show, by key; those whose levels are lost are left out, as `lightwell data verify` tells."""
    levels: dict[int, dict[int, Any]] = defaultdict(dict)
    for row in conn.execute(_in(_LEVELS), {"keys": keys}):
        levels[row.image_set][row.level] = row
    bases = sorted({row.base for of in levels.values() for row in of.values()})
    bodies: dict[int, bytes] = {}
    for start in range(0, len(bases), _BATCH):
        found = conn.execute(_in(_BODIES), {"keys": bases[start : start + _BATCH]})
        bodies.update((key, body) for key, body in found)
    columns: dict[int, SearchColumns] = {}
    for key, of in levels.items():
        if len(of) == 3 and all(row.base in bodies for row in of.values()):
            shown = [
                apply_edits(json.loads(decompress(bodies[of[n].base])), unpack_plain(of[n].edits))
                for n in range(3)
            ]
            columns[key] = columns_of_levels(*shown)
    return columns


def _edited(row: Any) -> dict[str, Any]:
    edits = unpack_plain(row.edits)
    values = {"InstanceNumber": row.instance_number, "SOPClassUID": row.sop_class_uid}
    shown = apply_edits(values, {key: edit for key, edit in edits.items() if key in values})
    number, sop_class = integer(shown.get("InstanceNumber")), shown.get("SOPClassUID")
    return {
        "image_set": row.image_set,
        "number": _UNNUMBERED if number is None else number,
        "sop_instance_uid": row.sop_instance_uid,
        "listed_in": row.listed_in,
        "instance": row.instance,
        "record": row.record,
        "sop_class_uid": None if sop_class is None else str(sop_class).strip() or None,
    }


def _series(conn: Connection, row: Any, requests: str | None) -> dict[str, Any] | None:
    first = conn.execute(text(_FIRST), {"key": row.key}).first()
    if first is None:
        return None
    found = conn.execute(text(_FRAGMENT), {"key": row.key, "instance": first.instance}).one()
    if found.bytes is None:
        fragment = decompress(found.fragment_z)
    else:
        fragment = FragmentReader(found.bytes).decompress(found.fragment_z)
    shown: dict[str, object] = {}
    if any(f'"{keyword}"'.encode() in fragment for keyword in _KEYWORDS):
        shown = json.loads(b"{" + fragment + b"}")["DICOM"]
    shown = apply_edits(
        shown, {key: edit for key, edit in unpack_plain(found.edits).items() if key in _KEYWORDS}
    )
    date, time, offset = (
        None if value is None else str(value).strip() or None for value in map(shown.get, _KEYWORDS)
    )
    number = integer(row.series_number)
    return {
        "image_set": row.key,
        "listed_in": row.listed_in,
        "study": row.study,
        "series_instance_uid": row.series_instance_uid,
        "number": _UNNUMBERED if number is None else number,
        "modality": row.modality,
        "requests": requests,
        "first_record": first.record,
        "performed_date": date,
        "performed_time": time,
        "timezone_offset": offset,
        "performed_day": day(date),
        "performed_clock": clock(time),
    }


def _studies(conn: Connection, keys: Sequence[int]) -> None:
    sets: dict[int, list[Any]] = defaultdict(list)
    for row in conn.execute(_in(_OF_STUDIES), {"keys": keys}):
        sets[row.study].append(row)
    rows = [_study(key, of) for key, of in sets.items()]
    conn.execute(text(_STUDY), rows)
    conn.execute(text(_GRAMS[conn.dialect.name]), list(_grams(rows)))


def _study(key: int, sets: Sequence[Any]) -> dict[str, Any]:
    lead = sets[0]
    pairs = [pair for row in sets if row.requests for pair in json.loads(row.requests)]
    return {
        "key": key,
        **{name: getattr(lead, name) for name in _SHOWN},
        "listed_in": lead.listed_in,
        "lead": lead.key,
        "updated_at": max(row.updated_at for row in sets),
        "series_count": len(sets),
        "instance_count": sum(row.instance_count for row in sets),
        "patient_name_folded": lead.patient_name and fold_name(lead.patient_name),
        "referring_physician_name_folded": lead.referring_physician_name
        and fold_name(lead.referring_physician_name),
        "timezone_offset": lead.timezone_offset,
        "modalities": _array(row.modality for row in sets),
        "scheduled_step_ids": _array(step for step, _ in pairs),
        "requested_procedure_ids": _array(procedure for _, procedure in pairs),
        "study_day": day(lead.study_date),
        "study_clock": clock(lead.study_time),
        "birth_day": day(lead.patient_birth_date),
        "birth_clock": clock(lead.patient_birth_time),
    }


def _array(values: Iterable[str | None]) -> str | None:
    found = sorted({value for value in values if value is not None})
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) if found else None


def _grams(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        texts = {
            "PatientName": row["patient_name"],
            "ReferringPhysicianName": row["referring_physician_name"],
            "PatientID": row["patient_id"],
            "AccessionNumber": row["accession_number"],
            "StudyDescription": row["study_description"],
            "StudyID": row["study_id"],
            "ModalitiesInStudy": row["modalities"],
            "RequestAttributesSequence.ScheduledProcedureStepID": row["scheduled_step_ids"],
            "RequestAttributesSequence.RequestedProcedureID": row["requested_procedure_ids"],
        }
        found = grams(row["listed_in"], texts)
        if found:
            yield {"study": row["key"], "grams": found}
