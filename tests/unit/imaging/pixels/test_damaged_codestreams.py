"""Damaged codestreams, decoded in a process that may be killed: see `tests.unit.imaging.flips`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.imaging import flips

# Each takes about a second of one core; what hangs is ended by its limit of CPU time.
_PATIENCE_SECONDS = 600


@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_ends_whatever_bit_of_a_header_is_wrong_and_wherever_the_codestream_is_cut(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.imaging.flips", kind],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found) >= 5
    for name, counts in found.items():
        assert counts["flips"] > 900 and counts["cuts"] > 600, name
        assert counts["cuts refused"] == counts["cuts"], name
        # Not all: some bits name the codec, and others mean nothing for so small a frame.
        assert counts["flips refused"] > counts["flips"] // 3, name
    if kind == "own":
        # Nothing of what is wrong among the samples is exact, but for the last bits of a code block.
        assert all(c["samples refused"] > 0.95 * c["samples"] for c in found.values())


def test_looks_at_every_byte_of_every_header() -> None:
    name, data, _ = next(flips.own())
    places = list(flips.header_places(data))
    assert (
        name == "htj2k-grey" and places[:4] == [0, 1, 2, 3] and places[-2:] == [len(data) - 2, len(data) - 1]
    )
    assert sum(data[place : place + 2] == b"\xff\x90" for place in places) == 2
