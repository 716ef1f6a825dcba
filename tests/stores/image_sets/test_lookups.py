"""Image sets as rows: their state, look-ups and times of access."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from lightwell.domain.image_sets.image_set import storage_tier
from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.stores.db.database import Database
from lightwell.stores.image_sets import by_series, lookups
from lightwell.stores.image_sets.last_access import Accesses
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltInstance, BuiltSet

DAY = 24 * 3600 * 1000


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    found.close()


def change(stores: Stores, built: BuiltSet, **columns: Any) -> None:
    statement = update(tables.image_set).where(tables.image_set.c.key == built.key).values(columns)
    stores.db.write(lambda conn: conn.execute(statement))


def accessed(stores: Stores, built: BuiltSet) -> int:
    with stores.db.read() as conn:
        found = lookups.get(conn, built.datastore_id, built.id)
    assert found is not None
    return found.last_accessed_at


def test_finds_a_set_in_its_own_data_store_alone(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [])
    with stores.db.read() as conn:
        found = lookups.get(conn, built.datastore_id, built.id)
        assert found is not None and found.key == built.key
        assert lookups.get(conn, "0" * 32, built.id) is None
        assert lookups.get(conn, built.datastore_id, "0" * 32) is None


def test_looks_up_frames_by_set_store_and_pixels(stores: Stores) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"x"], to_version=2)
    built = image_set_builders.image_set(stores, [image], versions=[{}, {}])

    def look_up(set_id: str, store_id: str, pixels: int) -> Any:
        return stores.db.look_up(lookups.FRAME_LOOK_UP, (set_id, store_id, pixels, pixels, pixels))

    assert look_up(built.id, built.datastore_id, image.pixels_key)[0] == built.key
    assert look_up(built.id, built.datastore_id, image.pixels_key + 1) is None
    assert look_up(built.id, "0" * 32, image.pixels_key) is None
    change(stores, built, state="DELETED")
    assert look_up(built.id, built.datastore_id, image.pixels_key) is None


def test_looks_up_frames_of_instances_that_were_imported_again(stores: Stores) -> None:
    older = BuiltInstance("1.1", 1, frames=[b"x"], to_version=2)
    newer = BuiltInstance("1.1", 1, frames=[b"y"], from_version=2)
    other = BuiltInstance("1.2", 2, frames=[b"z"])
    built = image_set_builders.image_set(stores, [older, newer, other], versions=[{}, {}])
    with stores.db.read() as conn:
        keys = set(conn.execute(select(tables.member.c.instance)).scalars())
    assert keys == {older.pixels_key, other.pixels_key}
    for image in (older, newer, other):
        pixels = (image.pixels_key,) * 3
        found = stores.db.look_up(lookups.FRAME_LOOK_UP, (built.id, built.datastore_id, *pixels))
        assert found is not None and found[0] == built.key


def test_uses_an_index_for_each_step_of_the_look_up_of_a_frame(migrated_sqlite_url: str) -> None:
    db = Database(migrated_sqlite_url)
    with db.read() as conn:
        plan = conn.exec_driver_sql(
            "EXPLAIN QUERY PLAN " + lookups.FRAME_LOOK_UP.sqlite, ("a", "b", 1, 1, 1)
        ).all()
    db.close()
    assert not [step for step in plan if "SCAN" in step[3] and "CONSTANT" not in step[3]]


def test_notes_accesses_in_one_statement_later(stores: Stores) -> None:
    sets = [image_set_builders.image_set(stores, []) for _ in range(3)]
    accesses = Accesses(stores.db, interval=3600)
    for built in sets[:2]:
        accesses.note(built.key, NOW + 1000)
        accesses.note(built.key, NOW + 2000)
    assert accessed(stores, sets[0]) == NOW
    accesses.flush()
    assert [accessed(stores, built) for built in sets] == [NOW + 1000, NOW + 1000, NOW]
    accesses.flush()


def test_moves_no_access_back_and_none_of_a_deleted_set(stores: Stores) -> None:
    later, deleted = (image_set_builders.image_set(stores, []) for _ in range(2))
    change(stores, later, last_accessed_at=NOW + 5000)
    change(stores, deleted, state="DELETED")
    stores.db.write(lambda conn: lookups.set_last_accessed(conn, [later.key, deleted.key], NOW + 1000))
    assert accessed(stores, later) == NOW + 5000
    assert accessed(stores, deleted) == NOW


def test_archives_after_thirty_days_without_access() -> None:
    assert storage_tier(NOW, NOW + 30 * DAY) == "FREQUENT_ACCESS"
    assert storage_tier(NOW, NOW + 30 * DAY + 1) == "ARCHIVE_INSTANT_ACCESS"


def test_a_frame_is_found_by_its_instance_alone(migrated_postgres_url: str) -> None:
    """Before PostgreSQL knows how large the tables are, which it learns some time after the first import."""
    db = Database(migrated_postgres_url)
    sql = by_series.PIXELS_LOOK_UP.postgresql
    steps = "\n".join(line for (line,) in db.select_at_once(f"EXPLAIN {sql}", ("d", "1", "1.1", "1.1.1")))
    assert re.search(
        r"instance_by_uid on instance .*\n +Index Cond: \(\(datastore = .*sop_instance_uid", steps
    )
    assert re.search(r"member_pkey on member .*\n +Index Cond: \(\(image_set = .* AND \(instance = ", steps)
    db.close()
