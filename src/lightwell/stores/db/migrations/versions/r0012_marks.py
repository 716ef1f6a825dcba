"""A random number in each version from now on. Older versions are told apart by when they were made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("version", sa.Column("mark", sa.BigInteger))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
