"""The search index of DICOMweb: what QIDO-RS matches and returns, of primary image sets only.

A study's row shows what its oldest primary set shows; counts, modalities and request ids are those of all
of them. ``listed_in`` is the data store's key while there is a primary set; otherwise it is NULL, as is
everything but the UID. ``…_day`` and ``…_clock`` are dates and times in a form that sorts, ``YYYYMMDD`` and
``HHMMSS.FFFFFF``, NULL for invalid ones. ``…_folded`` are person names in the form in which they are
compared. Columns with several values are JSON arrays, but for names as they are shown, which have backslashes
between them. ``overlong`` is a JSON array of the keywords of attributes whose value is too long for its
column, which is NULL. Indexes end with columns that let a search go on without opening the row.

``study_grams`` has the grams of each listed study's texts, and ``series_grams`` those of each primary series,
for wildcards, fuzzy names and missing values, see `domain.qido.grams`. They are FTS5 tables on SQLite and
tables with a ``tsvector`` on PostgreSQL, which needs no extension.
"""

from __future__ import annotations

from sqlalchemy import DDL, BigInteger, Column, Index, Integer, Table, UniqueConstraint, event, text

from lightwell.stores.db.columns import TEXT, key, metadata

UNNUMBERED = 2**31
"""Stands for a missing SeriesNumber or InstanceNumber, which sorts last."""

study = Table(
    "study",
    metadata,
    key(primary_key=True),
    key("datastore", nullable=False),
    Column("study_instance_uid", TEXT, nullable=False),
    key("listed_in"),
    key("lead"),  # the oldest primary set
    Column("updated_at", BigInteger),  # when a primary set of it last changed
    Column("series_count", Integer),
    Column("instance_count", Integer),
    Column("patient_id", TEXT),
    Column("patient_name", TEXT),
    Column("patient_name_folded", TEXT),
    Column("patient_birth_date", TEXT),
    Column("patient_birth_time", TEXT),
    Column("patient_sex", TEXT),
    Column("study_id", TEXT),
    Column("study_description", TEXT),
    Column("accession_number", TEXT),
    Column("study_date", TEXT),
    Column("study_time", TEXT),
    Column("referring_physician_name", TEXT),
    Column("referring_physician_name_folded", TEXT),
    Column("timezone_offset", TEXT),
    Column("modalities", TEXT),
    Column("scheduled_step_ids", TEXT),
    Column("requested_procedure_ids", TEXT),
    Column("study_day", TEXT),
    Column("study_clock", TEXT),
    Column("birth_day", TEXT),
    Column("birth_clock", TEXT),
    Column("issuer_of_patient_id", TEXT),
    Column("reading_physicians", TEXT),
    Column("reading_physicians_folded", TEXT),
    Column("overlong", TEXT),
    UniqueConstraint("datastore", "study_instance_uid", name="study_by_uid"),
    Index("study_by_update", "listed_in", "updated_at", "study_instance_uid", "study_day", "key"),
    Index("study_by_patient", "listed_in", "patient_id", "key"),
    Index("study_by_accession", "listed_in", "accession_number", "key"),
    Index("study_by_day", "listed_in", "study_day", "key"),
    # Orders of the console's list.
    Index("study_by_moment", "listed_in", "study_day", "study_clock", "key"),
    Index("study_by_name", "listed_in", "patient_name_folded", "key"),
    Index("study_by_clock", "listed_in", "study_clock", "key"),
    Index("study_by_birth_day", "listed_in", "birth_day", "key"),
    Index(
        "study_by_birth_clock",
        "listed_in",
        "birth_clock",
        "key",
        sqlite_where=text("birth_clock IS NOT NULL"),
        postgresql_where=text("birth_clock IS NOT NULL"),
    ),
)

GRAMS = {
    "sqlite": (
        "CREATE VIRTUAL TABLE {0}_grams USING fts5(grams, content='', columnsize=0, tokenize='ascii')",
    ),
    "postgresql": (
        "CREATE TABLE {0}_grams ({0} BIGINT NOT NULL PRIMARY KEY, grams TSVECTOR NOT NULL)",
        "CREATE INDEX {0}_by_gram ON {0}_grams USING gin (grams)",
    ),
}
"""How ``study_grams`` and ``series_grams`` are made; their key is that of the study, or of the image set. On
SQLite it is the rowid."""

primary_series = Table(
    "primary_series",
    metadata,
    key("image_set", primary_key=True),
    key("listed_in", nullable=False),
    key("study", nullable=False),
    Column("series_instance_uid", TEXT, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("modality", TEXT),
    Column("requests", TEXT),  # as those of image_set
    # Of its first instance, by InstanceNumber: these stand in no level block.
    key("first_record"),
    Column("performed_date", TEXT),
    Column("performed_time", TEXT),
    Column("timezone_offset", TEXT),
    Column("performed_day", TEXT),
    Column("performed_clock", TEXT),
    Column("series_description", TEXT),
    Column("body_part_examined", TEXT),
    Column("manufacturer", TEXT),
    Column("institution_name", TEXT),
    Column("station_name", TEXT),
    Column("manufacturer_model_name", TEXT),
    Column("protocol_name", TEXT),
    Column("laterality", TEXT),
    Column("performing_physicians", TEXT),
    Column("performing_physicians_folded", TEXT),
    Column("operators", TEXT),
    Column("operators_folded", TEXT),
    Column("series_date", TEXT),
    Column("series_time", TEXT),
    Column("series_day", TEXT),
    Column("series_clock", TEXT),
    Column("overlong", TEXT),
    Index("series_by_study", "study", "number", "series_instance_uid"),
    Index("series_by_number", "listed_in", "number", "series_instance_uid", "image_set"),
    Index("series_by_uid", "listed_in", "series_instance_uid", "image_set"),
    Index("series_by_modality", "listed_in", "modality", "image_set"),
    Index("series_by_performed_day", "listed_in", "performed_day", "image_set"),
    Index("series_by_performed_clock", "listed_in", "performed_clock", "image_set"),
    Index("series_by_day", "listed_in", "series_day", "image_set"),
    Index("series_by_clock", "listed_in", "series_clock", "image_set"),
)

for _table, _name in ((study, "study"), (primary_series, "series")):
    for _dialect, _statements in GRAMS.items():
        for _statement in _statements:
            event.listen(
                _table,
                "after_create",
                DDL(_statement.format(_name)).execute_if(dialect=_dialect),  # type: ignore[no-untyped-call]
            )

# One B-tree on SQLite, in the order in which a series is answered.
primary_instance = Table(
    "primary_instance",
    metadata,
    key("image_set", primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("sop_instance_uid", TEXT, primary_key=True),
    key("listed_in", nullable=False),
    key("instance", nullable=False),
    key("record", nullable=False),
    Column("sop_class_uid", TEXT),
    Column("warnings", TEXT),  # as those of record
    Index("instance_by_number", "listed_in", "number", "sop_instance_uid", "image_set"),
    Index("primary_instance_by_uid", "listed_in", "sop_instance_uid", "image_set", "number"),
    Index("instance_by_class", "listed_in", "sop_class_uid", "image_set", "number", "sop_instance_uid"),
    Index(
        "instance_by_warnings",
        "listed_in",
        "warnings",
        "image_set",
        "number",
        "sop_instance_uid",
        sqlite_where=text("warnings IS NOT NULL"),
        postgresql_where=text("warnings IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)
