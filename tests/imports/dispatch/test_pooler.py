"""Import jobs behind PgBouncer in transaction mode, where LISTEN works past it only."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import select

from lightwell.domain.states import JobPhase
from lightwell.stores.db.tables import unit
from lightwell.work.engines.choice import make_dispatch
from tests.support import invariants, queued_units, services
from tests.support.ct_files import write_series
from tests.support.imports import importing

READ = (JobPhase.READ,)


@pytest.mark.parametrize("engine", ["pgqueuer", "table"])
@pytest.mark.parametrize("is_told", [False, True], ids=["asking", "told"])
def test_works_through_a_pooler_and_takes_up_what_a_dead_worker_had(
    engine: str, migrated_postgres_url: str, tmp_path: Path, *, is_told: bool
) -> None:
    pooler = services.pgbouncer(migrated_postgres_url, default_pool_size=4, max_prepared_statements=0)
    with services.wanted(pooler) as url:
        more = {"database_direct_url": migrated_postgres_url} if is_told else {}
        server = importing(tmp_path / "data", url, engine=engine, database_pooler="transaction", **more)
        queued_units.add_job(server.stores, 1, 1)
        dead, alive = (make_dispatch(engine, server.stores, name) for name in ("dead", "alive"))
        first = dead.take(READ)  # and is never heard of again
        assert first is not None
        with server.stores.db.read() as conn:
            before = conn.execute(select(unit.c.claimed_at)).scalar_one()
        alive.open()
        try:
            end = time.monotonic() + 60
            while (again := alive.take(READ)) is None:
                assert time.monotonic() < end
                alive.wait(5)
            assert alive._wakeups is not None and alive._wakeups.is_heard is is_told
            with server.stores.db.read() as conn:
                after = conn.execute(select(unit.c.claimed_at)).scalar_one()
            assert again.unit == first.unit and 3_900 <= after - before <= 60_000
            assert server.stores.db.write(lambda conn: alive.done(conn, again))
            assert not server.stores.db.write(lambda conn: dead.done(conn, first))
        finally:
            alive.close()
        server.stores.db.write(queued_units.remove_jobs)
        write_series(server.input, 70)
        assert server.run().manifest["numberOfImportedFiles"] == 70
        invariants.check(server.stores)
        server.close()
