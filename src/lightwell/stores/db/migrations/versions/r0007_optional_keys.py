"""The optional match keys of DICOMweb searches, and the grams of series."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lightwell.stores.db.migrations import fill_0007

revision = "0007"
down_revision = "0006"

_STUDY = ("issuer_of_patient_id", "reading_physicians", "reading_physicians_folded", "overlong")
_SERIES = (
    *("series_description", "body_part_examined", "manufacturer", "institution_name", "station_name"),
    *("manufacturer_model_name", "protocol_name", "laterality", "performing_physicians"),
    *("performing_physicians_folded", "operators", "operators_folded", "series_date", "series_time"),
    *("series_day", "series_clock", "overlong"),
)
_GRAMS = {
    "sqlite": (
        "CREATE VIRTUAL TABLE series_grams USING fts5(grams, content='', columnsize=0, tokenize='ascii')",
    ),
    "postgresql": (
        "CREATE TABLE series_grams (series BIGINT NOT NULL PRIMARY KEY, grams TSVECTOR NOT NULL)",
        "CREATE INDEX series_by_gram ON series_grams USING gin (grams)",
    ),
}


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("image_set", sa.Column("further", text))
    for table, names in (("study", _STUDY), ("primary_series", _SERIES)):
        for name in names:
            op.add_column(table, sa.Column(name, text))
    for statement in _GRAMS[op.get_bind().dialect.name]:
        op.execute(statement)
    fill_0007.fill(op.get_bind())
    op.create_index("series_by_day", "primary_series", ["listed_in", "series_day", "image_set"])
    op.create_index("series_by_clock", "primary_series", ["listed_in", "series_clock", "image_set"])


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
