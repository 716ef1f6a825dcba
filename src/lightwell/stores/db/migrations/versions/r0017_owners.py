"""Whose sessions, jobs and uploads are; the bucket of an upload and how much of it is there.

The indexes are made in the migration, since keys and sessions are few. The table of keys comes last, since
every request waits for it; that of uploads first, as whoever begins an import job takes them in that order.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lightwell.stores.db.columns import TEXT

revision = "0017"
down_revision = "0016"

_ARRIVED = (
    "UPDATE upload SET (claimed_files, claimed_size, arrived_files, arrived_size, last_at) = ("
    "SELECT count(*), coalesce(sum(size), 0), count(*), coalesce(sum(size), 0), max(arrived_at) "
    "FROM uploaded_file WHERE uploaded_file.upload = upload.id)"
)


def upgrade() -> None:
    op.add_column("upload", sa.Column("bucket", TEXT))
    for name, kind in (("files", sa.Integer), ("size", sa.BigInteger)):
        for which in ("claimed", "arrived"):
            op.add_column(
                "upload", sa.Column(f"{which}_{name}", kind, nullable=False, server_default=sa.text("0"))
            )
    op.add_column("upload", sa.Column("last_at", sa.BigInteger))
    op.execute(_ARRIVED)
    op.add_column("import_job", sa.Column("owner", TEXT))
    op.add_column("access_key", sa.Column("taken_by", TEXT))
    op.create_index("session_by_end", "access_key", ["expires_at"])
    op.create_index("session_by_parent", "access_key", ["parent", "expires_at"])
    op.create_index("session_by_person", "access_key", ["provider", "subject", "expires_at"])


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
