"""Token buckets of keys without number, in a table of a fixed size that processes share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lightwell.web.requests.rates import Rate
from lightwell.web.requests.shared_buckets import SharedBuckets

RATE = Rate(0.5, 3)


class Hands:
    """A clock that goes where the test puts it."""

    at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def buckets(hands: Hands) -> Iterator[SharedBuckets]:
    made = SharedBuckets(groups=4, now=hands)
    yield made
    made.close()


def test_lets_a_burst_through_and_then_the_rate(buckets: SharedBuckets, hands: Hands) -> None:
    assert [buckets.take("a", RATE) > 0 for _ in range(5)] == [False] * 3 + [True] * 2
    assert buckets.take("a", RATE) == pytest.approx(2)
    assert buckets.take("b", RATE) == 0, "another key has a bucket of its own"
    hands.at += 2
    assert [buckets.take("a", RATE) > 0 for _ in range(2)] == [False, True]


def test_rings_once_and_then_is_quiet(buckets: SharedBuckets, hands: Hands) -> None:
    rung = [buckets.ring("a", RATE, 60)[1] for _ in range(10)]
    assert rung == [0, 0, 0, 4, 0, 0, 0, 0, 0, 0]
    hands.at += 59
    assert [buckets.ring("a", RATE, 60)[1] for _ in range(4)] == [0] * 4
    hands.at += 1
    assert [buckets.ring("a", RATE, 60)[1] for _ in range(3)] == [11, 0, 0]


def test_has_room_for_any_number_of_keys_and_keeps_the_busy_ones(
    buckets: SharedBuckets, hands: Hands
) -> None:
    busy = Rate(1e-6, 1)
    assert buckets.take("busy", busy) == 0
    for number in range(5000):
        assert buckets.take(f"guest {number}", Rate(1000, 1)) == 0
        hands.at += 0.01
    assert buckets.take("busy", busy) > 0, "the places of those that had refilled were taken over"


def test_counts_what_other_processes_take(buckets: SharedBuckets) -> None:
    child = os.fork()
    if not child:
        for _ in range(3):
            buckets.take("a", RATE)
        os._exit(0)
    os.waitpid(child, 0)
    assert buckets.take("a", RATE) > 0
