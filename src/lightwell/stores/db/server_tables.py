"""What servers and workers of one database tell each other; see `stores.background`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table

from lightwell.stores.db.columns import TEXT, metadata

server = Table(
    "server",
    metadata,
    Column("node", TEXT, primary_key=True),  # DATA/node.id
    Column("place", TEXT, nullable=False),  # machine and data folder, for people
    Column("run", TEXT),  # which start of it this is; NULL once it has stopped
    Column("root", TEXT),  # the access key id that it was started with as root; "" for a worker
    Column("seen_at", BigInteger, nullable=False),  # by the database's clock
    Column("role", TEXT, primary_key=True, server_default="serve"),  # serve http worker
)

# What all of them must agree on: the id of the storage of objects, under the name "storage".
installation = Table(
    "installation",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("value", TEXT, nullable=False),
)
