"""kill -9 of any process at any moment of an import, then a restart: the job finishes by itself."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select, text

from lightwell.stores.db import tables
from tests.faults import trails
from tests.faults.engine_process import EngineProcess
from tests.support import invariants, queued_units
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing, importing


def _gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(p) and psutil.Process(p).status() != "zombie" for p in pids):
        assert time.monotonic() < deadline, "a codec worker outlives its engine"
        time.sleep(0.02)


@pytest.fixture
def killable(tmp_path: Path, database_url: str) -> Iterator[Importing]:
    made = importing(tmp_path / "data", database_url)
    _input(made)
    yield made
    made.close()


def _input(server: Importing) -> None:
    write_series(server.input / "a", 40, series="1", size=96)
    write_series(server.input / "b", 10, series="2", size=32, PatientID="P2")
    write(server.input / "c" / "again.dcm", ct(3, series="1", ImageComments="again"))
    (server.input / "d.txt").write_text("no DICOM")
    (server.input / "e.dcm").write_bytes((server.input / "a" / "0001.dcm").read_bytes()[:200])


def _check(server: Importing, id: str, *, decode: bool = True, jobs: int = 1) -> None:
    report = server.report(id)
    assert report.job.status == "COMPLETED"
    assert report.manifest["numberOfScannedFiles"] == 53
    assert report.manifest["numberOfImportedFiles"] == 51
    assert report.manifest["numberOfFilesWithServerError"] == 0
    assert sorted(report.messages()) == ["d.txt", "e.dcm"]
    assert len({line["inputFile"] for line in report.success}) == len(report.success) == 51
    invariants.check(server.stores, decode=decode)
    with server.stores.db.read() as conn:
        sets = conn.execute(select(func.count()).select_from(tables.image_set)).scalar()
        created = conn.execute(
            select(func.count())
            .select_from(tables.outbox)
            .where(tables.outbox.c.event.like("%Import Job Completed%"))
        ).scalar()
    assert (sets, created) == (2, jobs)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.endurance) for n in (2, 3))])
def test_finishes_after_kills_of_the_engine(killable: Importing, seed: int) -> None:
    """Ten kills a seed, at times that cover all phases of the job."""
    chance = random.Random(seed)
    job = killable.start()
    if killable.stores.db.dialect == "postgresql":
        _shorten_leases(killable)
    for _ in range(10):
        engine = EngineProcess(killable)
        engine.await_start()
        time.sleep(chance.uniform(0, 2.5))
        if engine.exit_code is not None:
            engine.finish()
            break
        _gone(engine.kill())
        if killable.stores.db.dialect == "postgresql":
            _shorten_leases(killable)
    EngineProcess(killable).finish()
    _check(killable, job.id)


def _shorten_leases(server: Importing) -> None:
    """Let the claims of the killed end now; on SQLite the next engine knows that it is alone."""
    from sqlalchemy import update

    ended = update(tables.unit).where(tables.unit.c.claim.is_not(None)).values(claimed_until=1)
    server.stores.db.write(lambda conn: conn.execute(ended))


def _blamed(server: Importing) -> int:
    with server.stores.db.read() as conn:
        return int(conn.execute(text(queued_units.BLAMED)).scalar() or 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2))
def test_finishes_while_its_workers_are_killed(killable: Importing, seed: int) -> None:
    chance = random.Random(seed)
    write_series(killable.input / "a", 40, series="1", size=1000)  # it takes a while to read
    for jobs in range(1, 6):
        job = killable.start()
        if _kills_workers(killable, chance):
            _check(killable, job.id, jobs=jobs)
            return
        # It was done before this process, which has to wait for its turn, came to look.
    raise AssertionError("no worker was killed")


def _kills_workers(server: Importing, chance: random.Random) -> int:
    """How many workers of an engine were killed while it did all that there was to do."""
    engine = EngineProcess(server, workers=2)
    kills, killed = 0, 0
    known: set[int] = set()
    while engine.exit_code is None and kills < 6:
        time.sleep(chance.uniform(0.2, 1.2))
        running = set(engine.workers())
        # The last death is written down once another worker has come, and at the same file one more would
        # fail it.
        if killed in running or running <= known or _blamed(server):
            continue
        killed, known = min(running), running
        with contextlib.suppress(ProcessLookupError):
            os.kill(killed, signal.SIGKILL)
            kills += 1
    engine.finish()
    return kills


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "step"),
    [
        *(("sqlite", 2), ("postgresql", 4)),
        *(pytest.param(kind, 1, marks=pytest.mark.endurance) for kind in ("sqlite", "postgresql")),
    ],
)
def test_finishes_after_a_kill_at_each_transaction(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, step: int, when: str
) -> None:
    """The engine dies right before, or right after, its n-th transaction; another finishes the job.

    With a step of two every other transaction has a kill before it, and the rest have one after it. The audit
    trail has each version and the end of each job once, whenever that was.
    """
    url = request.getfixturevalue(
        {"sqlite": "migrated_sqlite_url", "postgresql": "migrated_postgres_url"}[kind]
    )
    server = importing(tmp_path / "data", url)
    _input(server)
    number = 1 - step if when == "before" else 1 - step + step // 2
    while True:
        number += step
        job = server.start()
        engine = EngineProcess(server, kill_at=number, when=when, how="trail")
        output = engine.output()
        if output.endswith("done\n"):
            break
        assert engine.exit_code == -signal.SIGKILL
        if kind == "postgresql":
            _shorten_leases(server)
        EngineProcess(server, how="trail").finish()
        assert server.report(job.id).manifest["numberOfImportedFiles"] == 51
        invariants.check(server.stores)
    assert number > 15
    trails.check(server)
    server.close()


@pytest.mark.parametrize("number", [1, 2])
def test_what_a_killed_engine_has_committed_is_on_record(killable: Importing, number: int) -> None:
    """It dies between a commit and the record of it: of the image sets, and of the end of the job."""
    killable.start()
    engine = EngineProcess(killable, kill_at=number, when="unrecorded", how="trail")
    engine.output()
    assert engine.exit_code == -signal.SIGKILL
    owed = set(trails.owed(killable))
    if killable.stores.db.dialect == "postgresql":
        _shorten_leases(killable)
    EngineProcess(killable, how="trail").finish()
    recovered = trails.check(killable)
    # Of the first of two commits the trail may have had the record already; then it is not there twice.
    ids = {each.id for each in recovered}
    assert ids <= owed and 1 <= len(ids) <= number
    assert all(0 < each.at <= each.recovered for each in recovered)


@pytest.mark.slow
def test_resumes_when_claims_end(killable: Importing) -> None:
    """Another engine takes over the work of a killed one once its lease ends, without any help."""
    if killable.stores.db.dialect != "postgresql":
        pytest.skip("on SQLite the one engine takes over at once")
    job = killable.start()
    engine = EngineProcess(killable)
    while not engine.workers():
        time.sleep(0.05)
    time.sleep(0.5)
    engine.kill()
    EngineProcess(killable).finish()
    _check(killable, job.id)


@pytest.mark.slow
def test_lets_two_engines_share_a_job(tmp_path: Path, migrated_postgres_url: str) -> None:
    server = importing(tmp_path / "data", migrated_postgres_url)
    _input(server)
    jobs = [server.start(), server.start()]
    engines = [EngineProcess(server), EngineProcess(server)]
    for engine in engines:
        engine.finish()
    for job in jobs:
        assert server.report(job.id).manifest["numberOfImportedFiles"] == 51
    invariants.check(server.stores)
    server.close()


def test_allows_one_engine_per_data_folder(sqlite_server: Importing) -> None:
    from lightwell.work.engine_lock import EngineLock

    with EngineLock(sqlite_server.settings.data) as lock:
        assert lock.take()
        engine = EngineProcess(sqlite_server)
        output = engine.output(60)
        assert engine.exit_code == 1
        assert "another engine" in output


@pytest.fixture
def sqlite_server(tmp_path: Path, migrated_sqlite_url: str) -> Iterator[Importing]:
    made = importing(tmp_path / "data", migrated_sqlite_url)
    yield made
    made.close()
