"""Jobs and chunks in the tables: claims, leases, fairness and phases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from lightwell.clock import Ids
from lightwell.domain.imports.jobs import Chunk, InputFile, Job
from lightwell.domain.states import JobPhase, JobStatus
from lightwell.stores.db.database import Database
from lightwell.stores.jobs import chunks, import_jobs

_ids = Ids()
NOW = 1_000_000


def _job(conn: Connection, *, phase: JobPhase = JobPhase.LIST, at: int = NOW, **more: object) -> Job:
    job = Job(
        key=_ids.key(),
        id=_ids.id(),
        datastore=1,
        name=None,
        status=JobStatus.SUBMITTED,
        phase=phase,
        message=None,
        role_arn="arn",
        input_uri="s3://in/",
        output_uri="s3://out/",
        input_owner=None,
        configuration=None,
        source=None,
        caller="arn",
        submitted_at=at,
        ended_at=None,
        scanned=0,
        read=0,
    )
    job = replace(job, **more)  # type: ignore[arg-type]
    import_jobs.add(conn, job)
    return job


def _reading(db: Database, count: int, *, at: int = NOW) -> Job:
    def work(conn: Connection) -> Job:
        job = _job(conn, phase=JobPhase.READ, at=at)
        rows = [(n, n, 1, chunks.compress_files([InputFile(n, f"f{n}", None, 1)])) for n in range(count)]
        chunks.add(conn, job.key, rows)
        return job

    return db.write(work)


def _claim(db: Database, name: str) -> Chunk | None:
    return db.write(lambda conn: chunks.claim(conn, name, NOW, NOW + 10))


def test_lets_one_of_two_claim_a_phase(database: Database) -> None:
    job = database.write(_job)
    assert database.write(lambda c: import_jobs.claim(c, job.key, JobPhase.LIST, "a", NOW, NOW + 10))
    assert not database.write(lambda c: import_jobs.claim(c, job.key, JobPhase.LIST, "b", NOW, NOW + 10))
    with database.read() as conn:
        assert [w.is_claimable for w in import_jobs.unfinished(conn, NOW)] == [False]
        assert [w.is_claimable for w in import_jobs.unfinished(conn, NOW + 11)] == [True]
    assert database.write(lambda c: import_jobs.claim(c, job.key, JobPhase.LIST, "b", NOW + 11, NOW + 20))
    assert not database.write(lambda c: import_jobs.renew_claim(c, job.key, "a", NOW + 99))
    assert not database.write(lambda c: import_jobs.advance(c, job.key, "a", JobPhase.READ))
    assert database.write(lambda c: import_jobs.advance(c, job.key, "b", JobPhase.READ, scanned=3))


def test_leaves_a_released_job_alone_until_its_time(database: Database) -> None:
    job = database.write(_job)
    database.write(lambda c: import_jobs.claim(c, job.key, JobPhase.LIST, "a", NOW, NOW + 10))
    database.write(lambda c: import_jobs.release(c, job.key, "a", NOW + 500))
    assert not database.write(
        lambda c: import_jobs.claim(c, job.key, JobPhase.LIST, "b", NOW + 499, NOW + 600)
    )
    assert database.write(lambda c: import_jobs.claim(c, job.key, JobPhase.LIST, "b", NOW + 500, NOW + 600))


def test_gives_out_chunks_in_order_and_once(database: Database) -> None:
    _reading(database, 3)
    taken = [_claim(database, f"c{n}") for n in range(4)]
    assert [t.number for t in taken if t] == [0, 1, 2]
    assert taken[3] is None
    assert taken[1] is not None and taken[1].files == (InputFile(1, "f1", None, 1),)


def test_shares_workers_among_jobs(database: Database) -> None:
    first, second = _reading(database, 9, at=NOW), _reading(database, 2, at=NOW + 1)
    taken = [_claim(database, f"c{n}") for n in range(4)]
    assert [t.job for t in taken if t] == [first.key, second.key, first.key, second.key]


def test_gives_a_chunk_to_another_when_its_claim_has_ended(database: Database) -> None:
    job = _reading(database, 1)
    assert database.write(lambda c: chunks.claim(c, "a", NOW, NOW + 10))
    assert database.write(lambda c: chunks.renew_claims(c, ["a", "z"], NOW + 20)) == {"a"}
    assert database.write(lambda c: chunks.claim(c, "b", NOW + 20, NOW + 30)) is None
    assert database.write(lambda c: chunks.claim(c, "b", NOW + 21, NOW + 30))
    assert not database.write(lambda c: chunks.finish(c, job.key, 0, "a"))
    assert database.write(lambda c: chunks.finish(c, job.key, 0, "b"))


def test_remembers_which_file_each_worker_died_of(database: Database) -> None:
    job = _reading(database, 1)
    database.write(lambda c: chunks.claim(c, "a", NOW, NOW + 10))
    database.write(lambda c: chunks.release(c, job.key, 0, "a", {"0": ["SIGSEGV"]}, NOW + 50))
    with database.read() as conn:
        assert not chunks.any_waiting(conn, NOW + 49)
    chunk = database.write(lambda c: chunks.claim(c, "b", NOW + 50, NOW + 60))
    assert chunk is not None and chunk.died(0) == 1


def test_starts_the_commit_when_the_last_chunk_is_done(database: Database) -> None:
    job = _reading(database, 2)
    for name in ("a", "b"):
        _claim(database, name)

    def finish(conn: Connection, number: int, name: str) -> bool:
        assert chunks.finish(conn, job.key, number, name)
        import_jobs.add_read(conn, job.key, 1)
        return import_jobs.finish_reading(conn, job.key)

    assert not database.write(lambda c: finish(c, 1, "b"))
    assert database.write(lambda c: finish(c, 0, "a"))
    with database.read() as conn:
        found = import_jobs.get(conn, job.key)
    assert found is not None and (found.phase, found.read) == (JobPhase.COMMIT, 2)


def test_drops_the_claims_of_dead_workers(database: Database) -> None:
    job = database.write(_job)
    database.write(lambda c: import_jobs.claim(c, job.key, JobPhase.LIST, "dead", NOW, NOW + 10**9))
    _reading(database, 1)
    database.write(lambda c: chunks.claim(c, "dead", NOW, NOW + 10**9))
    database.write(import_jobs.release_all)
    assert database.write(lambda c: import_jobs.claim(c, job.key, JobPhase.LIST, "new", NOW, NOW + 10))
    assert database.write(lambda c: chunks.claim(c, "new", NOW, NOW + 10))


def test_ends_a_job_once(database: Database) -> None:
    job = _reading(database, 2)
    assert database.write(lambda c: import_jobs.claim(c, job.key, JobPhase.READ, "a", NOW, NOW + 10))
    assert database.write(lambda c: import_jobs.finish(c, job.key, "a", JobStatus.FAILED, "why", NOW))
    assert not database.write(lambda c: import_jobs.finish(c, job.key, "a", JobStatus.FAILED, "again", NOW))
    with database.read() as conn:
        assert not chunks.any_waiting(conn, NOW)
        assert import_jobs.unfinished(conn, NOW) == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_pages_through_jobs_of_one_moment(database: Database, count: int) -> None:
    made = [database.write(_job) for _ in range(count)]
    seen: list[int] = []
    after = None
    while True:
        with database.read() as conn:
            page = import_jobs.page(conn, 1, None, 2, after)
        if not page:
            break
        seen += [j.key for j in page]
        after = (page[-1].submitted_at, page[-1].key)
    assert seen == sorted((j.key for j in made), reverse=True)
