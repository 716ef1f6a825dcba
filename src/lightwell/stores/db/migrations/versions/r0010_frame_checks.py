"""CRC-32 of the stored bytes of frames. Those that are there already get theirs while the server runs.

So does the index by which they are found, where there are any: see `stores.db.online_indexes`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("frame_table", sa.Column("checks", sa.LargeBinary))
    conn = op.get_bind()
    if (
        conn.dialect.name == "postgresql"
        and conn.execute(sa.text("SELECT 1 FROM frame_table LIMIT 1")).first()
    ):
        return
    where = sa.text("checks IS NULL")
    op.create_index(
        "frame_table_unchecked",
        "frame_table",
        ["pixels", "first_frame"],
        sqlite_where=where,
        postgresql_where=where,
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
