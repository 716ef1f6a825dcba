"""When keys were last used, disabled, changed and replaced; the longest session of a role, and its emergency.

The table of keys comes last, since every request waits for it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lightwell.stores.db.columns import TEXT

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("role", sa.Column("max_session_seconds", sa.Integer))
    op.add_column("role", sa.Column("emergency", sa.Boolean))
    for name, kind in (
        ("last_used_at", sa.BigInteger()),
        ("last_used_from", TEXT),
        ("disabled_at", sa.BigInteger()),
        ("updated_at", sa.BigInteger()),
        ("replaced_by", TEXT),
    ):
        op.add_column("access_key", sa.Column(name, kind))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
