"""The schema: migrated databases have the tables that the code believes in."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from lightwell.errors import ConfigurationError
from lightwell.stores.db import pgqueuer_schema, tables
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import REVISIONS, migrate, schema_state
from tests.support.server import until


def definitions(db: Database) -> set[str]:
    """Every table, column, rule and index, as the database itself tells them."""
    if db.dialect == "sqlite":
        queries = ["SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"]
    else:
        queries = [
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
            "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
            # A column that was dropped keeps its position.
            "SELECT table_name || ' '"
            " || row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position) || ' '"
            " || column_name || ' ' || data_type || ' '"
            " || coalesce(collation_name, '') || ' ' || is_nullable || ' ' || coalesce(column_default, '')"
            " FROM information_schema.columns WHERE table_schema = 'public'",
        ]
    with db.read() as conn:
        found = [row[0] for query in queries for row in conn.execute(text(query))]
    not_ours = ("alembic_version", pgqueuer_schema.TABLE)
    return {" ".join(line.split()) for line in found if not any(name in line for name in not_ours)}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'with %41 and ü?' / 'lightwell.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def test_migrating_makes_exactly_the_tables_of_the_code(
    database: Database, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sqlite = database.dialect == "sqlite"
    db = Database(f"sqlite:///{tmp_path}/new.db" if sqlite else request.getfixturevalue("postgres_url"))
    db.write(tables.metadata.create_all)
    assert definitions(database) == definitions(db)
    db.close()


def test_alembic_finds_nothing_to_change(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def is_of_this_database(thing: object, name: str | None, *_: object) -> bool:
        # A trigger on SQLite, of which Alembic knows nothing; and tables of another kind on each.
        other_kind = (pgqueuer_schema.TABLE, "study_grams", "series_grams", "study_by_gram", "series_by_gram")
        return (database.dialect, name) != ("sqlite", "one_open_member") and not (name or "").startswith(
            other_kind
        )

    with database.read() as conn:
        context = MigrationContext.configure(conn, opts={"include_object": is_of_this_database})
        assert compare_metadata(context, tables.metadata) == []


def test_knows_its_revisions() -> None:
    from alembic.script import ScriptDirectory

    folder = Path(tables.__file__).parent / "migrations"
    walked = [script.revision for script in ScriptDirectory(str(folder)).walk_revisions()]
    assert tuple(reversed(walked)) == REVISIONS


def test_tells_an_empty_database_is_behind_and_a_migrated_one_current(empty: str) -> None:
    db = Database(empty)
    assert schema_state(db) == "behind"
    assert migrate(db) is True
    assert schema_state(db) == "current"
    assert migrate(db) is False
    db.close()


def test_refuses_a_database_of_a_newer_version(database: Database) -> None:
    database.write(lambda conn: conn.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    assert schema_state(database) == "ahead"
    with pytest.raises(ConfigurationError, match="newer lightwell"):
        migrate(database)


def test_many_processes_migrate_at_once(empty: str) -> None:
    code = f"from lightwell.stores.db.schema import *; print(migrate(Database({empty!r})))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(6)]
    outputs = [process.communicate()[0].decode().strip() for process in running]
    assert [process.returncode for process in running] == [0] * 6
    assert sorted(outputs) == ["False"] * 5 + ["True"]
    db = Database(empty)
    assert schema_state(db) == "current"
    db.close()


def test_lets_others_pass_while_a_table_is_in_use(postgres_url: str) -> None:
    """Somebody holds a table that a migration changes: it waits, but nobody waits behind it for long."""
    import psycopg
    from alembic import command

    db = Database(postgres_url)
    upgrade = command.upgrade
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, to: upgrade(config, "0008"))
        migrate(db)
    with psycopg.connect(postgres_url) as busy, ThreadPoolExecutor(1) as thread:
        busy.execute("LOCK TABLE member IN SHARE UPDATE EXCLUSIVE MODE")
        migrating = thread.submit(migrate, db)
        with psycopg.connect(postgres_url, autocommit=True) as watching:
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER%'"
            until(lambda: watching.execute(waits).fetchone() is not None)
            until(lambda: watching.execute(waits).fetchone() is None)
        assert not migrating.done()
        busy.rollback()
        assert migrating.result(60) is True
    assert schema_state(db) == "current"
    db.close()


def test_asking_for_the_state_does_not_import_alembic(migrated_sqlite_url: str) -> None:
    code = (
        "import sys; from lightwell.stores.db.schema import *; "
        f"db = Database({migrated_sqlite_url!r}); "
        "assert schema_state(db) == 'current'; assert not migrate(db); "
        "print([name for name in ('alembic', 'psycopg', 'obstore') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
