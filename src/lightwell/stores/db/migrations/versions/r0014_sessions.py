"""Sessions of keys, which end with them, and who signed in at an OpenID provider."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("access_key", sa.Column("parent", sa.Text))
    op.add_column("access_key", sa.Column("provider", sa.Text))
    op.add_column("access_key", sa.Column("subject", sa.Text))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
