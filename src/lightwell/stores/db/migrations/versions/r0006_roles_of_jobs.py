"""Which import jobs have no more rights than the role that they name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("import_job", sa.Column("assumes_role", sa.Boolean))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
