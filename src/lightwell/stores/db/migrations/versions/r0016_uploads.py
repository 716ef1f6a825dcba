"""Files that a browser sends for an import job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lightwell.stores.db.columns import TEXT

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "upload",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("datastore", sa.BigInteger, nullable=False),
        sa.Column("caller", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("node", TEXT),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("is_removed", sa.Boolean, nullable=False),
        sa.Column("cleared_job", sa.BigInteger),
    )
    op.create_index("upload_by_caller", "upload", ["datastore", "caller", "created_at", "id"])
    op.create_table(
        "uploaded_file",
        sa.Column("upload", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("arrived_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
