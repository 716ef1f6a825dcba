"""Units of work in rows of their own, instead of claims on jobs and chunks.

Jobs that are under way go on. Whoever works on one while the database is migrated loses its claim, as if it
had died. What waited to be committed is cut into units by the engine that finds the job without any.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_NOW = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "unit",
        sa.Column("job", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("phase", text, primary_key=True, nullable=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("state", text, nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("claim", text),
        sa.Column("claimed_at", sa.BigInteger),
        sa.Column("claimed_until", sa.BigInteger),
        sa.Column("content", sa.LargeBinary),
        sa.Column("note", text),
    )
    for name, columns, state in (
        ("unit_ready", ["job", "phase", "number"], "ready"),
        ("unit_claimed", ["job", "phase"], "claimed"),
        ("unit_dead", ["job"], "dead"),
    ):
        where = sa.text(f"state = '{state}'")
        op.create_index(name, "unit", columns, sqlite_where=where, postgresql_where=where)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "ALTER TABLE unit SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0,"
            " autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0,"
            " autovacuum_analyze_threshold = 5000)"
        )
    op.add_column(
        "import_job", sa.Column("priority", sa.SmallInteger, nullable=False, server_default=sa.text("0"))
    )
    now = _NOW[op.get_bind().dialect.name]
    insert = "INSERT INTO unit (job, phase, number, state, files, since, not_before, tries) "
    op.execute(
        f"{insert} SELECT key, phase, 0, 'ready', 0, {now}, 0, 0 FROM import_job"
        " WHERE phase IN ('list', 'report')"
    )
    # Files of chunks that are done are counted in import_job.read already.
    op.execute(
        f"{insert} SELECT c.job, 'read', c.number, CASE WHEN c.state = 'done' THEN 'done' ELSE 'ready' END,"
        f" CASE WHEN c.state = 'done' THEN 0 ELSE c.file_count END, {now}, 0, 0"
        " FROM chunk c JOIN import_job j ON j.key = c.job WHERE j.phase = 'read'"
    )
    op.execute("UPDATE import_job SET phase = 'read' WHERE phase = 'commit'")
    op.drop_index("chunk_by_state", "chunk")
    for column in ("state", "claim", "claimed_until"):
        op.drop_column("chunk", column)
    for column in ("claim", "claimed_until"):
        op.drop_column("import_job", column)


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
