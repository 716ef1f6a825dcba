"""DICOM JSON beside the native document, policies of access keys, roles and authorizers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("record", sa.Column("dicom_z", sa.LargeBinary))
    op.add_column("record", sa.Column("dicom_dictionary", sa.BigInteger))
    op.add_column("access_key", sa.Column("policies", text))
    op.add_column("access_key", sa.Column("role", text))
    op.add_column("access_key", sa.Column("session_name", text))
    op.create_table(
        "role",
        sa.Column("name", text, primary_key=True, nullable=False),
        sa.Column("trust_policy", text, nullable=False),
        sa.Column("policies", text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "authorizer",
        sa.Column("arn", text, primary_key=True, nullable=False),
        sa.Column("target", text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
