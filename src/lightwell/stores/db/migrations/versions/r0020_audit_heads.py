"""How far each chain of the audit trail has come, noted where the trail itself is not."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lightwell.stores.db.columns import TEXT

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "audit_head",
        sa.Column("node", TEXT, primary_key=True),
        sa.Column("writer", TEXT, primary_key=True),
        sa.Column("key_id", TEXT, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("mac", TEXT, nullable=False),
        sa.Column("noted_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
