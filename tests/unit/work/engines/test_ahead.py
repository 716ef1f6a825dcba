"""How many units a process claims at once, and which it has left."""

from __future__ import annotations

from lightwell.domain.imports.fairness import OpenJob
from lightwell.domain.imports.units import Token, Unit
from lightwell.domain.states import JobPhase
from lightwell.work.engines.ahead import ClaimedAhead

PLACE = (1, JobPhase.READ)


def _job(waiting: int, claimed: int) -> OpenJob:
    return OpenJob(1, JobPhase.READ, 1, 0, None, None, 1, 1, frozenset(), claimed, waiting=waiting)


def _tokens(count: int) -> list[Token]:
    return [Token(Unit(*PLACE, number), "a") for number in range(count)]


def test_claims_one_until_units_prove_to_be_short() -> None:
    ahead = ClaimedAhead()
    assert ahead.count(PLACE, _job(1000, 0)) == 1
    for _ in range(5):
        ahead.has_begun(PLACE)
    assert ahead.count(PLACE, _job(1000, 0)) == 5
    for _ in range(50):
        ahead.has_begun(PLACE)
    assert ahead.count(PLACE, _job(1000, 0)) == 16
    assert ahead.count((2, JobPhase.READ), _job(1000, 0)) == 1, "those of another job may take long"


def test_leaves_others_their_share_of_the_last_units() -> None:
    ahead = ClaimedAhead()
    for _ in range(50):
        ahead.has_begun(PLACE)
    assert ahead.count(PLACE, _job(30, 10)) == 3
    assert ahead.count(PLACE, _job(3, 10)) == 1


def test_claims_for_all_threads_that_wait() -> None:
    ahead = ClaimedAhead()
    with ahead.taker(PLACE) as one, ahead.taker(PLACE) as other:
        assert one is other
        assert ahead.count(PLACE, _job(0, 0)) == 2
    assert ahead.count(PLACE, _job(0, 0)) == 1


def test_gives_out_in_order_and_gives_up_what_is_old() -> None:
    ahead = ClaimedAhead()
    tokens = _tokens(4)
    ahead.put(PLACE, tokens)
    assert ahead.places() == {PLACE} and ahead.has(*PLACE)
    assert ahead.take(PLACE) == tokens[0]
    assert ahead.old(60) == []
    assert ahead.old(0) == tokens[1:]
    assert ahead.take(PLACE) is None
    assert ahead.places() == set() and not ahead.has(*PLACE)
