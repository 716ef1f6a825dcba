"""Rows of ``study_grams`` and ``series_grams``: the grams of texts, see `domain.qido.grams`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import Connection

from lightwell.domain.qido import grams
from lightwell.domain.qido.grams import SERIES_LETTERS, STUDY_LETTERS
from lightwell.stores.db.qido_tables import UNNUMBERED

Of = Literal["study", "series"]

STUDY_COLUMNS = {
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
"""The columns of ``study`` that have grams, by keyword."""
SERIES_COLUMNS = {
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
"""Those of ``primary_series``, without SeriesNumber."""
assert STUDY_COLUMNS.keys() == STUDY_LETTERS.keys()
assert {*SERIES_COLUMNS, "SeriesNumber"} == SERIES_LETTERS.keys()

_READ = {
    "study": ("listed_in", *STUDY_COLUMNS.values()),
    "series": ("listed_in", "number", *SERIES_COLUMNS.values()),
}

# FTS5 removes deleted text from its pages since 3.42, and in our tests without faults since this version;
# before, it only marks the text as deleted.
_REMOVES = sqlite3.sqlite_version_info >= (3, 46)

_TABLES: tuple[Of, ...] = ("study", "series")
_SQLITE_DELETE = {
    of: f"INSERT INTO {of}_grams ({of}_grams, rowid, grams) VALUES ('delete', ?, ?)" for of in _TABLES
}
_SQLITE_INSERT = {of: f"INSERT INTO {of}_grams (rowid, grams) VALUES (?, ?)" for of in _TABLES}
_SQLITE_REMOVES = {
    of: f"SELECT 1 FROM {of}_grams_config WHERE k = 'secure-delete' AND v = 1" for of in _TABLES
}
_SQLITE_REMOVE = {
    of: f"INSERT INTO {of}_grams ({of}_grams, rank) VALUES ('secure-delete', 1)" for of in _TABLES
}
_SQLITE_OPTIMIZE = [f"INSERT INTO {of}_grams ({of}_grams) VALUES ('optimize')" for of in _TABLES]
_POSTGRESQL_DELETE = {of: f"DELETE FROM {of}_grams WHERE {of} = %s" for of in _TABLES}
_POSTGRESQL_INSERT = {
    of: f"INSERT INTO {of}_grams ({of}, grams) VALUES (%s, array_to_tsvector(string_to_array(%s, ' ')))"
    f" ON CONFLICT ({of}) DO UPDATE SET grams = excluded.grams"
    for of in _TABLES
}


def replace(
    conn: Connection, of: Of, key: int, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> None:
    """Replace the grams of a study or a series after its row changed; None if there is no row.

    Only listed studies have grams.
    """
    if before is not None and after is not None and all(before[name] == after[name] for name in _READ[of]):
        return
    old, new = grams_of(of, before), grams_of(of, after)
    if old == new:
        return
    if conn.dialect.name == "sqlite" and old:
        if _REMOVES and not conn.exec_driver_sql(_SQLITE_REMOVES[of]).first():
            conn.exec_driver_sql(_SQLITE_REMOVE[of])
        # FTS5 has to be told the text that it is to delete.
        conn.exec_driver_sql(_SQLITE_DELETE[of], (key, old))
    put(conn, of, key, new)


def put(conn: Connection, of: Of, key: int, new: str) -> None:
    """Give a study or a series grams: on SQLite beside those that it has, else in place of them."""
    if conn.dialect.name == "sqlite":
        if new:
            conn.exec_driver_sql(_SQLITE_INSERT[of], (key, new))
    elif new:
        conn.exec_driver_sql(_POSTGRESQL_INSERT[of], (key, new))
    else:
        conn.exec_driver_sql(_POSTGRESQL_DELETE[of], (key,))


def forget(conn: Connection) -> None:
    """Purge deleted text from the pages of the index."""
    if conn.dialect.name == "sqlite" and not _REMOVES:
        for statement in _SQLITE_OPTIMIZE:
            conn.exec_driver_sql(statement)


def grams_of(of: Of, row: Mapping[str, Any] | None) -> str:
    """The grams of a row, separated by spaces; none for a study that is not listed."""
    if row is None or row["listed_in"] is None:
        return ""
    if of == "study":
        return grams.grams(row["listed_in"], {keyword: row[name] for keyword, name in STUDY_COLUMNS.items()})
    texts = {keyword: row[name] for keyword, name in SERIES_COLUMNS.items()}
    texts["SeriesNumber"] = None if row["number"] == UNNUMBERED else str(row["number"])
    return grams.grams(row["listed_in"], texts)
