"""Two machines' engines import real files from one PostgreSQL database; one of them dies in the middle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from lightwell.domain.states import UnitState
from lightwell.stores.db.tables import unit
from tests.faults.engine_process import EngineProcess
from tests.support import invariants
from tests.support.ct_files import write_series
from tests.support.imports import Importing, importing

FILES = 330


@pytest.fixture(params=["pgqueuer", "table"])
def server(request: pytest.FixtureRequest, tmp_path: Path, migrated_postgres_url: str) -> Iterator[Importing]:
    made = importing(tmp_path / "data", migrated_postgres_url, engine=request.param)
    write_series(made.input / "a", FILES, size=16)
    yield made
    made.close()


def _holders(server: Importing) -> set[int]:
    """The process ids in the claims of units that are worked at; see `work.engine`."""
    with server.stores.db.read() as conn:
        claims = conn.execute(select(unit.c.claim).where(unit.c.state == UnitState.CLAIMED)).scalars()
        return {int(claim.split(":")[1]) for claim in claims if claim}


def test_what_a_killed_engine_had_is_done_by_the_other_once(server: Importing) -> None:
    job = server.start()
    engines = {each.pid: each for each in (EngineProcess(server), EngineProcess(server))}
    deadline = time.monotonic() + 120
    while not (busy := _holders(server) & set(engines)):
        assert time.monotonic() < deadline, "no engine has taken a unit"
        time.sleep(0.005)
    victim = engines.pop(busy.pop())
    victim.kill()
    (other,) = engines.values()
    other.finish()
    report = server.report(job.id)
    assert report.job.status == "COMPLETED"
    assert report.manifest["numberOfScannedFiles"] == report.manifest["numberOfImportedFiles"] == FILES
    assert len({line["inputFile"] for line in report.success}) == len(report.success) == FILES
    invariants.check(server.stores, decode=False)
