"""Rows of ``study_grams``: the grams of a study's texts, see `domain.qido.grams`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from lightwell.domain.qido import grams
from lightwell.domain.qido.grams import ATTRIBUTE_LETTERS

COLUMNS = {
    "PatientName": "patient_name",
    "ReferringPhysicianName": "referring_physician_name",
    "PatientID": "patient_id",
    "AccessionNumber": "accession_number",
    "StudyDescription": "study_description",
    "StudyID": "study_id",
    "ModalitiesInStudy": "modalities",
    "RequestAttributesSequence.ScheduledProcedureStepID": "scheduled_step_ids",
    "RequestAttributesSequence.RequestedProcedureID": "requested_procedure_ids",
}
"""The columns of ``study`` that have grams, by keyword."""
assert COLUMNS.keys() == ATTRIBUTE_LETTERS.keys()

# FTS5 removes deleted text from its pages since 3.42, and in our tests without faults since this version;
# before, it only marks the text as deleted.
_REMOVES = sqlite3.sqlite_version_info >= (3, 46)

_SQLITE_DELETE = "INSERT INTO study_grams (study_grams, rowid, grams) VALUES ('delete', ?, ?)"
_SQLITE_INSERT = "INSERT INTO study_grams (rowid, grams) VALUES (?, ?)"
_SQLITE_REMOVES = "SELECT 1 FROM study_grams_config WHERE k = 'secure-delete' AND v = 1"
_SQLITE_REMOVE = "INSERT INTO study_grams (study_grams, rank) VALUES ('secure-delete', 1)"
_SQLITE_OPTIMIZE = "INSERT INTO study_grams (study_grams) VALUES ('optimize')"
_POSTGRESQL_DELETE = "DELETE FROM study_grams WHERE study = %s"
_POSTGRESQL_INSERT = (
    "INSERT INTO study_grams (study, grams) VALUES (%s, array_to_tsvector(string_to_array(%s, ' ')))"
    " ON CONFLICT (study) DO UPDATE SET grams = excluded.grams"
)


def replace(conn: Connection, study: int, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Replace the grams of a study after its row changed; only listed studies have grams."""
    old, new = grams_of(before), grams_of(after)
    if old == new:
        return
    if conn.dialect.name == "sqlite":
        if old:
            if _REMOVES and not conn.exec_driver_sql(_SQLITE_REMOVES).first():
                conn.exec_driver_sql(_SQLITE_REMOVE)
            # FTS5 has to be told the text that it is to delete.
            conn.exec_driver_sql(_SQLITE_DELETE, (study, old))
        if new:
            conn.exec_driver_sql(_SQLITE_INSERT, (study, new))
    elif new:
        conn.exec_driver_sql(_POSTGRESQL_INSERT, (study, new))
    else:
        conn.exec_driver_sql(_POSTGRESQL_DELETE, (study,))


def forget(conn: Connection) -> None:
    """Purge deleted text from the pages of the index."""
    if conn.dialect.name == "sqlite" and not _REMOVES:
        conn.exec_driver_sql(_SQLITE_OPTIMIZE)


def grams_of(row: Mapping[str, Any]) -> str:
    """The grams of a row of ``study``, separated by spaces; none for a study that is not listed."""
    if row["listed_in"] is None:
        return ""
    return grams.grams(row["listed_in"], {keyword: row[name] for keyword, name in COLUMNS.items()})
