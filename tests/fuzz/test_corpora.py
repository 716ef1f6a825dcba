"""No fuzz target fails on what it begins with, nor on anything that runs of `make fuzz` have kept."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import CORPORA, TARGETS, inputs


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


def test_keeps_little_and_nothing_of_no_target() -> None:
    files = [path for path in CORPORA.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(TARGETS)
    assert sum(path.stat().st_size for path in files) < 300_000
