"""The search index of DICOMweb, filled from the image sets that are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

from lightwell.stores.db.migrations import fill_0004

revision = "0004"
down_revision = "0003"

_GRAMS = {
    "sqlite": (
        "CREATE VIRTUAL TABLE study_grams USING fts5(grams, content='', columnsize=0, tokenize='ascii')",
    ),
    "postgresql": (
        "CREATE TABLE study_grams (study BIGINT NOT NULL PRIMARY KEY, grams TSVECTOR NOT NULL)",
        "CREATE INDEX study_by_gram ON study_grams USING gin (grams)",
    ),
}


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    for name in ("patient_birth_time", "referring_physician_name", "series_description", "requests"):
        op.add_column("image_set", sa.Column(name, text))
    op.add_column("record", sa.Column("warnings", text))
    _study(text)
    for statement in _GRAMS[op.get_bind().dialect.name]:
        op.execute(statement)
    _series(text)
    _instances(text)
    fill_0004.fill(op.get_bind())


def _study(text: sa.types.TypeEngine[str]) -> None:
    op.add_column("study", sa.Column("listed_in", sa.BigInteger))
    op.add_column("study", sa.Column("lead", sa.BigInteger))
    op.add_column("study", sa.Column("updated_at", sa.BigInteger))
    op.add_column("study", sa.Column("series_count", sa.Integer))
    op.add_column("study", sa.Column("instance_count", sa.Integer))
    for name in (
        *("patient_id", "patient_name", "patient_name_folded", "patient_birth_date", "patient_birth_time"),
        *("patient_sex", "study_id", "study_description", "accession_number", "study_date", "study_time"),
        *("referring_physician_name", "referring_physician_name_folded", "timezone_offset", "modalities"),
        *("scheduled_step_ids", "requested_procedure_ids"),
        *("study_day", "study_clock", "birth_day", "birth_clock"),
    ):
        op.add_column("study", sa.Column(name, text))
    for name, columns in (
        ("study_by_update", ["updated_at", "study_instance_uid", "study_day", "key"]),
        ("study_by_patient", ["patient_id", "key"]),
        ("study_by_accession", ["accession_number", "key"]),
        ("study_by_day", ["study_day", "key"]),
        ("study_by_clock", ["study_clock", "key"]),
        ("study_by_birth_day", ["birth_day", "key"]),
    ):
        op.create_index(name, "study", ["listed_in", *columns])
    some = sa.text("birth_clock IS NOT NULL")
    op.create_index(
        "study_by_birth_clock",
        "study",
        ["listed_in", "birth_clock", "key"],
        sqlite_where=some,
        postgresql_where=some,
    )


def _key(name: str, **more: bool) -> Column[int]:
    return sa.Column(name, sa.BigInteger, autoincrement=False, **more)  # type: ignore[arg-type]


def _series(text: sa.types.TypeEngine[str]) -> None:
    op.create_table(
        "primary_series",
        _key("image_set", primary_key=True, nullable=False),
        _key("listed_in", nullable=False),
        _key("study", nullable=False),
        sa.Column("series_instance_uid", text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("modality", text),
        sa.Column("requests", text),
        _key("first_record"),
        sa.Column("performed_date", text),
        sa.Column("performed_time", text),
        sa.Column("timezone_offset", text),
        sa.Column("performed_day", text),
        sa.Column("performed_clock", text),
    )
    op.create_index("series_by_study", "primary_series", ["study", "number", "series_instance_uid"])
    for name, columns in (
        ("series_by_number", ["number", "series_instance_uid"]),
        ("series_by_uid", ["series_instance_uid"]),
        ("series_by_modality", ["modality"]),
        ("series_by_performed_day", ["performed_day"]),
        ("series_by_performed_clock", ["performed_clock"]),
    ):
        op.create_index(name, "primary_series", ["listed_in", *columns, "image_set"])


def _instances(text: sa.types.TypeEngine[str]) -> None:
    op.create_table(
        "primary_instance",
        _key("image_set", primary_key=True, nullable=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("sop_instance_uid", text, primary_key=True, nullable=False),
        _key("listed_in", nullable=False),
        _key("instance", nullable=False),
        _key("record", nullable=False),
        sa.Column("sop_class_uid", text),
        sa.Column("warnings", text),
        sqlite_with_rowid=False,
    )
    for name, columns in (
        ("instance_by_number", ["number", "sop_instance_uid", "image_set"]),
        ("primary_instance_by_uid", ["sop_instance_uid", "image_set", "number"]),
        ("instance_by_class", ["sop_class_uid", "image_set", "number", "sop_instance_uid"]),
    ):
        op.create_index(name, "primary_instance", ["listed_in", *columns])
    some = sa.text("warnings IS NOT NULL")
    op.create_index(
        "instance_by_warnings",
        "primary_instance",
        ["listed_in", "warnings", "image_set", "number", "sop_instance_uid"],
        sqlite_where=some,
        postgresql_where=some,
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
