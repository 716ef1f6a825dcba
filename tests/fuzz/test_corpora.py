"""No fuzz target fails on what it begins with, nor on anything that runs of `make fuzz` have kept."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import CORPORA, TARGETS, inputs

# Where, as a share of the input; how many bytes are left out there; what is put in their place.
_CHANGES = st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=9))


@pytest.mark.parametrize("name", TARGETS)
def test_reads_or_refuses_what_is_kept(name: str) -> None:
    run = TARGETS[name].run
    run(b"")
    kept = inputs(name)
    assert kept
    for data in kept:
        run(data)
        # Also where it is cut off: that is how most faults of length show.
        run(data[: len(data) // 2])


@pytest.mark.parametrize("name", TARGETS)
def test_reads_or_refuses_what_is_slightly_changed(name: str) -> None:
    """Some fresh inputs on every run, though far fewer than a run of the fuzzer tries."""
    kept, run = inputs(name), TARGETS[name].run

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(kept), st.lists(_CHANGES, min_size=1, max_size=4))
    def changed(data: bytes, changes: list[tuple[float, int, bytes]]) -> None:
        for share, left_out, put_in in changes:
            place = int(share * len(data))
            data = data[:place] + put_in + data[place + left_out :]
        run(data)

    changed()


def test_keeps_little_and_nothing_of_no_target() -> None:
    files = [path for path in CORPORA.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(TARGETS)
    assert sum(path.stat().st_size for path in files) < 300_000
