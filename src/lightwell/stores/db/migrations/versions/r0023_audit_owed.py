"""Records that the audit trail owes, written by the transaction that did what they tell."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lightwell.stores.db.columns import TEXT

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "audit_owed",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("node", TEXT, nullable=False),
        sa.Column("writer", TEXT, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("records", TEXT, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
