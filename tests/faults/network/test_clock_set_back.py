"""The clock is set back, by years: what was to be later, as written before, keeps nobody waiting.

Rows that bear times of the future are what a clock leaves that was wrong when a machine started.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Connection, insert, text, update

from lightwell.clock import Clock
from lightwell.domain.imports.units import Unit
from lightwell.domain.states import JobPhase
from lightwell.errors import LightwellError
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.background import gc_candidates, servers
from lightwell.stores.background.servers import Server
from lightwell.stores.backup import claim
from lightwell.stores.db import tables
from lightwell.stores.db.pgqueuer_schema import TABLE
from lightwell.stores.db.server_tables import installation
from lightwell.stores.integrity import runs
from lightwell.stores.jobs import unit_claims, units
from lightwell.stores.queues import pgqueuer_queue
from lightwell.work.imports.pauses import BACKOFF, Pauses
from tests.support import queued_units

YEARS_MS = 10 * 365 * 86_400_000
READ = JobPhase.READ


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    made = open_stores(Settings(data=tmp_path, database_url=database_url))
    yield made
    made.close()


def test_takes_a_unit_that_was_to_wait(stores: Stores) -> None:
    queued_units.add_job(stores, 1, 1)

    def take(name: str) -> list[int]:
        def work(conn: Connection) -> list[int]:
            taken = unit_claims.claim(conn, 1, READ, name, 1)
            for token in taken:
                units.release(conn, token, delay)
            return [token.unit.number for token in taken]

        return stores.db.write(work)

    delay = BACKOFF.longest_ms
    assert (take("a"), take("b")) == ([0], [])
    stores.db.write(lambda conn: conn.execute(update(tables.unit).values(not_before=0)))
    delay = YEARS_MS
    assert (take("c"), take("d")) == ([0], [0])
    with stores.db.read() as conn:
        (job,) = unit_claims.open_jobs(conn)
    assert READ in job.ready


def test_takes_a_unit_over_whose_holder_died(stores: Stores) -> None:
    queued_units.add_job(stores, 1, 1)
    stores.db.write(lambda conn: unit_claims.claim(conn, 1, READ, "dead", 1))
    far = tables.unit.c.claimed_until + YEARS_MS
    stores.db.write(lambda conn: conn.execute(update(tables.unit).values(claimed_until=far)))
    with stores.db.read() as conn:
        assert [job.ended for job in unit_claims.open_jobs(conn)] == [True]
    assert stores.db.write(unit_claims.take_back) == 1
    # A claim that was made since is nobody else's.
    assert stores.db.write(lambda conn: unit_claims.claim(conn, 1, READ, "a", 1))
    assert stores.db.write(unit_claims.take_back) == 0


def test_delivers_what_pgqueuer_would_hold_back(migrated_postgres_url: str, tmp_path: Path) -> None:
    stores = open_stores(Settings(data=tmp_path, database_url=migrated_postgres_url))

    def deliver() -> list[Unit]:
        me = UUID(int=1)
        entries = stores.db.write(lambda conn: pgqueuer_queue.deliver(conn, 1, READ, me, 9))
        return [entry.unit for entry in entries]

    queued_units.add_job(stores, 1, 2)
    assert len(deliver()) == 2
    ahead = "heartbeat = heartbeat + interval '10 years', execute_after = execute_after + interval '10 years'"
    stores.db.write(lambda conn: conn.execute(text(f"UPDATE {TABLE} SET {ahead}")))
    stores.db.write(pgqueuer_queue.look_after)
    old = f"UPDATE {TABLE} SET heartbeat = heartbeat - interval '5 seconds'"  # for which its holder is silent
    stores.db.write(lambda conn: conn.execute(text(old)))
    assert deliver() == [Unit(1, READ, 0), Unit(1, READ, 1)]
    stores.close()


def test_ends_a_pause() -> None:
    clock = _Set(10**12)
    pauses = Pauses(clock)
    pauses.begin(1, "a job", "S3 is away")
    clock.time -= YEARS_MS
    assert not pauses.waiting()
    assert pauses.begin(1, "a job", "S3 is away") <= clock.time + BACKOFF.longest_ms
    assert pauses.waiting() == {1}


def test_collects_searches_and_verifies_again(stores: Stores) -> None:
    now, turn = Clock().now(), 120_000

    def claims(at: int) -> tuple[bool, int | None]:
        def work(conn: Connection) -> tuple[bool, int | None]:
            collects = gc_candidates.claim_collection(conn, at, at + turn, 0)
            return collects, gc_candidates.claim_strays(conn, at, 60_000)

        return stores.db.write(work)

    assert claims(now + YEARS_MS) == (True, 0)
    assert claims(now + YEARS_MS) == (False, None)
    assert claims(now) == (True, 1)
    assert claims(now) == (False, None)

    ends = {1: now - 5000, 2: now + YEARS_MS}
    rows = [
        {"key": key, "mode": "all", "started_at": at, "seen_at": at, "finished_at": at, "progress": "{}"}
        for key, at in ends.items()
    ]
    stores.db.write(lambda conn: conn.execute(insert(tables.integrity_run), rows))
    with stores.db.read() as conn:
        assert runs.last_finished(conn, ("all",), now) == now - 5000


def test_lets_a_backup_begin_after_one_that_was_killed(stores: Stores) -> None:
    stores.db.write(lambda conn: claim.take(conn, "killed"))
    with pytest.raises(LightwellError, match="Another backup"):
        stores.db.write(lambda conn: claim.take(conn, "next"))
    value = f"{Clock().now() + YEARS_MS} killed holds"
    mine = update(installation).where(installation.c.name == "backup").values(value=value)
    stores.db.write(lambda conn: conn.execute(mine))
    with stores.db.read() as conn:
        assert claim.is_held(conn)  # if it does run after all, nothing that it needs is removed
    stores.db.write(lambda conn: claim.take(conn, "next"))
    assert not stores.db.write(lambda conn: claim.renew(conn, "killed", holds=True))


def test_takes_no_server_for_living_that_was_seen_in_the_future(database_url: str, tmp_path: Path) -> None:
    stores = open_stores(Settings(data=tmp_path, database_url=database_url))
    a, b = Server("aaaa", "a (/a)", "run"), Server("bbbb", "b (/b)", "run")
    for one in (a, b):
        stores.db.write(lambda conn, one=one: servers.register(conn, one, "AKIA", changes_root=False))  # type: ignore[misc]
    ahead = update(tables.server).where(tables.server.c.node == "bbbb")
    ahead = ahead.values(seen_at=tables.server.c.seen_at + YEARS_MS)
    with stores.db.read() as conn:
        assert servers.others(conn, a) == ["b (/b)"]
    stores.db.write(lambda conn: conn.execute(ahead))
    with stores.db.read() as conn:
        assert servers.others(conn, a) == []
    stores.close()


class _Set(Clock):
    """A clock that says what it is set to."""

    def __init__(self, time: int) -> None:
        self.time = time

    def now(self) -> int:
        return self.time
