"""Indexes that are built beside everything else: by one of many, and again after a kill."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text

from lightwell.clock import Clock, Ids
from lightwell.errors import StorageError
from lightwell.stores.db.database import Database
from lightwell.stores.db.online_indexes import STUDY_ORDERS, UNCHECKED_FRAMES, build, is_there
from lightwell.stores.db.schema import migrate
from lightwell.work.collector import Collector
from lightwell.work.index_building import IndexBuilding
from tests.stores.jobs.test_units_migration import BACK
from tests.support.imports import importing


@pytest.fixture
def db(migrated_postgres_url: str) -> Database:
    made = Database(migrated_postgres_url)
    made.write(lambda conn: conn.execute(text(f"DROP INDEX {UNCHECKED_FRAMES.name}")))
    return made


def state(db: Database) -> bool | None:
    with db.read() as conn:
        found: bool | None = conn.execute(
            text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('frame_table_unchecked')")
        ).scalar()
    return found


def until_waiting(db: Database) -> None:
    """Until the index is being built, and waits for a transaction that has written to its table."""
    end = time.monotonic() + 240
    while state(db) is None:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_is_built_anew_after_a_build_that_was_stopped(db: Database) -> None:
    stopping = threading.Event()
    with psycopg.connect(db.url) as writer, ThreadPoolExecutor(1) as beside:
        writer.execute("INSERT INTO frame_table (pixels, first_frame, entries) VALUES (1, 0, '')")
        building = beside.submit(build, db, UNCHECKED_FRAMES, stopping)
        until_waiting(db)
        assert build(db, UNCHECKED_FRAMES, threading.Event()) is False, "one builds, the others go on"
        stopping.set()
        with pytest.raises(StorageError):
            building.result()
    assert state(db) is False and not is_there(db, UNCHECKED_FRAMES)
    assert build(db, UNCHECKED_FRAMES, threading.Event())
    assert is_there(db, UNCHECKED_FRAMES)
    db.close()


def test_is_built_once_by_processes_that_start_at_once(db: Database) -> None:
    builders = [IndexBuilding(db, UNCHECKED_FRAMES, threading.Event()) for _ in range(4)]
    with psycopg.connect(db.url) as writer:
        writer.execute("INSERT INTO frame_table (pixels, first_frame, entries) VALUES (1, 0, '')")
        assert not any(each.is_over() for each in builders)
        until_waiting(db)
        # Whoever writes does not wait for the one who builds.
        writer.execute("INSERT INTO frame_table (pixels, first_frame, entries) VALUES (2, 0, '')")
    end = time.monotonic() + 240
    while not is_there(db, UNCHECKED_FRAMES):
        assert time.monotonic() < end
        time.sleep(0.01)
    for each in builders:
        assert each._thread is not None
        each._thread.join()
    assert IndexBuilding(db, UNCHECKED_FRAMES, threading.Event()).is_over()
    db.close()


@pytest.mark.parametrize("has_frames", [False, True])
def test_is_built_by_the_migration_of_an_empty_table_only(db: Database, *, has_frames: bool) -> None:
    back = [*BACK, "ALTER TABLE frame_table DROP COLUMN checks"]
    if has_frames:
        back.append("INSERT INTO frame_table (pixels, first_frame, entries) VALUES (1, 0, '')")
    for statement in [*back, "UPDATE alembic_version SET version_num = '0009'"]:
        db.write(lambda conn, sql=statement: conn.execute(text(sql)))  # type: ignore[misc]
    assert migrate(db)
    assert state(db) is (None if has_frames else True)
    assert build(db, UNCHECKED_FRAMES, threading.Event())
    assert is_there(db, UNCHECKED_FRAMES)
    db.close()


def test_orders_of_studies_are_built_beside_the_servers(migrated_postgres_url: str, tmp_path: Path) -> None:
    """Those that are there already stay as they are."""
    server = importing(tmp_path / "data", migrated_postgres_url)
    db = server.stores.db
    with db.read() as conn:
        whole = indexes(conn)
    assert {each.name for each in STUDY_ORDERS} <= set(whole)
    study = "INSERT INTO study (key, datastore, study_instance_uid) VALUES (1, 1, '1.2')"
    for statement in (study, *BACK, "UPDATE alembic_version SET version_num = '0010'"):
        db.write(lambda conn, sql=statement: conn.execute(text(sql)))  # type: ignore[misc]
    assert migrate(db)
    assert not any(is_there(db, each) for each in STUDY_ORDERS)
    collector = Collector(server.stores, server.settings, Clock(), Ids())
    end = time.monotonic() + 240
    while not all(is_there(db, each) for each in STUDY_ORDERS):
        assert time.monotonic() < end
        collector.do_round()
        for building in collector._orders:
            building._not_before = 0.0
        time.sleep(0.01)
    with db.read() as conn:
        assert indexes(conn) == whole
    server.close()


def indexes(conn: Connection) -> dict[str, str]:
    rows = conn.execute(text("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'study'"))
    return {row.indexname: row.indexdef for row in rows}
