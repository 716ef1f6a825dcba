"""What a version was reverted to or copied from, from now on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("version", sa.Column("reverted_to", sa.Integer))
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("version", sa.Column("copied_from", text))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
