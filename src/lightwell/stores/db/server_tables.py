"""What servers and workers of one database tell each other; see `stores.background`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table

from lightwell.stores.db.columns import TEXT, key, metadata

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

# How far the chains of the audit trails of data folders have come; see `stores.background.audit_heads`.
audit_head = Table(
    "audit_head",
    metadata,
    Column("node", TEXT, primary_key=True),  # DATA/node.id
    Column("writer", TEXT, primary_key=True),
    Column("key_id", TEXT, primary_key=True),  # of the key that sealed it
    Column("number", BigInteger, nullable=False),  # of its last record
    Column("mac", TEXT, nullable=False),  # of its last seal, in hex
    Column("noted_at", BigInteger, nullable=False),
)

# Records that audit trails owe; see `stores.background.audit_owed`.
audit_owed = Table(
    "audit_owed",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("node", TEXT, nullable=False),  # DATA/node.id
    Column("writer", TEXT, nullable=False),  # in whose chain they belong
    Column("at", BigInteger, nullable=False),
    Column("records", TEXT, nullable=False),  # lines of JSON
)

# A run of `data verify`: an unfinished one goes on where it was interrupted.
integrity_run = Table(
    "integrity_run",
    metadata,
    key(primary_key=True),
    Column("mode", TEXT, nullable=False),  # quick sample all regular
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),  # when it last got on
    Column("progress", TEXT, nullable=False),  # JSON: where it is, and what it has counted
    Column("finished_at", BigInteger),
)

# What is damaged, each place once, gone when it is found whole again; and a row for each run that found it
# (`stores.integrity.faults.OF_RUN`), gone with the run. Names nobody.
integrity_fault = Table(
    "integrity_fault",
    metadata,
    Column("place", TEXT, primary_key=True),
    Column("kind", TEXT, nullable=False),  # damaged unreadable
    Column("reason", TEXT, nullable=False),
    key("datastore"),
    key("pack"),
    key("record"),
    key("image_set"),
    key("run"),  # of a row of one run of `data verify`, that run
    Column("found_at", BigInteger, nullable=False),
    Index("integrity_fault_by_run", "run", "place"),
)
