"""What transactions of PostgreSQL do to each other where one names what a collector is about to remove.

Each is a connection of its own, and goes on by single statements in the order that the test gives.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, Table, delete, insert, select, text

from lightwell.domain.keys import InstanceKey
from lightwell.stores.background import gc_candidates
from lightwell.stores.background.gc_candidates import INSTANCE, LEVEL, PACK, RECORD, GcCandidate
from lightwell.stores.collector import removal
from lightwell.stores.db import compression, tables
from lightwell.stores.db.database import Database
from lightwell.stores.image_sets import instances, records
from lightwell.stores.objects import packs
from lightwell.work.collector import Collector
from tests.support.collector import Later

DATASTORE, OLD, NEW, MARK = 1, 71, 72, 5
BODY = compression.compress(b'{"PatientID":"P1"}')
DIGEST = hashlib.sha256(BODY).digest()


def find_level(conn: Connection, key: int) -> int:
    return records.level_values(conn, DATASTORE, {DIGEST: BODY}, [key])[DIGEST]


def find_instance(conn: Connection, key: int) -> int:
    gc_candidates.lock_shared(conn)
    return instances.find_or_insert(conn, DATASTORE, {"1.2.3": InstanceKey(key)})["1.2.3"]


@dataclass(frozen=True)
class Kind:
    """Of rows that are found by content."""

    number: int
    table: Table
    find: Callable[[Connection, int], int]


KINDS = [Kind(LEVEL, tables.level_value, find_level), Kind(INSTANCE, tables.instance, find_instance)]


@pytest.fixture
def db(migrated_postgres_url: str) -> Iterator[Database]:
    made = Database(migrated_postgres_url)
    yield made
    made.close()


@pytest.fixture(params=KINDS, ids=["level", "instance"])
def kind(request: pytest.FixtureRequest, db: Database) -> Kind:
    """There is a row of it, which nothing names, and it is on the list."""
    found: Kind = request.param

    def work(conn: Connection) -> None:
        found.find(conn, OLD)
        gc_candidates.add(conn, found.number, [OLD], MARK)

    db.write(work)
    return found


def transaction(db: Database) -> AbstractContextManager[Connection]:
    return db._open().writer.begin()


def keys(db: Database, table: Table) -> list[int]:
    with db.read() as conn:
        return list(conn.execute(select(table.c.key).order_by(table.c.key)).scalars())


def until_waiting(db: Database, future: Future[int]) -> None:
    """Until the other thread waits for a lock, or has ended."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    for _ in range(3000):
        with db.read() as conn:
            if future.done() or conn.execute(waiting).scalar_one():
                return
        threading.Event().wait(0.01)
    raise AssertionError("it neither waits nor ends")


def test_removes_nothing_that_another_transaction_has_found(db: Database, kind: Kind) -> None:
    with transaction(db) as finder:
        assert kind.find(finder, NEW) == OLD
        with transaction(db) as collector:
            assert not gc_candidates.lock_exclusive(collector, wait=False)
    with transaction(db) as collector:
        assert gc_candidates.lock_exclusive(collector, wait=False)
        assert removal.remove_unreferenced(collector, kind.number, [GcCandidate(OLD, MARK)], 6) == 0
    assert keys(db, kind.table) == [OLD]


@contextmanager
def removing(db: Database, kind: Kind, pool: ThreadPoolExecutor) -> Iterator[tuple[Connection, Future[int]]]:
    """The transaction of a collector that has removed the row, and another that has come to find it."""
    with transaction(db) as collector:
        assert gc_candidates.lock_exclusive(collector, wait=False)
        assert removal.remove_unreferenced(collector, kind.number, [GcCandidate(OLD, MARK)], 6) == 1
        finding = pool.submit(db.write, lambda conn: kind.find(conn, NEW))
        until_waiting(db, finding)
        yield collector, finding


def test_finds_nothing_that_is_being_removed(db: Database, kind: Kind) -> None:
    with ThreadPoolExecutor(1) as pool:
        with removing(db, kind, pool) as (_, finding):
            assert not finding.done(), "it has found what goes"
        assert finding.result() == NEW
    assert keys(db, kind.table) == [NEW]


def test_finds_what_stays_where_a_removal_is_undone(db: Database, kind: Kind) -> None:
    with ThreadPoolExecutor(1) as pool:
        with removing(db, kind, pool) as (collector, finding):
            collector.get_transaction().rollback()  # type: ignore[union-attr]
        assert finding.result() == OLD
    assert keys(db, kind.table) == [OLD]


@pytest.mark.parametrize("commits", [True, False])
def test_makes_one_row_where_two_find_none(db: Database, kind: Kind, commits: bool) -> None:
    db.write(lambda conn: conn.execute(delete(kind.table)))
    with ThreadPoolExecutor(1) as pool:
        with transaction(db) as first:
            assert kind.find(first, OLD) == OLD
            second = pool.submit(db.write, lambda conn: kind.find(conn, NEW))
            until_waiting(db, second)
            assert not second.done()
            if not commits:
                first.get_transaction().rollback()  # type: ignore[union-attr]
        assert second.result() == (OLD if commits else NEW)
    assert keys(db, kind.table) == [OLD if commits else NEW]


def test_keeps_a_name_that_is_undone_with_its_savepoint_from_protecting(db: Database, kind: Kind) -> None:
    with transaction(db) as finder:
        savepoint = finder.begin_nested()
        assert kind.find(finder, NEW) == OLD
        savepoint.rollback()
        with transaction(db) as collector:
            assert gc_candidates.lock_exclusive(collector, wait=False)
            assert removal.remove_unreferenced(collector, kind.number, [GcCandidate(OLD, MARK)], 6) == 1
        assert kind.find(finder, NEW) == NEW
    assert keys(db, kind.table) == [NEW]


def test_keeps_a_pack_listed_whose_last_reference_is_removed_while_it_is_checked(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another collector, as where the first has lost its turn."""
    pack, record = 81, 82
    values = {name: 1 for name in ("patient_value", "study_value", "series_value")}
    values |= {"datastore": DATASTORE, "original_offset": 0, "original_length": 0}

    def work(conn: Connection) -> None:
        packs.insert_open(conn, [pack], DATASTORE, 0)
        packs.make_live(conn, {pack: (0, 0)})
        row = {"key": record, "sop_instance_uid": "1", "fragment_z": b"", "pack": pack, **values}
        conn.execute(insert(tables.record), row)
        gc_candidates.add(conn, PACK, [pack], MARK)
        gc_candidates.add(conn, RECORD, [record], MARK)

    db.write(work)
    real = packs.doom

    def doom(
        conn: Connection, keys: list[int], before: int, *, live_at_once: bool = False
    ) -> packs.DoomResult:
        judged = real(conn, keys, before, live_at_once=live_at_once)
        with transaction(db) as other:
            assert gc_candidates.lock_exclusive(other, wait=False)
            removal.remove_unreferenced(other, RECORD, [GcCandidate(record, MARK)], 6)
        return judged

    class Alone(Collector):
        def __init__(self) -> None:
            self._stores = type("Stores", (), {"db": db})()
            self._clock, self._batch, self._stopping = Later(), 5, threading.Event()
            self._settings = type("Settings", (), {"collect_grace": 0})()

    with monkeypatch.context() as patch:
        patch.setattr(packs, "doom", doom)
        assert Alone()._doom([pack], 2**62, [GcCandidate(pack, MARK)]) == []
    with db.read() as conn:
        assert gc_candidates.page(conn, PACK, -1, 9) == [GcCandidate(pack, 6)]
    Alone().doom_packs()
    with db.read() as conn:
        assert packs.doomed_keys(conn, 9) == [pack]
