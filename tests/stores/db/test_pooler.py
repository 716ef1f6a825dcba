"""PostgreSQL behind PgBouncer in transaction mode, where a connection has no state beyond a transaction."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import Connection, func, inspect, select, text

from lightwell.errors import ConfigurationError, StorageError
from lightwell.settings import Settings
from lightwell.stores.db.database import Database, insert_many
from lightwell.stores.db.drivers import PostgresqlOptions
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.open import check_direct_url, migrate_database
from lightwell.stores.db.schema import schema_state
from lightwell.stores.db.tables import dictionary
from tests.support import services


@pytest.fixture(params=[False, True], ids=["unprepared", "prepared"])
def pooled(request: pytest.FixtureRequest, migrated_postgres_url: str) -> Iterator[Database]:
    """A database behind a pooler that knows of prepared statements, or not."""
    most = 100 if request.param else 0
    with services.wanted(
        services.pgbouncer(migrated_postgres_url, default_pool_size=3, max_prepared_statements=most)
    ) as url:
        db = Database(url, PostgresqlOptions(is_pooled=True, prepares=request.param))
        yield db
        db.close()


def add(db: Database, *keys: int) -> None:
    db.write(lambda conn: insert_many(conn, dictionary, [{"key": key, "bytes": b"x"} for key in keys]))


def test_serves_more_threads_than_there_are_connections(pooled: Database) -> None:
    by_key = LookUp("SELECT key FROM dictionary WHERE key = ?")

    def work(number: int) -> None:
        for step in range(12):
            key = number * 100 + step
            add(pooled, key)
            assert pooled.look_up(by_key, (key,)) == (key,)
            with pooled.read() as conn:
                found = conn.execute(select(func.count()).where(dictionary.c.key == key))
                assert found.scalar() == 1

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(12)))
    with pooled.read() as conn:
        assert conn.execute(select(func.count()).select_from(dictionary)).scalar() == 144


def test_sets_its_limits_for_a_transaction_and_leaves_none_behind(pooled: Database) -> None:
    def limits(conn: Connection) -> list[str]:
        names = ("statement_timeout", "lock_timeout", "transaction_isolation", "transaction_read_only")
        return [str(conn.execute(text(f"SHOW {name}")).scalar()) for name in names]

    assert pooled.write(limits) == ["1min", "30s", "read committed", "off"]
    with pooled.read() as conn:
        assert limits(conn) == ["1min", "30s", "repeatable read", "on"]
    shown = LookUp(
        "SELECT current_setting('statement_timeout'), current_setting('default_transaction_read_only')"
    )
    assert pooled.look_up(shown, ()) == ("0", "off")
    with pytest.raises(StorageError), pooled.read() as conn:
        conn.execute(dictionary.insert(), [{"key": 1, "bytes": b""}])


def test_has_no_listener_without_a_direct_address(pooled: Database, migrated_postgres_url: str) -> None:
    assert pooled.listener() is None
    with_direct = Database(
        pooled.url, PostgresqlOptions(is_pooled=True, prepares=False), direct_url=migrated_postgres_url
    )
    listener = with_direct.listener()
    assert listener is not None
    listener.execute("LISTEN something")
    with_direct.write(lambda conn: conn.execute(text("NOTIFY something, 'said'")))
    assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == ["said"]
    listener.close()
    with_direct.close()


def test_refuses_a_direct_address_of_another_database(
    pooled: Database, postgres_url: str, migrated_postgres_url: str
) -> None:
    told = Settings(database_url=pooled.url, database_pooler="transaction")
    with pytest.raises(ConfigurationError, match="LIGHTWELL_DATABASE_DIRECT_URL leads to another database"):
        migrate_database(replace(told, database_direct_url=postgres_url), pooled)
    with closing(Database(postgres_url)) as db, db.read() as conn:
        assert not inspect(conn).get_table_names()
    # In whatever time zone a session without options is.
    with psycopg.connect(migrated_postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE \"{name}\" SET timezone = 'Europe/Berlin'")
    check_direct_url(replace(told, database_direct_url=migrated_postgres_url), pooled)


def test_is_migrated_by_six_processes_at_once(postgres_url: str) -> None:
    with services.wanted(services.pgbouncer(postgres_url, max_prepared_statements=0)) as url:
        code = (
            "from lightwell.stores.db.open import *; from lightwell.settings import Settings;"
            f"s = Settings(database_url={url!r}, database_pooler='transaction');"
            "print(migrate_database(s, open_database(s)))"
        )
        running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(6)]
        said = sorted(process.communicate()[0].decode().strip() for process in running)
        assert said == ["False"] * 5 + ["True"]
        db = Database(url, PostgresqlOptions(is_pooled=True, prepares=False))
        assert schema_state(db) == "current"
        db.close()
