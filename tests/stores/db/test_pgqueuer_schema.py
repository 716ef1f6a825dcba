"""PgQueuer's tables: made by migrations, compared with the installed release, made anew if damaged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from lightwell.errors import StorageError
from lightwell.stores.db import pgqueuer_schema
from lightwell.stores.db.database import Database
from lightwell.stores.db.pgqueuer_schema import LOG_TABLE, TABLE, at_once, queries
from lightwell.stores.db.schema import migrate, schema_state


@pytest.fixture
def db(migrated_postgres_url: str) -> Iterator[Database]:
    made = Database(migrated_postgres_url)
    yield made
    made.close()


def _run(db: Database, *statements: str) -> None:
    for statement in statements:
        db.write(lambda conn, one=statement: conn.execute(text(one)))  # type: ignore[misc]


def _enqueue(db: Database) -> None:
    db.write(lambda conn: at_once(queries(conn).enqueue(["read:1"], [b"0"], [0])))


def _count(db: Database, table: str) -> int:
    with db.read() as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar() or 0)


def test_migration_makes_tables_that_wake_nobody(db: Database) -> None:
    assert schema_state(db) == "current"
    assert not migrate(db)
    _enqueue(db)
    assert (_count(db, TABLE), _count(db, LOG_TABLE)) == (1, 1)
    with db.read() as conn:
        is_on = conn.execute(
            text("SELECT tgenabled FROM pg_trigger WHERE tgrelid = to_regclass(:t) AND NOT tgisinternal"),
            {"t": TABLE},
        ).scalars()
        assert list(is_on) == ["D"]


def test_what_is_rolled_back_was_never_queued(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        db.write(lambda conn: (at_once(queries(conn).enqueue(["read:1"], [b"0"], [0])), 1 // 0))
    assert _count(db, TABLE) == 0


@pytest.mark.parametrize(
    ("damage", "is_noticed"),
    [
        (f"DROP TABLE {TABLE}", True),
        (f"DROP TABLE {LOG_TABLE}", False),
        (f"ALTER TABLE {TABLE} DROP COLUMN slot", False),
        (f"ALTER TABLE {TABLE} ALTER COLUMN heartbeat TYPE text", False),
        (f"DROP INDEX {TABLE}_unique_dedupe_key", False),
        (f"COMMENT ON TABLE {TABLE} IS 'pgqueuer 1.5.9'", True),
        (f"COMMENT ON TABLE {TABLE} IS NULL", True),
    ],
)
def test_migration_makes_damaged_and_older_tables_anew(db: Database, damage: str, is_noticed: bool) -> None:
    _run(db, damage)
    assert schema_state(db) == ("behind" if is_noticed else "current")
    assert migrate(db)
    assert schema_state(db) == "current"
    assert not migrate(db)
    _enqueue(db)
    assert _count(db, TABLE) == 1


def test_tables_of_a_newer_release_are_left_alone(db: Database) -> None:
    """Another machine of the same fleet has it already; two of them would undo each other's work for ever."""
    _enqueue(db)
    _run(db, f"COMMENT ON TABLE {TABLE} IS 'pgqueuer 1.99.0'")
    assert schema_state(db) == "current"
    assert not migrate(db)
    assert _count(db, TABLE) == 1


def test_missing_tables_are_an_error_that_says_what_to_do(db: Database) -> None:
    _run(db, f"DROP TABLE {TABLE}")
    with pytest.raises(StorageError, match="lightwell data migrate"):
        _enqueue(db)


def test_names_do_not_follow_the_environment(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUEUE_TABLE", "PGQUEUER_QUEUE_TABLE", "PGQUEUER_SCHEMA", "PGQUEUER_PREFIX", "CHANNEL"):
        monkeypatch.setenv(name, "other")
    pgqueuer_schema._names.cache_clear()
    pgqueuer_schema._builder.cache_clear()
    try:
        _enqueue(db)
    finally:
        pgqueuer_schema._names.cache_clear()
        pgqueuer_schema._builder.cache_clear()
    assert _count(db, TABLE) == 1
