"""Jobs and their units in the tables: claims, leases, phases, and how jobs end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Connection, delete, select, update

from lightwell.clock import Ids
from lightwell.domain.imports.jobs import Chunk, InputFile, Job, Outcome
from lightwell.domain.imports.units import Token, Unit
from lightwell.domain.states import JobPhase, JobStatus, OutcomeKind, UnitState
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import chunk, unit
from lightwell.stores.jobs import chunks, import_jobs, staging, transitions, unit_claims, units
from lightwell.stores.jobs.staging import WaitingSeries
from lightwell.stores.jobs.units import NewUnit

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
    if phase in (JobPhase.LIST, JobPhase.REPORT):
        units.add(conn, transitions.queued(job, phase), [NewUnit(0)])
    return job


def _reading(db: Database, count: int, *, at: int = NOW, phase: JobPhase = JobPhase.READ) -> Job:
    def work(conn: Connection) -> Job:
        job = _job(conn, phase=phase, at=at, scanned=count)
        rows = [(n, n, 1, chunks.compress_files([InputFile(n, f"f{n}", None, 1)])) for n in range(count)]
        chunks.add(conn, transitions.queued(job, JobPhase.READ), rows)
        return job

    return db.write(work)


def _claim(db: Database, job: Job, phase: JobPhase, name: str = "a", first: int = 0) -> Token | None:
    return _one(db.write(lambda conn: unit_claims.claim(conn, job.key, phase, name, 1, first)))


def _one(tokens: Sequence[Token]) -> Token | None:
    assert len(tokens) <= 1
    return tokens[0] if tokens else None


def _stamped(db: Database, one: Unit, name: str) -> Token | None:
    return db.write(lambda conn: units.stamp(conn, one.job, one.phase, [one.number], name)).get(one.number)


def _taken(db: Database, job: Job, phase: JobPhase, name: str = "a") -> Token:
    token = _claim(db, job, phase, name)
    assert token is not None
    return token


def _is_done(db: Database, token: Token, dead: str | None = None) -> bool:
    return db.write(lambda conn: units.close(conn, token, dead))


def _pass(db: Database, ms: int) -> None:
    """Let the claims and delays of all units be so much older."""
    values = {"claimed_until": unit.c.claimed_until - ms, "not_before": unit.c.not_before - ms}
    db.write(lambda conn: conn.execute(update(unit).values(values)))


def _read_of(db: Database, job: Job) -> int:
    with db.read() as conn:
        found = import_jobs.get(conn, job.key)
        assert found is not None
        (shown,) = import_jobs.with_progress(conn, [found])
    return shown.read


def test_gives_out_units_in_order_and_once(database: Database) -> None:
    job = _reading(database, 3)
    taken = [_claim(database, job, JobPhase.READ, f"c{n}") for n in range(4)]
    assert [t.unit.number for t in taken if t] == [0, 1, 2]
    assert taken[3] is None and taken[1] is not None
    with database.read() as conn:
        chunk = Chunk(job.key, 1, (InputFile(1, "f1", None, 1),), {})
        assert chunks.get(conn, job.key, [1, 9]) == {1: chunk}
        assert chunks.get(conn, job.key, [9]) == {}


def test_passes_over_the_units_that_others_are_about_to_take(migrated_postgres_url: str) -> None:
    database, other = Database(migrated_postgres_url), Database(migrated_postgres_url)
    job = _reading(database, 2)

    def while_open(conn: Connection) -> tuple[Token | None, Token | None, Token | None]:
        first = _one(unit_claims.claim(conn, job.key, JobPhase.READ, "a", 1))
        return first, _claim(other, job, JobPhase.READ, "b"), _claim(other, job, JobPhase.READ, "c")

    numbers = [None if token is None else token.unit.number for token in database.write(while_open)]
    assert numbers == [0, 1, None]
    database.close()
    other.close()


def test_takes_some_units_at_once_and_gives_back_what_is_not_begun(database: Database) -> None:
    job = _reading(database, 5)
    some = database.write(lambda conn: unit_claims.claim(conn, job.key, JobPhase.READ, "a", 3))
    assert [token.unit.number for token in some] == [0, 1, 2]
    with database.read() as conn:
        (found,) = unit_claims.open_jobs(conn)
        assert unit_claims.any_open_job(conn)
        assert (found.claimed, found.waiting) == (3, 2)
    assert _is_done(database, some[0])
    database.write(lambda conn: unit_claims.give_back(conn, some))
    assert not _is_done(database, some[1])
    rest = database.write(lambda conn: unit_claims.claim(conn, job.key, JobPhase.READ, "b", 9))
    assert [(token.unit.number, token.tries) for token in rest] == [(1, 1), (2, 1), (3, 1), (4, 1)]


def test_leaves_a_unit_that_was_given_back_alone_until_its_time(database: Database) -> None:
    job = database.write(_job)
    token = _taken(database, job, JobPhase.LIST)
    assert database.write(lambda conn: units.release(conn, token, 60_000))
    assert _claim(database, job, JobPhase.LIST) is None
    _pass(database, 60_001)
    again = _taken(database, job, JobPhase.LIST, "b")
    assert again.tries == 2


def test_gives_a_unit_to_another_when_its_claim_has_ended(database: Database) -> None:
    job = _reading(database, 1)
    first = _taken(database, job, JobPhase.READ)
    assert database.write(unit_claims.take_back) == 0
    _pass(database, units.LEASE_MS[database.dialect] - 1000)
    assert database.write(lambda conn: unit_claims.renew(conn, ["a", "z"])) == {"a"}
    _pass(database, units.LEASE_MS[database.dialect] - 1000)
    assert database.write(unit_claims.take_back) == 0, "it was renewed"
    _pass(database, 1001)
    with database.read() as conn:
        assert [job.ended for job in unit_claims.open_jobs(conn)] == [True]
    assert database.write(unit_claims.take_back) == 1
    second = _taken(database, job, JobPhase.READ, "b")
    assert not database.write(lambda conn: units.hold(conn, first))
    assert not _is_done(database, first)
    assert not database.write(lambda conn: units.release(conn, first))
    assert database.write(lambda conn: units.hold(conn, second))
    assert _is_done(database, second) and not _is_done(database, second)


def test_lets_the_last_who_was_given_a_unit_finish_it(database: Database) -> None:
    """As queues do that know themselves whose worker is dead."""
    job = _reading(database, 2)
    one, other = Unit(job.key, JobPhase.READ, 0), Unit(job.key, JobPhase.READ, 1)
    first = _stamped(database, one, "a")
    second = _stamped(database, one, "b")
    assert first is not None and second is not None and second.tries == 2
    _pass(database, 10**9)
    assert database.write(lambda conn: unit_claims.renew(conn, {"a", "b"})) == {"b"}
    assert database.write(unit_claims.take_back) == 0
    assert not _is_done(database, first)
    with database.read() as conn:
        assert units.ended(conn, [one]) == set() and units.open_numbers(conn, job.key, JobPhase.READ) == [
            0,
            1,
        ]
    assert _is_done(database, second)
    assert _stamped(database, one, "c") is None
    assert _stamped(database, other, "d") is not None
    _pass(database, 10**9)
    assert database.write(unit_claims.take_back) == 1, "its queue does not renew it any more"
    gone = Unit(job.key, JobPhase.READ, 7)
    with database.read() as conn:
        assert units.ended(conn, [one, gone]) == {one, gone}


def test_remembers_which_file_each_worker_died_of(database: Database) -> None:
    job = _reading(database, 1)
    one = _taken(database, job, JobPhase.READ).unit
    database.write(lambda conn: chunks.record_deaths(conn, one, {"0": ["SIGSEGV"]}))
    with database.read() as conn:
        found = chunks.get(conn, one.job, [one.number])[one.number]
    assert found is not None and found.died(0) == 1


def test_lists_what_waits(database: Database) -> None:
    old, new = _reading(database, 2, at=NOW), _reading(database, 1, at=NOW + 1)
    _taken(database, new, JobPhase.READ)
    with database.read() as conn:
        found = {job.key: job for job in unit_claims.open_jobs(conn)}
        assert list(found) == import_jobs.unfinished(conn) == [old.key, new.key]
    assert (found[old.key].ready, found[old.key].claimed) == (frozenset({JobPhase.READ}), 0)
    assert (found[new.key].ready, found[new.key].claimed) == (frozenset(), 1)


@pytest.mark.parametrize("listed_first", [True, False])
def test_goes_on_to_the_commit_when_all_is_listed_and_read(database: Database, listed_first: bool) -> None:
    job = _reading(database, 2, phase=JobPhase.LIST)
    series = [WaitingSeries("1.2", "1.2.3", 0, 2)]

    def is_over() -> bool:
        return database.write(lambda conn: transitions.end_reading(conn, job.key, series, units.announce))

    def end_listing() -> None:
        token = _taken(database, job, JobPhase.LIST, "lister")

        def work(conn: Connection) -> None:
            assert units.close(conn, token)
            transitions.end_listing(conn, job.key, 2)

        database.write(work)

    steps: list[Callable[[], object]] = [
        lambda: _is_done(database, _taken(database, job, JobPhase.READ, "a")),
        lambda: _is_done(database, _taken(database, job, JobPhase.READ, "b")),
    ]
    steps.insert(0 if listed_first else 2, end_listing)
    for step in steps:
        assert not is_over()
        step()
    with database.read() as conn:
        assert transitions.standing_still(conn) == [(job.key, JobPhase.READ)]
    assert _read_of(database, job) == 2
    assert is_over() and not is_over()
    assert _read_of(database, job) == 2
    token = _taken(database, job, JobPhase.COMMIT)
    with database.read() as conn:
        assert transitions.standing_still(conn) == []
        content = units.content(conn, token.unit)
    assert content is not None and transitions.unpack_series(content) == [("1.2", "1.2.3")]
    over = database.write(lambda conn: transitions.end_committing(conn, job.key, units.announce))
    assert not over
    assert _is_done(database, token)
    assert database.write(lambda conn: transitions.end_committing(conn, job.key, units.announce))
    assert _taken(database, job, JobPhase.REPORT)


@pytest.mark.parametrize("phase", [JobPhase.LIST, JobPhase.REPORT])
def test_gives_a_job_that_has_no_unit_one(database: Database, phase: JobPhase) -> None:
    job = database.write(lambda conn: _job(conn, phase=phase))
    database.write(lambda conn: conn.execute(delete(unit)))

    def begin() -> bool:
        return database.write(lambda conn: transitions.begin_phase(conn, job.key, phase, units.announce))

    with database.read() as conn:
        assert transitions.standing_still(conn) == [(job.key, phase)]
    assert begin() and not begin()
    assert _taken(database, job, phase)
    assert not begin()


def test_has_nothing_to_commit_where_nothing_was_read(database: Database) -> None:
    job = database.write(lambda conn: _job(conn, phase=JobPhase.READ))
    assert database.write(lambda conn: transitions.end_reading(conn, job.key, [], units.announce))
    assert _taken(database, job, JobPhase.REPORT)


def test_commits_whole_studies_together() -> None:
    small = [WaitingSeries(f"1.{n}", f"1.{n}.1", n, 1) for n in range(70)]
    late = WaitingSeries("1.0", "1.0.2", 99, 1)
    runs = list(transitions.studies_together([*small, late]))
    assert [len(run) for run in runs] == [32, 32, 7]
    assert runs[0][:2] == [small[0], late]
    big = [WaitingSeries("2", f"2.{n}", n, 700) for n in range(3)]
    assert [len(run) for run in transitions.studies_together([small[0], *big, small[1]])] == [1, 3, 1]


def test_forgets_an_earlier_listing(database: Database) -> None:
    job = _reading(database, 2, phase=JobPhase.LIST)
    reader = _taken(database, job, JobPhase.READ, "reader")
    refused = Outcome(5, "f5", OutcomeKind.CUSTOMER, "x", "y")
    database.write(lambda conn: staging.add_outcomes(conn, job.key, [refused]))
    assert database.write(lambda conn: transitions.begin_listing(conn, job.key))
    assert not database.write(lambda conn: transitions.begin_listing(conn, job.key)), "it was in progress"
    assert not _is_done(database, reader)
    with database.read() as conn:
        assert conn.execute(select(chunk.c.number)).all() == []
        assert staging.counts(conn, job.key).total == 0
        assert units.open_numbers(conn, job.key, JobPhase.LIST) == [0]


def test_drops_the_claims_of_dead_workers(database: Database) -> None:
    job, other = database.write(_job), _reading(database, 1)
    _taken(database, job, JobPhase.LIST, "dead")
    _taken(database, other, JobPhase.READ, "dead too")
    database.write(units.release_all)
    assert _claim(database, job, JobPhase.LIST, "new")
    assert _claim(database, other, JobPhase.READ, "new too")


def test_ends_a_job_once(database: Database) -> None:
    job = _reading(database, 2, phase=JobPhase.LIST)
    _is_done(database, _taken(database, job, JobPhase.READ))
    lister = _taken(database, job, JobPhase.LIST)

    def finish(conn: Connection) -> bool:
        return units.close(conn, lister) and transitions.finish(conn, job.key, JobStatus.FAILED, "why", NOW)

    assert database.write(finish)
    assert not database.write(finish)
    with database.read() as conn:
        assert import_jobs.unfinished(conn) == [] and unit_claims.open_jobs(conn) == []
        assert not unit_claims.any_open_job(conn)
        assert conn.execute(select(unit.c.number)).all() == conn.execute(select(chunk.c.number)).all() == []
    assert _read_of(database, job) == 1


def test_keeps_what_was_given_up(database: Database) -> None:
    job = _reading(database, 2)
    assert _is_done(database, _taken(database, job, JobPhase.READ), "the storage failed")
    assert _is_done(database, _taken(database, job, JobPhase.READ))
    assert _read_of(database, job) == 2
    assert database.write(lambda conn: transitions.end_reading(conn, job.key, [], units.announce))
    last = _taken(database, job, JobPhase.REPORT)
    assert _is_done(database, last)
    assert database.write(lambda conn: transitions.finish(conn, job.key, JobStatus.COMPLETED, None, NOW))
    with database.read() as conn:
        rows = conn.execute(select(unit.c.phase, unit.c.number, unit.c.state, unit.c.note)).all()
        assert [tuple(row) for row in rows] == [("read", 0, UnitState.DEAD, "the storage failed")]
        assert set(conn.execute(select(chunk.c.number)).scalars()) == {0, 1}
