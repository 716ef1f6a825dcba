"""How often PostgreSQL vacuums and analyzes the tables that get large, and those that change all the time.

Its defaults wait until a fifth of a table is dead: two hundred million rows of a large archive, and the
statistics of a table that grows are as far behind. These settings need no rewrite and block nobody.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

_LARGE = (
    *(
        "image_set",
        "version",
        "level",
        "level_value",
        "instance",
        "pixels",
        "frame_table",
        "record",
        "member",
    ),
    *("member", "pack", "study", "primary_series", "primary_instance", "study_grams", "series_grams"),
    "outcome",
)
_CHANGING = ("import_job", "chunk", "staged", "leftover", "outbox", "token", "server", "access_key")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for table in _LARGE:
        op.execute(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02)"
        )
    for table in _CHANGING:
        op.execute(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0,"
            " autovacuum_vacuum_threshold = 2000,"
            " autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000)"
        )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
