"""Moves of a database whose rows change between two attempts, into either kind of database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, update

from lightwell.clock import Clock, Ids
from lightwell.domain.imports.units import QueuedJob
from lightwell.domain.states import JobPhase
from lightwell.errors import ConfigurationError, LightwellError
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background import audit_owed, installation
from lightwell.stores.background import outbox as events
from lightwell.stores.background.audit_owed import Debt
from lightwell.stores.background.installation import agree_on_storage
from lightwell.stores.db import tables
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import schema_state
from lightwell.stores.db.tables import access_key, import_job, outbox, pack, tag, unit
from lightwell.stores.moving import rows
from lightwell.stores.moving.changes import Changes, Sealing
from lightwell.stores.objects import pack_objects, packs
from lightwell.stores.objects.local import LocalObjects
from lightwell.work.collector import Collector
from lightwell.work.moving import move
from lightwell.work.moving.move import Move, MoveReport, Place
from lightwell.work.stray_search import StraySearch
from tests.support.image_set_builders import datastore, open_at
from tests.support.queued_units import add_job

Run = Callable[..., MoveReport]
queued: list[tuple[QueuedJob, list[int]]] = []


@pytest.fixture
def old(tmp_path: Path, migrated_sqlite_url: str) -> Iterator[Stores]:
    stores = open_at(tmp_path / "old", migrated_sqlite_url)
    stores.objects.put("packs/x", b"")
    yield stores
    stores.close()


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new.db'}"
    url: str = request.getfixturevalue("migrated_postgres_url")
    return url


@pytest.fixture
def run(old: Stores, new_url: str) -> Iterator[Run]:
    new = Database(new_url)
    queued.clear()

    def go(changes: Changes | None = None, identity: str = "here") -> MoveReport:
        return Move(
            Place(old.db, old.objects),
            Place(new, old.objects),
            identity=identity,
            new_id="ab" * 16,
            changes=changes or Changes(),
            enqueue=lambda conn, job, numbers: queued.append((job, list(numbers))),
            show=lambda name, done, total: None,
        ).run()

    yield go
    new.close()


def _tags(conn: Connection, *keys: str) -> None:
    conn.execute(insert(tag), [{"resource": "datastore/1", "key": key, "value": "v"} for key in keys])


@pytest.mark.parametrize("new_url", ["sqlite", "postgresql"], indirect=True)
def test_goes_on_where_it_was_though_the_old_has_changed(
    old: Stores, run: Run, new_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows.page, "__defaults__", (2,))

    def fill(conn: Connection) -> None:
        datastore(conn, id="1" * 32)
        datastore(conn, id="2" * 32)
        datastore(conn, id="3" * 32)
        _tags(conn, "a", "b", "c", "d", "e")

    old.db.write(fill)
    # What a killed server has not put on record must not be lost with the old place.
    old.db.write(lambda conn: audit_owed.add(conn, Debt("d" * 32, "node", "work", 1, "{}\n")))
    with monkeypatch.context() as patched:
        patched.setattr(move, "look_at_frames", lambda *given: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            run()
    new = Database(new_url)
    with pytest.raises(ConfigurationError, match="same `lightwell data move` again"):
        schema_state(new)
    with pytest.raises(LightwellError, match="Another source"):
        run(identity="elsewhere")

    def change(conn: Connection) -> None:
        conn.execute(tag.delete().where(tag.c.key.in_(("b", "e"))))
        _tags(conn, "0", "f")
        conn.execute(update(tag).where(tag.c.key == "c").values(value="changed"))
        # The ids change places, so that a row of the new database is in the way of another.
        table = tables.datastore
        for before, after in (("1", "x"), ("3", "1"), ("x", "3")):
            conn.execute(update(table).where(table.c.id == before * 32).values(id=after * 32))

    old.db.write(change)
    report = run()
    assert report.problems == []
    for table in rows.tables():
        with old.db.read() as conn:
            mine = rows.between(conn, table, None, None)
        with new.read() as conn:
            assert rows.between(conn, table, None, None) == mine
    with new.read() as conn:
        assert [debt.id for debt in audit_owed.get(conn, ["d" * 32])] == ["d" * 32]
    assert schema_state(new) == "current"
    with pytest.raises(LightwellError, match="was moved into the database"):
        run()
    new.close()


@pytest.mark.parametrize("new_url", ["postgresql"], indirect=True)
def test_queues_what_is_open_and_seals_secrets(old: Stores, run: Run, new_url: str) -> None:
    add_job(old, 1, 3)

    def fill(conn: Connection) -> None:
        conn.execute(update(unit).where(unit.c.number == 1).values(state="claimed", claim="me", tries=1))
        conn.execute(update(unit).where(unit.c.number == 2).values(state="done"))
        events.append(conn, {})
        events.append(conn, {})
        key = {"id": "K" * 16, "name": "k", "secret": b"old:s", "is_root": False, "created_at": 1}
        conn.execute(insert(access_key), key)

    old.db.write(fill)
    sealing = Sealing(
        lambda held: held.decode().removeprefix("old:"),
        lambda held: held.decode().removeprefix("new:"),
        lambda secret: f"new:{secret}".encode(),
    )
    report = run(Changes("node", sealing))
    assert report.problems == [] and report.open_jobs == ["job-1"] and report.queued_units == 2
    ((job, numbers),) = queued
    assert (job.key, job.phase, job.node, numbers) == (1, JobPhase.READ, "node", [0, 1])
    new = Database(new_url)
    with new.read() as conn:
        assert bytes(conn.execute(select(access_key.c.secret)).scalar_one()) == b"new:s"
        assert {row.claim for row in conn.execute(select(unit))} == {None}
        assert conn.execute(select(import_job.c.output_node)).scalar_one() == "node"
        highest = max(conn.execute(select(outbox.c.number)).scalars())
    new.write(lambda conn: events.append(conn, {}))
    with new.read() as conn:
        assert max(conn.execute(select(outbox.c.number)).scalars()) == highest + 1
    new.close()


@pytest.mark.parametrize("new_url", ["postgresql"], indirect=True)
def test_names_the_table_whose_row_cannot_be_held(old: Stores, run: Run, new_url: str) -> None:
    old.db.write(lambda conn: _tags(conn, "a\0b"))
    with pytest.raises(LightwellError, match="The table tag has a row"):
        run()


@pytest.mark.parametrize("new_url", ["sqlite", "postgresql"], indirect=True)
def test_nobody_goes_on_with_the_old_database_and_the_storage_of_the_new(
    old: Stores, run: Run, new_url: str
) -> None:
    def doomed(conn: Connection) -> None:
        packs.insert_open(conn, [7], 1, 1)

    agree_on_storage(old.db, old.objects, "1" * 32)
    assert run().problems == []
    new = Database(new_url)
    agree_on_storage(new, old.objects, "2" * 32)
    with pytest.raises(ConfigurationError, match="`lightwell data move` has moved"):
        agree_on_storage(old.db, old.objects, "2" * 32)
    # A server that was forgotten and runs on.
    old.objects.put(pack_objects.pack_name(7), b"bytes")
    old.db.write(doomed)
    settings = Settings(data=old.spool.parent, collect_grace=0)
    collector = Collector(old, settings, Clock(), Ids())
    for collect in (collector.collect, partial(collector.collect, housekeeping=True)):
        with pytest.raises(ConfigurationError, match="is not the storage"):
            collect()
    strays = StraySearch(old, settings, Clock(), threading.Event())
    old.db.write(lambda conn: conn.execute(pack.delete()))
    old.objects.put(pack_objects.pack_name(8), b"bytes")
    old.db.write(lambda conn: packs.insert_open(conn, [8], 1, 1))
    time.sleep(0.01)
    with pytest.raises(ConfigurationError, match="is not the storage"):
        strays.search_all()
    assert old.objects.exists(pack_objects.pack_name(7)) and old.objects.exists(pack_objects.pack_name(8))
    new.close()


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
def test_nor_where_neither_had_an_id(old: Stores, run: Run, new_url: str) -> None:
    assert installation.read_id(old.objects) is None
    assert run().problems == []
    new = Database(new_url)
    agree_on_storage(new, old.objects, "2" * 32)
    new.close()
    with pytest.raises(ConfigurationError, match="`lightwell data move` has moved"):
        agree_on_storage(old.db, old.objects, "2" * 32)


def test_nobody_goes_on_with_the_old_storage(old: Stores, tmp_path: Path) -> None:
    old.objects.delete("packs/x")
    agree_on_storage(old.db, old.objects, "1" * 32)
    there = LocalObjects(tmp_path / "there")

    def go() -> MoveReport:
        return Move(
            Place(old.db, old.objects),
            Place(old.db, there),
            identity="here",
            new_id="ab" * 16,
            changes=Changes(),
            enqueue=lambda conn, job, numbers: None,
            show=lambda name, done, total: None,
        ).run()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(installation, "set_id", lambda conn, id: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            go()
    agree_on_storage(old.db, old.objects, "2" * 32)  # nothing has been moved yet
    assert go().problems == []
    agree_on_storage(old.db, there, "2" * 32)
    with pytest.raises(ConfigurationError, match="`lightwell data move` has moved"):
        agree_on_storage(old.db, old.objects, "2" * 32)
