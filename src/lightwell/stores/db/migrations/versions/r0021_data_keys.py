"""What packs are encrypted with: the keys of data stores, and of each pack which one and where its parts are.

Older servers cannot read a pack that is sealed. On PostgreSQL none is written before a key file is named.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lightwell.stores.db.columns import TEXT

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "data_key",
        sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("datastore", sa.BigInteger, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("keeper", TEXT, nullable=False),
        sa.Column("wrapped", sa.LargeBinary),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("destroyed_at", sa.BigInteger),
        sa.UniqueConstraint("datastore", "number", name="data_key_by_number"),
    )
    op.add_column("pack", sa.Column("data_key", sa.BigInteger))
    op.add_column("pack", sa.Column("seal", sa.LargeBinary))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
