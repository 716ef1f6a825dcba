"""Every write of every operation fails, in every way that a disk can fail: nothing that was answered is lost,
nothing is half there, what is refused is refused clearly, and all goes on without hands.

The whole of it is an endurance test; LIGHTWELL_FAULTS says how many calls of each place are looked at.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.faults.disk.campaign import FAULTS, PLACES, STEPS, Campaign

#: a fault, a step, a place and the number of the call: what CI looks at
SAMPLE = (
    ("the disk is full", "import_files", "/objects/", 2),
    ("an fsync fails", "import_files", "/objects/", 1),
    ("the disk fails once", "import_files", "/buckets/out", 4),
    ("the disk is full in the middle of a write", "store", "/lightwell.db", 2),
    ("the disk is full", "store", "/spool/", 2),
    ("an fsync fails", "store", "/objects/", 2),
    ("a write is cut short", "store", "/objects/", 1),
    ("the disk fails once", "store", "/objects/", 1),
    ("every fsync fails", "store", "/lightwell.db-wal", 1),
    ("the disk is slow", "store", "/objects/", 1),
    ("an fsync fails", "update", "/lightwell.db-wal", 1),
    ("the disk is read-only", "update", "/lightwell.db", 1),
    ("the disk is full", "copy", "/audit/", 1),
    ("an fsync fails", "back_up", "/backup/packs", 3),
    ("the process dies in the middle of a write", "delete", "/lightwell.db-wal", 1),
)


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    made = Campaign(tmp_path / "disk", tmp_path / "scratch")
    with made.load.told():
        yield made


def _begin(campaign: Campaign, chance: Random) -> None:
    for _ in range(3):
        campaign.load.step("import_files", chance)


@pytest.mark.slow
def test_goes_on_after_some_faults(campaign: Campaign) -> None:
    chance = Random(5)
    _begin(campaign, chance)
    for fault, step, place, number in SAMPLE:
        # The step may be one that the model refuses, or another call may be the first this time.
        for again in range(6):
            if campaign.step(step, chance, FAULTS[fault].at(max(1, number - again // 2), place)):
                break
    assert campaign.hits >= len(SAMPLE) - 2, "\n".join(campaign.load.said)
    campaign.load.check()


@pytest.mark.endurance
@pytest.mark.timeout(12 * 3600)
@pytest.mark.parametrize("fault", FAULTS)
def test_goes_on_after_each_fault(campaign: Campaign, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    most = int(os.environ.get("LIGHTWELL_FAULTS", "1000"))
    chance = Random(fault)
    _begin(campaign, chance)
    for step, place in itertools.product(STEPS, PLACES):
        if "read-only" in fault and "buckets" in place:
            continue  # a job says so before it begins, and fails
        misses = 0
        for number in range(1, most + 1):
            misses = 0 if campaign.step(step, chance, FAULTS[fault].at(number, place)) else misses + 1
            if misses == 2:
                break
    campaign.load.check()
    with capsys.disabled():
        print(f"\n{fault}: {campaign.hits} times, {campaign.load.service.restarts} restarts; nothing lost")
