"""Runs of `data verify`, which go on where they were interrupted, and what is damaged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lightwell.stores.db.columns import TEXT

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "integrity_run",
        sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("mode", TEXT, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("progress", TEXT, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
    )
    op.create_table(
        "integrity_fault",
        sa.Column("place", TEXT, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("datastore", sa.BigInteger),
        sa.Column("pack", sa.BigInteger),
        sa.Column("record", sa.BigInteger),
        sa.Column("image_set", sa.BigInteger),
        sa.Column("run", sa.BigInteger),
        sa.Column("found_at", sa.BigInteger, nullable=False),
    )
    op.create_index("integrity_fault_by_run", "integrity_fault", ["run", "place"])


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
