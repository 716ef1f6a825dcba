"""What a process of an installation does, and what all of them must agree on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    role = sa.Column("role", text, nullable=False, server_default="serve")
    if op.get_bind().dialect.name == "postgresql":
        # Servers of the version before go on renewing their rows.
        op.add_column("server", role)
        op.drop_constraint("server_pkey", "server", type_="primary")
        op.create_primary_key("server_pkey", "server", ["node", "role"])
    else:
        # It has no rows: SQLite has one server only.
        op.drop_table("server")
        op.create_table(
            "server",
            sa.Column("node", text, nullable=False),
            sa.Column("place", text, nullable=False),
            sa.Column("run", text),
            sa.Column("root", text),
            sa.Column("seen_at", sa.BigInteger, nullable=False),
            role,
            sa.PrimaryKeyConstraint("node", "role"),
        )
    op.create_table(
        "installation",
        sa.Column("name", text, primary_key=True, nullable=False),
        sa.Column("value", text, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")
