"""The circuit breaker, with a clock of the test's own."""

from __future__ import annotations

from lightwell.stores.objects.circuit import Circuit


def test_opens_after_failures_in_a_row_and_lets_one_attempt_through_at_a_time() -> None:
    now = [0.0]
    circuit = Circuit(lambda: now[0])
    for _ in range(4):
        assert not circuit.failed()
    assert not circuit.succeeded()
    assert [circuit.failed() for _ in range(5)] == [False] * 4 + [True]
    assert circuit.is_open and not circuit.admits() and circuit.seconds_left == 1.0

    now[0] = 1.0
    assert circuit.admits() and not circuit.admits()
    assert not circuit.failed()
    assert circuit.seconds_left == 2.0  # it waits longer each time
    for _ in range(6):
        now[0] += circuit.seconds_left
        assert circuit.admits()
        circuit.failed()
    assert circuit.seconds_left == 10.0

    now[0] += 10.0
    assert circuit.admits()
    assert circuit.succeeded()
    assert circuit.seconds_left == 0
    assert circuit.admits() and circuit.admits()


def test_an_attempt_that_never_ends_does_not_keep_it_open_for_ever() -> None:
    now = [0.0]
    circuit = Circuit(lambda: now[0])
    for _ in range(5):
        circuit.failed()
    now[0] = 1.0
    assert circuit.admits() and not circuit.admits()
    now[0] = 2.0
    assert circuit.admits()
