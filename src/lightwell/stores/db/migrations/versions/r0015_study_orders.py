"""Orders of the list of studies: by when a study was made, and by the patient's name.

Where there are studies already, PostgreSQL makes them afterwards: see `stores.db.online_indexes`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    conn = op.get_bind()
    if conn.dialect.name == "postgresql" and conn.execute(sa.text("SELECT 1 FROM study LIMIT 1")).first():
        return
    op.create_index("study_by_moment", "study", ["listed_in", "study_day", "study_clock", "key"])
    op.create_index("study_by_name", "study", ["listed_in", "patient_name_folded", "key"])


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
