"""Sessions of keys, which end with them, and who signed in at an OpenID provider."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    for name in ("parent", "provider", "subject"):
        op.add_column("access_key", sa.Column(name, text))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
