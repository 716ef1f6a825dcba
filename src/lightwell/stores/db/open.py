"""The database that the settings name."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Protocol

from sqlalchemy import text

from lightwell.errors import ConfigurationError
from lightwell.stores.db.database import Database, Replica
from lightwell.stores.db.drivers import PostgresqlOptions
from lightwell.stores.db.schema import migrate
from lightwell.stores.page_checksums.state import missing

log = logging.getLogger(__name__)


class DatabaseSettings(Protocol):
    """The settings of the database."""

    @property
    def database(self) -> str: ...
    @property
    def database_direct_url(self) -> str | None: ...
    @property
    def database_replica_url(self) -> str | None: ...
    @property
    def database_replica_lag(self) -> int: ...
    @property
    def database_pool(self) -> int: ...
    @property
    def database_pooler(self) -> str: ...
    @property
    def database_prepared(self) -> str: ...
    @property
    def require_page_checksums(self) -> bool: ...


def open_database(settings: DatabaseSettings) -> Database:
    """Nothing is opened before it is used. Raises `ConfigurationError` for a URL of an unknown kind."""
    is_pooled = settings.database_pooler == "transaction"
    options = PostgresqlOptions(
        pool=settings.database_pool,
        is_pooled=is_pooled,
        prepares=settings.database_prepared == "on"
        or (settings.database_prepared == "auto" and not is_pooled),
    )
    url = settings.database_replica_url
    replica = None if url is None else Replica(url, settings.database_replica_lag)
    return Database(settings.database, options, direct_url=settings.database_direct_url, replica=replica)


def migrate_database(settings: DatabaseSettings, db: Database) -> bool:
    """`schema.migrate`, past the pooler if the settings say how. ``db`` is what they name.

    Raises `ConfigurationError` where the way past the pooler leads elsewhere.
    """
    if settings.database_direct_url is None:
        return migrate(db)
    with closing(Database(settings.database_direct_url)) as direct:
        _check_same(db, direct)
        return migrate(direct)


def check_pages(settings: DatabaseSettings, db: Database) -> None:
    """Tell the log if pages of the database are not compared with checksums.

    Raises `ConfigurationError` then if the settings require that they are.
    """
    with db.read() as conn:
        reason = missing(conn)
    if reason is None:
        return
    if settings.require_page_checksums:
        raise ConfigurationError(f"LIGHTWELL_REQUIRE_PAGE_CHECKSUMS is on, and {reason}")
    log.warning("what the disk of the database damages may go unnoticed: %s", reason)


def check_direct_url(settings: DatabaseSettings, db: Database) -> None:
    """Raises `ConfigurationError` if ``database_direct_url`` leads to another database than ``db``."""
    if settings.database_direct_url is not None:
        with closing(Database(settings.database_direct_url)) as direct:
            _check_same(db, direct)


def _check_same(db: Database, direct: Database) -> None:
    # When its server was started tells a restored copy from what it is a copy of.
    asked = text("SELECT current_database(), CAST(extract(epoch FROM pg_postmaster_start_time()) AS TEXT)")
    found = []
    for each in (db, direct):
        with each.read() as conn:
            found.append(tuple(conn.execute(asked).one()))
    if found[0] != found[1]:
        raise ConfigurationError(
            f"LIGHTWELL_DATABASE_DIRECT_URL leads to another database, {direct.address}, than "
            f"LIGHTWELL_DATABASE_URL, {db.address}: name the same one on the same server, past the pooler"
        )
