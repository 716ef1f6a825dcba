"""Run by Alembic: the revisions, on the connection and in the transaction that `stores.db.schema` hands
over."""

from __future__ import annotations

from alembic import context

from lightwell.stores.db import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
