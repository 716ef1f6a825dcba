"""Orders of the list of studies: by when a study was made, and by the patient's name.

Made in the migration, since there is one row for each study only: a few seconds for a million.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_index("study_by_moment", "study", ["listed_in", "study_day", "study_clock", "key"])
    op.create_index("study_by_name", "study", ["listed_in", "patient_name_folded", "key"])


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
