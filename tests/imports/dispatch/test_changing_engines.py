"""The setting ``engine`` is changed while units are under way, or is not the same on all servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import update

from lightwell.domain.imports.units import Token
from lightwell.domain.states import JobPhase, UnitState
from lightwell.stores import Stores
from lightwell.stores.db.tables import unit
from lightwell.stores.queues import pgqueuer_queue
from lightwell.work.engines.choice import make_dispatch
from lightwell.work.engines.table_dispatch import TableDispatch
from tests.support import queued_units

READ = (JobPhase.READ,)
OTHER = {"table": "pgqueuer", "pgqueuer": "table"}


@pytest.fixture
def after(engine: str, stores: Stores) -> Iterator[TableDispatch]:
    """The dispatch of a server with the other engine; ``stores`` queues as the first one does."""
    made = make_dispatch(OTHER[engine], stores, "after")
    made.open()
    yield made
    made.close()


def _take(dispatch: TableDispatch) -> Token:
    deadline = time.monotonic() + 240
    while (token := dispatch.take(READ)) is None:
        assert time.monotonic() < deadline, "nothing was delivered"
        dispatch.wait(0.2)
    return token


def _finish(dispatch: TableDispatch, stores: Stores, token: Token) -> bool:
    return stores.db.write(lambda conn: dispatch.done(conn, token))


@pytest.mark.usefixtures("claims_hold")
def test_what_the_dead_had_is_taken_up_by_the_other_engine(
    engine: str, stores: Stores, after: TableDispatch
) -> None:
    # Never opened: it renews nothing, as if it had died.
    before = make_dispatch(engine, stores, "before")
    queued_units.add_job(stores, 1, 3)
    lost = [_take(before) for _ in range(2)]
    queued_units.let_lapse(stores)
    again = [_take(after) for _ in range(3)]
    assert {token.unit.number for token in again} == {0, 1, 2}
    assert not any(_finish(before, stores, token) for token in lost)
    assert all(_finish(after, stores, token) for token in again)
    assert queued_units.states(stores) == [(number, UnitState.DONE) for number in range(3)]


@pytest.mark.usefixtures("claims_hold")
def test_so_is_the_last_unit_of_a_job(engine: str, stores: Stores, after: TableDispatch) -> None:
    before = make_dispatch(engine, stores, "before")
    queued_units.add_job(stores, 1, 1)
    lost = _take(before)
    queued_units.let_lapse(stores)
    if engine == "table":
        # As if the queue had been made anew: nobody has it there, and nobody is silent.
        stores.db.write(pgqueuer_queue.look_after)
    again = _take(after)
    assert again.unit == lost.unit
    assert not _finish(before, stores, lost) and _finish(after, stores, again)


@pytest.mark.usefixtures("claims_hold")
def test_a_claim_that_does_not_say_when_it_ends_ends(stores: Stores, engine: str) -> None:
    table = make_dispatch("table", stores, "later")
    queued_units.add_job(stores, 1, 1)
    _take(make_dispatch(engine, stores, "before"))
    stores.db.write(
        lambda conn: conn.execute(
            update(unit).values(claimed_until=None, claimed_at=unit.c.claimed_at - 3_600_000)
        )
    )
    token = _take(table)
    assert token.tries == 2 and _finish(table, stores, token)


def test_servers_with_different_engines_keep_each_unit_once(
    engine: str, stores: Stores, after: TableDispatch
) -> None:
    before = make_dispatch(engine, stores, "before")
    before.open()
    count = 60
    queued_units.add_job(stores, 1, count)
    kept: list[int] = []

    def work(dispatch: TableDispatch) -> None:
        deadline = time.monotonic() + 240
        while len(kept) < count and time.monotonic() < deadline:
            token = dispatch.take(READ)
            if token is None:
                dispatch.wait(0.1)
            elif _finish(dispatch, stores, token):
                kept.append(token.unit.number)

    threads = [threading.Thread(target=work, args=(each,)) for each in (before, after) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before.close()
    assert sorted(kept) == list(range(count))
    assert queued_units.states(stores) == [(number, UnitState.DONE) for number in range(count)]
