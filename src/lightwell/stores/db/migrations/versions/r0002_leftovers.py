"""What the collector has to look at; and three indexes less, which its scans do without."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Kinds of `stores.background.gc_candidates`, as they are in this revision.
_RECORD, _PACK = 2, 8


def upgrade() -> None:
    op.create_table(
        "leftover",
        sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("mark", sa.BigInteger, nullable=False),
    )
    op.execute(
        f"INSERT INTO leftover (kind, key, mark) SELECT {_RECORD}, r.key, 0 FROM record r"
        " WHERE NOT EXISTS (SELECT 1 FROM member m WHERE m.record = r.key)"
        " AND NOT EXISTS (SELECT 1 FROM staged s WHERE s.record = r.key)"
    )
    op.execute(
        f"INSERT INTO leftover (kind, key, mark) SELECT {_PACK}, p.key, 0 FROM pack p"
        " WHERE p.state = 'live' AND NOT EXISTS (SELECT 1 FROM record r WHERE r.pack = p.key)"
        " AND NOT EXISTS (SELECT 1 FROM pixels x WHERE x.pack = p.key)"
    )
    op.drop_index("member_by_record", "member")
    op.drop_index("staged_by_record", "staged")
    op.drop_index("record_by_pixels", "record")


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
