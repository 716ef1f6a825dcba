"""Which sessions and import jobs were begun for an emergency, whatever becomes of the role.

The table of keys comes last, since every request waits for it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("import_job", sa.Column("emergency", sa.Boolean))
    op.add_column("access_key", sa.Column("emergency", sa.Boolean))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
