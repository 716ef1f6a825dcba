"""Token buckets, with a clock of the test's own, and between processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from lightwell.errors import ThrottlingError
from lightwell.web.requests.rates import AWS_RATES, Rate
from lightwell.web.requests.throttle import Throttle
from lightwell.wire.routes import ROUTES


class Hands:
    """A clock that goes where the test puts it."""

    at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def throttle(hands: Hands) -> Iterator[Throttle]:
    made = Throttle({"A": Rate(2, 3), "B": Rate(0.25, 1)}, now=hands)
    yield made
    made.close()


def taken(throttle: Throttle, operation: str, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            throttle.take(operation)
            count += 1
        except ThrottlingError:
            pass
    return count


def test_names_every_operation_of_the_model() -> None:
    assert set(AWS_RATES) >= set(ROUTES)
    assert all(rate.burst >= 1 and rate.per_second > 0 for rate in AWS_RATES.values())


def test_lets_a_burst_through_and_then_the_rate(throttle: Throttle, hands: Hands) -> None:
    assert taken(throttle, "A", 10) == 3
    hands.at += 0.5
    assert taken(throttle, "A", 10) == 1
    hands.at += 1.0
    assert taken(throttle, "A", 10) == 2
    hands.at += 1000
    assert taken(throttle, "A", 10) == 3


def test_refills_a_bucket_at_its_rate_however_often_it_is_used(throttle: Throttle, hands: Hands) -> None:
    total = 0
    for _ in range(1000):
        total += taken(throttle, "A", 1)
        hands.at += 0.01
    assert total == 3 + 19


def test_keeps_the_buckets_apart(throttle: Throttle) -> None:
    assert taken(throttle, "A", 10) == 3
    assert taken(throttle, "B", 10) == 1
    assert taken(throttle, "C", 10) == 10


def test_says_when_to_retry(throttle: Throttle, hands: Hands) -> None:
    throttle.take("B")
    hands.at += 0.5
    with pytest.raises(ThrottlingError, match=r"B may be called 0.25 times a second. Try again in 4 seconds"):
        throttle.take("B")
    with pytest.raises(ThrottlingError) as refused:
        throttle.take("B")
    assert refused.value.retry_after == 4
    hands.at += 3.5
    throttle.take("B")


FORKS = """
import os
from lightwell.errors import ThrottlingError
from lightwell.web.requests.rates import Rate
from lightwell.web.requests.throttle import Throttle

def taken(times):
    count = 0
    for _ in range(times):
        try:
            throttle.take("A")
            count += 1
        except ThrottlingError:
            pass
    return count

throttle = Throttle({"A": Rate(2, 3)}, now=lambda: 1000.0)
end, write = os.pipe()
"""


def in_processes(script: str) -> str:
    """What the script prints; pytest's own process may have threads, and is not forked."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS + script], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout


def test_applies_to_all_processes_together() -> None:
    script = """
for _ in range(4):
    if not os.fork():
        os.write(write, bytes([taken(50)]))
        os._exit(0)
for _ in range(4):
    os.wait()
print(sum(os.read(end, 4)))
"""
    assert in_processes(script) == "3\n"


def test_survives_a_process_that_died_with_the_lock() -> None:
    script = """
if not os.fork():
    throttle._now = lambda: os._exit(0)  # inside of the lock
    throttle.take("A")
os.wait()
print(taken(10))
"""
    assert in_processes(script) == "3\n"
