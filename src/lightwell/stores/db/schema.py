"""The schema's version: which one the database has, which one this lightwell needs, and the migration."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, inspect, text

from lightwell.errors import ConfigurationError, StorageError
from lightwell.stores.db import pgqueuer_schema
from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.database import Database
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.db.errors import is_lock_timeout
from lightwell.stores.db.server_tables import installation
from lightwell.stores.page_checksums import state as page_checksums

# The revisions, oldest first; a test compares them with `migrations/versions`. They are repeated here so that
# finding out the state does not import Alembic.
REVISIONS = tuple(f"{number:04}" for number in range(1, 24))

MOVING = "moving "
"""Before the revision, while `lightwell data move` fills the database."""

RESTORING = "restoring"
"""Instead of the revision, while `lightwell data restore` does."""

_ADVISORY_LOCK = 0x6C69676874  # "light"
_LOCK_MS = 2000
_PATIENCE_SECONDS = 600.0


def schema_state(db: Database) -> Literal["current", "behind", "ahead"]:
    """How the database's schema compares to what this lightwell needs; "behind" also if there is none.

    Raises `StorageError` if the database cannot be reached.
    """
    if db.dialect == "sqlite" and not sqlite_path(db.url).exists():
        return "behind"
    with db.read() as conn:
        return _state(conn)


def schema_revision(db: Database) -> str | None:
    """The migration that the database's schema is of; None if it has no schema yet."""
    if db.dialect == "sqlite" and not sqlite_path(db.url).exists():
        return None
    with db.read() as conn:
        if not inspect(conn).has_table("alembic_version"):
            return None
        found = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _state(conn: Connection) -> Literal["current", "behind", "ahead"]:
    if not inspect(conn).has_table("alembic_version"):
        return "behind"
    found = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if str(found).startswith(MOVING):
        raise ConfigurationError(
            "The database does not have all of its data yet, since a move into it has begun and not ended: "
            "run the same `lightwell data move` again"
        )
    if found == RESTORING:
        raise ConfigurationError(
            "The database does not have all of its data yet, since a restore into it has begun and not "
            "ended: run the same `lightwell data restore` again"
        )
    if found is not None and found not in REVISIONS:
        return "ahead"
    if found != REVISIONS[-1]:
        return "behind"
    if conn.dialect.name == "postgresql" and not pgqueuer_schema.is_current(conn):
        return "behind"
    return "current"


def migrate(db: Database) -> bool:
    """Bring the schema up to date; False if it was already. Any number of processes may call this at once.

    It is one transaction: all of it is done or nothing. Raises `ConfigurationError` if a newer lightwell
    has migrated the database, since this one would misread it.

    Servers of the version before may work meanwhile. A change of a table has to wait until nobody uses it,
    and everybody else waits behind it: so it waits for two seconds only, lets the others pass, and tries
    again, for ten minutes.
    """
    if db.dialect == "sqlite":
        with _only_one(sqlite_path(db.url).absolute()):
            return db.write(lambda conn: _migrate(conn, db.address))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return db.write(lambda conn: _migrate(conn, db.address))
        except StorageError as error:
            if not is_lock_timeout(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.5, 2))


def _migrate(conn: Connection, address: str) -> bool:
    if conn.dialect.name == "postgresql":
        # Big tables take longer than the time limit of queries.
        conn.execute(text("SET LOCAL lock_timeout = 0"))
        conn.execute(text("SET LOCAL statement_timeout = 0"))
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        conn.execute(text(f"SET LOCAL lock_timeout = {_LOCK_MS}"))
    state = _state(conn)
    if state == "ahead":
        raise ConfigurationError(
            f"The database {address} was migrated by a newer lightwell: install that version or a later one, "
            "or restore a backup from before."
        )
    if state == "current":
        _mark_pages(conn)
        return conn.dialect.name == "postgresql" and pgqueuer_schema.prepare(conn)
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
    if conn.dialect.name == "postgresql":
        pgqueuer_schema.prepare(conn)
    _mark_pages(conn)
    return True


def _mark_pages(conn: Connection) -> None:
    """Note that the pages have checksums, where they do: who opens the file then knows that they must."""
    if conn.dialect.name == "sqlite" and page_checksums.missing(conn) is None:
        row = {"name": page_checksums.PAGES, "value": page_checksums.CHECKSUMS}
        insert_missing(conn, installation, [row], ["name"])


@contextmanager
def _only_one(database: Path) -> Iterator[None]:
    """Others wait for as long as it takes, whereas SQLite's own lock would give up after ten seconds."""
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(database.with_name(database.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(lock, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
