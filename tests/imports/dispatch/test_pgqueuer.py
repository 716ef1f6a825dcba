"""What PgQueuer may do to units, and what it may suffer, without any being lost or done twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from lightwell.clock import Clock, Ids
from lightwell.domain.imports.units import Token
from lightwell.domain.states import JobPhase, UnitState
from lightwell.errors import ConfigurationError, StorageError
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.db.pgqueuer_schema import TABLE, at_once, queries
from lightwell.stores.db.schema import migrate
from lightwell.stores.jobs import import_jobs, staging
from lightwell.stores.jobs.staging import WaitingSeries
from lightwell.work.engines.pgqueuer_dispatch import PgQueuerDispatch
from lightwell.work.engines.table_dispatch import TableDispatch
from lightwell.work.imports.import_phases import ImportPhases
from tests.imports.dispatch.conftest import Make
from tests.support import queued_units

READ = (JobPhase.READ,)


@pytest.fixture
def engine() -> str:
    return "pgqueuer"


def _run(stores: Stores, statement: str) -> None:
    stores.db.write(lambda conn: conn.execute(text(statement)))


def _waiting(stores: Stores) -> int:
    with stores.db.read() as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {TABLE}")).scalar() or 0)


def _take(dispatch: TableDispatch) -> Token:
    deadline = time.monotonic() + 120
    while (token := dispatch.take(READ)) is None:
        assert time.monotonic() < deadline, "nothing was delivered"
        dispatch.wait(0.2)
    return token


def _until(what: str, is_so: object) -> None:
    assert callable(is_so)
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline, f"not so: {what}"
        time.sleep(0.05)


def test_is_the_queue_on_postgresql_unless_something_else_is_set(stores: Stores, make: Make) -> None:
    assert isinstance(make("one"), PgQueuerDispatch)
    assert Settings().engine == "auto"


def test_needs_postgresql(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="LIGHTWELL_DATABASE_URL"):
        open_stores(Settings(data=tmp_path, engine="pgqueuer"))


def test_keeps_one_of_two_results_of_a_unit_that_was_delivered_twice(stores: Stores, make: Make) -> None:
    queued_units.add_job(stores, 1, 1)
    stores.db.write(lambda conn: at_once(queries(conn).enqueue(["read:1"], [b"0"], [0])))
    one, two = make("one"), make("two")
    first = _take(one)
    # Its row says that somebody works at it, so that nobody asks, were it not for the second entry.
    second = two._claim(two._jobs[0], JobPhase.READ, None) if two._jobs else None
    while second is None:
        two._look()
        second = two._claim(two._jobs[0], JobPhase.READ, None)
    assert second.unit == first.unit and second.claim != first.claim
    assert not stores.db.write(lambda conn: one.done(conn, first))
    assert stores.db.write(lambda conn: two.done(conn, second))
    assert queued_units.states(stores) == [(0, UnitState.DONE)]
    _until("both entries are gone", lambda: _waiting(stores) == 0 or one.take(READ) is not None)
    assert queued_units.states(stores) == [(0, UnitState.DONE)]


@pytest.mark.usefixtures("claims_hold")
def test_what_is_done_leaves_the_queue(stores: Stores, make: Make) -> None:
    one = make("one")
    queued_units.add_job(stores, 1, 3)
    for _ in range(3):
        token = _take(one)
        assert stores.db.write(lambda conn, token=token: one.done(conn, token))  # type: ignore[misc]
    _until("the queue is empty", lambda: _waiting(stores) == 0)


def _phases(stores: Stores, dispatch: TableDispatch) -> ImportPhases:
    return ImportPhases(stores, Settings(), Clock(), Ids(), lambda name, value, by: None, dispatch=dispatch)


@pytest.mark.usefixtures("claims_hold")
def test_so_does_the_unit_with_which_a_job_ends(stores: Stores, make: Make) -> None:
    one = make("one")
    queued_units.add_job(stores, 1, 1)
    token = _take(one)
    with stores.db.read() as conn:
        job = import_jobs.get(conn, 1)
    assert job is not None
    _phases(stores, one).fail(job, "d", token, "why")
    assert queued_units.states(stores) == []
    _until("the queue is empty", lambda: _waiting(stores) == 0)
    _until("nothing is renewed for ever", lambda: not one._held)


@pytest.mark.usefixtures("claims_hold")
def test_a_job_is_not_read_before_all_of_it_is_listed(
    stores: Stores, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make("one")
    queued_units.add_job(stores, 1, 1)
    token = _take(one)
    assert stores.db.write(lambda conn: one.done(conn, token))
    _run(stores, "UPDATE import_job SET phase = 'list'")

    def meanwhile(conn: Connection, key: int) -> list[WaitingSeries]:
        _run(stores, "UPDATE import_job SET phase = 'read'")
        return []  # as it saw them before the last were listed

    monkeypatch.setattr(staging, "waiting_series", meanwhile)
    _phases(stores, one).advance(1, JobPhase.READ)
    with stores.db.read() as conn:
        assert import_jobs.is_in(conn, 1, JobPhase.LIST)


@pytest.mark.usefixtures("claims_hold")
def test_finds_what_was_lost_without_being_told(stores: Stores, make: Make) -> None:
    one = make("one")
    queued_units.add_job(stores, 1, 2)
    token = _take(one)
    _run(stores, f"TRUNCATE {TABLE}")
    other = _take(one)
    assert {token.unit.number, other.unit.number} == {0, 1}
    for each in (token, other):
        assert stores.db.write(lambda conn, each=each: one.done(conn, each))  # type: ignore[misc]
    _until("the queue is empty", lambda: _waiting(stores) == 0)


@pytest.mark.usefixtures("claims_hold")
def test_waits_while_its_tables_are_missing_and_goes_on_with_new_ones(stores: Stores, make: Make) -> None:
    one = make("one")
    queued_units.add_job(stores, 1, 2)
    token = _take(one)
    _run(stores, f"DROP TABLE {TABLE}")
    with pytest.raises(StorageError, match="lightwell data migrate"):
        while True:
            one.take(READ)
            one.wait(0.2)
    # What was delivered before is kept all the same.
    assert stores.db.write(lambda conn: one.done(conn, token))
    assert migrate(stores.db)
    again = _take(one)
    assert again.unit.number == 1 - token.unit.number
    assert stores.db.write(lambda conn: one.done(conn, again))
    assert queued_units.states(stores) == [(0, UnitState.DONE), (1, UnitState.DONE)]
