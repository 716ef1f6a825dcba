"""Fills what revision 0007 adds to the search index from what is kept of each image set.

Its own SQL, since the tables of the code may be newer when this runs; a batch of sets or studies at a time,
so that memory does not grow with the archive.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, bindparam, text

from lightwell.domain.qido.grams import grams
from lightwell.domain.qido.index_columns import series_columns, study_columns
from lightwell.stores.db.migrations.fill_0004 import columns_of_sets

_BATCH = 500
_UNNUMBERED = 2**31

_SETS = f"""
SELECT s.key FROM image_set s
WHERE s.state = 'ACTIVE' AND s.readable_version > 0 AND s.key > :after ORDER BY s.key LIMIT {_BATCH}
"""
_SET = "UPDATE image_set SET further = :further WHERE key = :key"
_SERIES = """
SELECT p.image_set, p.listed_in, p.number, p.modality, p.performed_date, p.performed_time,
    s.series_description, s.body_part_examined
FROM primary_series p JOIN image_set s ON s.key = p.image_set WHERE p.image_set IN :keys
"""
_SERIES_COLUMNS = (
    *("series_description", "body_part_examined", "manufacturer", "institution_name", "station_name"),
    *("manufacturer_model_name", "protocol_name", "laterality", "performing_physicians"),
    *("performing_physicians_folded", "operators", "operators_folded", "series_date", "series_time"),
    *("series_day", "series_clock", "overlong"),
)
_SERIES_UPDATE = (
    f"UPDATE primary_series SET {', '.join(f'{name} = :{name}' for name in _SERIES_COLUMNS)}"
    " WHERE image_set = :image_set"
)
_STUDIES = f"""
SELECT t.*, s.further FROM study t JOIN image_set s ON s.key = t.lead
WHERE t.listed_in IS NOT NULL AND t.key > :after ORDER BY t.key LIMIT {_BATCH}
"""
_STUDY_COLUMNS = ("issuer_of_patient_id", "reading_physicians", "reading_physicians_folded", "overlong")
_STUDY_UPDATE = (
    f"UPDATE study SET {', '.join(f'{name} = :{name}' for name in _STUDY_COLUMNS)} WHERE key = :key"
)
_EMPTY_GRAMS = {
    "sqlite": "INSERT INTO study_grams (study_grams) VALUES ('delete-all')",
    "postgresql": "DELETE FROM study_grams",
}
_GRAMS = {
    "sqlite": "INSERT INTO {0}_grams (rowid, grams) VALUES (:key, :grams)",
    "postgresql": "INSERT INTO {0}_grams ({0}, grams)"
    " VALUES (:key, array_to_tsvector(string_to_array(:grams, ' ')))",
}
_STUDY_TEXTS = {
    "PatientName": "patient_name",
    "ReferringPhysicianName": "referring_physician_name",
    "PatientID": "patient_id",
    "AccessionNumber": "accession_number",
    "StudyDescription": "study_description",
    "StudyID": "study_id",
    "ModalitiesInStudy": "modalities",
    "RequestAttributesSequence.ScheduledProcedureStepID": "scheduled_step_ids",
    "RequestAttributesSequence.RequestedProcedureID": "requested_procedure_ids",
    "NameOfPhysiciansReadingStudy": "reading_physicians",
    "IssuerOfPatientID": "issuer_of_patient_id",
    "PatientSex": "patient_sex",
    "StudyDate": "study_date",
    "StudyTime": "study_time",
    "PatientBirthDate": "patient_birth_date",
    "PatientBirthTime": "patient_birth_time",
}
_SERIES_TEXTS = {
    "Modality": "modality",
    "Manufacturer": "manufacturer",
    "InstitutionName": "institution_name",
    "StationName": "station_name",
    "SeriesDescription": "series_description",
    "PerformingPhysicianName": "performing_physicians",
    "OperatorsName": "operators",
    "ManufacturerModelName": "manufacturer_model_name",
    "BodyPartExamined": "body_part_examined",
    "ProtocolName": "protocol_name",
    "Laterality": "laterality",
    "SeriesDate": "series_date",
    "SeriesTime": "series_time",
    "PerformedProcedureStepStartDate": "performed_date",
    "PerformedProcedureStepStartTime": "performed_time",
}


def fill(conn: Connection) -> None:
    """Everything, in the migration's transaction."""
    after = -1
    while keys := conn.execute(text(_SETS), {"after": after}).scalars().all():
        _sets(conn, keys)
        after = keys[-1]
    conn.execute(text(_EMPTY_GRAMS[conn.dialect.name]))
    after = -1
    while rows := conn.execute(text(_STUDIES), {"after": after}).mappings().all():
        _studies(conn, rows)
        after = rows[-1]["key"]


def _sets(conn: Connection, keys: Sequence[int]) -> None:
    further = {key: columns.further for key, columns in columns_of_sets(conn, keys).items()}
    if changes := [{"key": key, "further": value} for key, value in further.items() if value is not None]:
        conn.execute(text(_SET), changes)
    query = text(_SERIES).bindparams(bindparam("keys", expanding=True))
    series = []
    for row in conn.execute(query, {"keys": keys}).mappings():
        series.append({**row, **series_columns(further.get(row["image_set"]))})
    if not series:
        return
    names = ("image_set", *_SERIES_COLUMNS)
    conn.execute(text(_SERIES_UPDATE), [{name: row[name] for name in names} for row in series])
    found = []
    for one in series:
        texts = {keyword: one[name] for keyword, name in _SERIES_TEXTS.items()}
        texts["SeriesNumber"] = None if one["number"] == _UNNUMBERED else str(one["number"])
        found.append({"key": one["image_set"], "grams": grams(one["listed_in"], texts)})
    conn.execute(text(_GRAMS[conn.dialect.name].format("series")), found)


def _studies(conn: Connection, rows: Sequence[RowMapping]) -> None:
    studies = [{**row, **study_columns(row["further"])} for row in rows]
    names = ("key", *_STUDY_COLUMNS)
    conn.execute(text(_STUDY_UPDATE), [{name: row[name] for name in names} for row in studies])
    found = []
    for one in studies:
        texts = {keyword: one[name] for keyword, name in _STUDY_TEXTS.items()}
        found.append({"key": one["key"], "grams": grams(one["listed_in"], texts)})
    conn.execute(text(_GRAMS[conn.dialect.name].format("study")), found)
