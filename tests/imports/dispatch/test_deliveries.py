"""What every engine promises: `work.dispatch`, on real PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection

from lightwell.domain.imports.units import Token, Unit
from lightwell.domain.states import JobPhase, UnitState
from lightwell.stores import Stores
from lightwell.stores.db.tables import unit
from lightwell.work.engines.choice import make_dispatch
from lightwell.work.engines.table_dispatch import TableDispatch
from tests.imports.dispatch.conftest import Make
from tests.support import queued_units

READ = (JobPhase.READ,)


def _take(dispatch: TableDispatch, seconds: float = 60.0, **how: object) -> Token:
    """The next unit, for which it may take a while."""
    deadline = time.monotonic() + seconds
    while True:
        token = dispatch.take(READ, **how)  # type: ignore[arg-type]
        if token is not None:
            return token
        assert time.monotonic() < deadline, "nothing was delivered"
        dispatch.wait(0.2)


def _done(stores: Stores, dispatch: TableDispatch, token: Token) -> bool:
    return stores.db.write(lambda conn: dispatch.done(conn, token))


def test_two_processes_share_the_units_and_each_is_done_once(stores: Stores, make: Make) -> None:
    queued_units.add_job(stores, 1, 60)
    done: Counter[int] = Counter()
    lock = threading.Lock()

    def work(dispatch: TableDispatch) -> None:
        while sum(done.values()) < 60:
            token = dispatch.take(READ)
            if token is None:
                dispatch.wait(0.2)
                continue
            is_done = _done(stores, dispatch, token)
            with lock:
                done[token.unit.number] += is_done

    two = [make("one"), make("two")]
    threads = [threading.Thread(target=work, args=(each,)) for each in two for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == Counter(dict.fromkeys(range(60), 1))
    assert queued_units.states(stores) == [(number, UnitState.DONE) for number in range(60)]


@pytest.mark.usefixtures("claims_hold")
def test_what_is_rolled_back_is_never_delivered(stores: Stores, make: Make) -> None:
    dispatch = make("one")
    job = queued_units.add_job(stores, 1, 1)

    def broken(conn: Connection) -> None:
        queued_units.add_units(stores, conn, job, [1, 2])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stores.db.write(broken)
    token = _take(dispatch)
    assert token.unit == Unit(1, JobPhase.READ, 0)
    assert dispatch.take(READ) is None


def test_a_waiting_process_is_woken(stores: Stores, make: Make) -> None:
    dispatch = make("one")
    assert dispatch.take(READ) is None
    queued_units.add_job(stores, 1, 1)
    dispatch.wait(20)
    assert dispatch.take(READ) is not None


@pytest.mark.usefixtures("claims_hold")
def test_a_delivery_is_undone_where_its_beginning_fails(stores: Stores, make: Make) -> None:
    one = make("one")
    queued_units.add_job(stores, 1, 1)

    def fail(conn: Connection, tokens: Sequence[Token]) -> Sequence[object]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _take(one, begin=fail)
    assert queued_units.states(stores) == [(0, UnitState.READY)]
    assert _done(stores, one, _take(one))


@pytest.mark.usefixtures("claims_hold")
def test_a_result_that_was_rolled_back_may_be_kept_later(stores: Stores, make: Make) -> None:
    one = make("one")
    queued_units.add_job(stores, 1, 1)
    token = _take(one)

    def broken(conn: Connection) -> None:
        assert one.done(conn, token)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stores.db.write(broken)
    time.sleep(0.2)  # what the engine takes for done would be gone by now
    assert queued_units.states(stores) == [(0, UnitState.CLAIMED)]
    assert _done(stores, one, token)
    assert not _done(stores, one, token)


@pytest.mark.usefixtures("claims_hold")
def test_a_unit_that_is_given_back_comes_after_its_delay(stores: Stores, make: Make) -> None:
    one, two = make("one"), make("two")
    queued_units.add_job(stores, 1, 1)
    token = _take(one)
    seen: list[bool] = []
    begun = time.monotonic()
    assert one.retry(token, 1500, lambda conn: seen.append(True))
    assert seen == [True]
    early = two.take(READ) or one.take(READ)
    assert early is None or time.monotonic() - begun >= 1.5
    again = early or _take(two)
    assert again.unit == token.unit and again.tries == 2
    assert not _done(stores, one, token)
    assert not one.retry(token)
    assert _done(stores, two, again)


@pytest.mark.usefixtures("claims_hold")
def test_a_paused_job_is_left_out(stores: Stores, make: Make) -> None:
    one = make("one")
    queued_units.add_job(stores, 1, 2)
    queued_units.add_job(stores, 2, 1)
    assert _take(one, leave_out={1}).unit.job == 2
    assert one.take(READ, {1}) is None
    assert _take(one).unit.job == 1


@pytest.mark.usefixtures("claims_hold")
def test_the_job_of_a_higher_priority_is_first_and_small_jobs_do_not_wait(stores: Stores, make: Make) -> None:
    queued_units.add_job(stores, 1, 30)
    queued_units.add_job(stores, 2, 2, datastore=2)
    queued_units.add_job(stores, 3, 2, priority=5)
    one = make("one")
    jobs = [_take(one).unit.job for _ in range(8)]
    assert jobs[:2] == [3, 3]
    assert Counter(jobs[2:6]) == {1: 2, 2: 2}


@pytest.mark.usefixtures("claims_hold")
def test_the_unit_of_a_dead_process_is_taken_over_and_only_one_result_is_kept(
    engine: str, stores: Stores, make: Make
) -> None:
    """The dead one is not dead, but slept."""
    queued_units.add_job(stores, 1, 1)
    asleep = make_dispatch(engine, stores, "asleep")
    token = _take(asleep)
    two = make("two")
    queued_units.let_lapse(stores)
    again = _take(two)
    assert again.unit == token.unit
    assert not _done(stores, asleep, token)
    assert _done(stores, two, again)
    assert queued_units.states(stores) == [(0, UnitState.DONE)]


def test_a_living_process_keeps_its_units(stores: Stores, make: Make) -> None:
    one, two = make("one"), make("two")
    for key in range(1, 6):
        queued_units.add_job(stores, key, 1)  # another one each time: the queue still has the last
        token = _take(one)
        if _keeps(one, two, token):
            assert _done(stores, one, token)
            return
        stores.db.write(queued_units.remove_jobs)
    raise AssertionError("this machine stops for seconds again and again")


def _keeps(one: TableDispatch, two: TableDispatch, token: Token) -> bool:
    """That the other does not get it for six seconds; False if this process was stopped meanwhile."""
    deadline = (now := time.monotonic()) + 6
    while now < deadline:
        got = two.take(READ)
        two.wait(0.5)
        before, now = now, time.monotonic()
        if now - before > 2:
            return False
        assert got is None
    return True


@pytest.mark.parametrize("stops", [True, False])
def test_others_get_what_was_claimed_ahead_of_a_process_that_stops_or_begins_nothing_more(
    stops: bool, stores: Stores, make: Make
) -> None:
    one, two = make("one"), make("two")
    queued_units.add_job(stores, 1, 40)
    seen: Counter[int] = Counter()
    while sum(state == UnitState.CLAIMED for _, state in queued_units.states(stores)) < 2:
        token = _take(one)
        seen[token.unit.number] += _done(stores, one, token)
    if stops:
        one.close()
    while seen.total() < 40:
        token = _take(two)
        seen[token.unit.number] += _done(stores, two, token)
    assert seen == Counter(range(40))
    assert {state for _, state in queued_units.states(stores)} == {UnitState.DONE}


@pytest.mark.usefixtures("claims_hold")
def test_says_whether_units_of_a_phase_wait_for_a_worker(stores: Stores, make: Make) -> None:
    one = make("one")
    queued_units.add_job(stores, 1, 20)
    done = 0
    while done < 20:
        token = _take(one)

        def end(conn: Connection, token: Token = token) -> bool:
            assert one.done(conn, token)
            return one.more(conn, 1, JobPhase.READ)

        assert stores.db.write(end) == (done < 19)
        done += 1


def test_units_of_a_job_that_is_cancelled_are_not_delivered(stores: Stores, make: Make) -> None:
    one, two = make("one"), make("two")
    queued_units.add_job(stores, 1, 5)
    token = _take(one)
    stores.db.write(lambda conn: conn.execute(unit.delete().where(unit.c.job == 1)))
    assert two.take(READ) is None
    assert not _done(stores, one, token)
    assert one.take(READ) is None


@pytest.mark.usefixtures("claims_hold")
def test_fifty_jobs_of_a_data_store_do_not_keep_the_one_of_another_waiting(
    stores: Stores, make: Make
) -> None:
    """They are older, and no larger; and as long as there is one worker, nobody has a unit under way."""
    for key in range(1, 51):
        queued_units.add_job(stores, key, 1, datastore=1)
    queued_units.add_job(stores, 99, 10, datastore=2)
    one, order = make("one"), []
    for _ in range(24):
        token = _take(one)
        order.append(token.unit.job)
        assert _done(stores, one, token)
    assert order.count(99) == 10
