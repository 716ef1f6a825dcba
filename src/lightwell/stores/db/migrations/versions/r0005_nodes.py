"""Whose folders an import job reads and writes, and which servers there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("import_job", sa.Column("input_node", text))
    op.add_column("import_job", sa.Column("output_node", text))
    op.create_table(
        "server",
        sa.Column("node", text, primary_key=True, nullable=False),
        sa.Column("place", text, nullable=False),
        sa.Column("run", text),
        sa.Column("root", text),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
