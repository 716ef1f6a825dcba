"""PgQueuer's tables as the queue: what is lost there comes back from the rows, and nothing stays there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from lightwell.domain.imports.units import Unit
from lightwell.domain.states import JobPhase
from lightwell.errors import StorageError
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.db.pgqueuer_schema import LOG_TABLE, TABLE
from lightwell.stores.db.schema import migrate
from lightwell.stores.jobs import units
from lightwell.stores.queues import pgqueuer_queue
from lightwell.stores.queues.pgqueuer_queue import Entry
from tests.support import queued_units

ME = UUID(int=1)


@pytest.fixture
def stores(migrated_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    queued_units.hold_claims(monkeypatch)
    made = open_stores(Settings(data=tmp_path, database_url=migrated_postgres_url))
    yield made
    made.close()


def _deliver(stores: Stores, job: int = 1, count: int = 10) -> list[Entry]:
    return stores.db.write(lambda conn: pgqueuer_queue.deliver(conn, job, JobPhase.READ, ME, count))


def _numbers(entries: list[Entry]) -> list[int]:
    return [one.unit.number for one in entries]


def _run(stores: Stores, statement: str) -> None:
    stores.db.write(lambda conn: conn.execute(text(statement)))


def _count(stores: Stores, table: str = TABLE) -> int:
    with stores.db.read() as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar() or 0)


def test_units_are_delivered_in_order_to_one_and_go_when_acknowledged(stores: Stores) -> None:
    queued_units.add_job(stores, 1, 4)
    queued_units.add_job(stores, 2, 1)
    first = _deliver(stores, count=3)
    assert [one.unit for one in first] == [Unit(1, JobPhase.READ, number) for number in range(3)]
    assert _numbers(_deliver(stores)) == [3]
    assert _deliver(stores) == []
    stores.db.write(lambda conn: pgqueuer_queue.acknowledge(conn, first))
    assert _count(stores) == 2
    stores.db.write(lambda conn: pgqueuer_queue.put_back(conn, first[0]))  # too late, and harmless
    assert _count(stores) == 2


def test_a_unit_is_queued_once(stores: Stores) -> None:
    job = queued_units.add_job(stores, 1, 2)
    _deliver(stores, count=1)
    stores.db.write(lambda conn: pgqueuer_queue.enqueue(conn, job, [0, 1, 2]))
    assert _count(stores) == 3


def test_silent_holders_are_found_and_their_units_delivered_again(stores: Stores) -> None:
    queued_units.add_job(stores, 1, 2)
    held = _deliver(stores)
    with stores.db.read() as conn:
        assert pgqueuer_queue.silent(conn) == set()
    _run(stores, f"UPDATE {TABLE} SET heartbeat = now() - interval '2 hours'")
    with stores.db.read() as conn:
        assert pgqueuer_queue.silent(conn) == {(1, JobPhase.READ)}
    stores.db.write(lambda conn: pgqueuer_queue.beat(conn, held[:1]))
    assert _numbers(_deliver(stores)) == [1]


def test_what_the_queue_has_lost_is_queued_again(stores: Stores) -> None:
    queued_units.add_job(stores, 1, 3)
    queued_units.add_job(stores, 2, 1, queue=False)
    taken = _deliver(stores, count=1)
    stores.db.write(lambda conn: units.stamp(conn, 1, JobPhase.READ, [taken[0].unit.number], "me"))
    assert stores.db.write(pgqueuer_queue.look_after) == 1
    _run(stores, f"TRUNCATE {TABLE}")
    assert stores.db.write(pgqueuer_queue.look_after) == 4
    assert stores.db.write(pgqueuer_queue.look_after) == 0
    assert (_numbers(_deliver(stores)), _numbers(_deliver(stores, 2))) == ([0, 1, 2], [0])


def test_nothing_stays_of_jobs_that_are_gone_nor_old_lines_of_the_log(stores: Stores) -> None:
    queued_units.add_job(stores, 1, 3)
    queued_units.add_job(stores, 2, 1)
    assert len(_deliver(stores, count=1)) == 1
    _run(stores, f"UPDATE {TABLE} SET heartbeat = now() - interval '1 minute'")
    _run(stores, "DELETE FROM unit WHERE job = 1")
    _run(stores, f"UPDATE {TABLE} SET updated = now() - interval '1 minute'")
    _run(stores, f"UPDATE {LOG_TABLE} SET created = now() - interval '3 days' WHERE entrypoint = 'read:1'")
    assert stores.db.write(pgqueuer_queue.look_after) == 0
    assert (_count(stores), _count(stores, LOG_TABLE)) == (1, 1)
    assert _numbers(_deliver(stores, 2)) == [0]


def test_only_one_process_at_a_time_looks_after_the_queue(stores: Stores) -> None:
    other = open_stores(Settings(data=stores.spool.parent, database_url=stores.db.url))
    try:
        found = stores.db.write(
            lambda conn: (pgqueuer_queue.look_after(conn), other.db.write(pgqueuer_queue.look_after))
        )
    finally:
        other.close()
    assert found == (0, None)


def test_without_its_tables_nothing_is_accepted_and_nothing_is_lost(stores: Stores) -> None:
    queued_units.add_job(stores, 1, 2)
    _run(stores, f"DROP TABLE {TABLE}")
    with pytest.raises(StorageError, match="lightwell data migrate"):
        _deliver(stores)
    with pytest.raises(StorageError, match="lightwell data migrate"):
        queued_units.add_job(stores, 2, 1)
    assert _count(stores, "unit") == 2
    assert migrate(stores.db)
    assert stores.db.write(pgqueuer_queue.look_after) == 2
    assert _numbers(_deliver(stores)) == [0, 1]
