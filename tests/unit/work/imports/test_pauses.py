"""Jobs that wait for what is away."""

from __future__ import annotations

import logging

import pytest

from lightwell.clock import Clock
from lightwell.work.imports.pauses import BACKOFF, Pauses

MINUTE = 60_000


class _Still(Clock):
    def __init__(self) -> None:
        self.time = 10**12

    def now(self) -> int:
        return self.time


@pytest.fixture
def clock() -> _Still:
    return _Still()


def test_waits_longer_each_time_and_never_very_long(clock: _Still) -> None:
    pauses = Pauses(clock)
    waits = []
    for _ in range(40):
        until = pauses.begin(1, "job", "away")
        waits.append(until - clock.time)
        assert pauses.waiting() == {1}
        clock.time = until
        assert not pauses.waiting()
    assert waits[0] == BACKOFF.first_ms and waits[1] == 2 * BACKOFF.first_ms
    assert waits == sorted(waits) and waits[-1] == BACKOFF.longest_ms <= MINUTE


def test_counts_what_several_threads_find_out_at_once_as_one(clock: _Still) -> None:
    pauses = Pauses(clock)
    first = pauses.begin(1, "job", "away")
    clock.time += 1
    assert pauses.begin(1, "job", "away") == first
    clock.time = first
    assert pauses.begin(1, "job", "away") - first == 2 * BACKOFF.first_ms


def test_begins_anew_once_what_was_away_is_back(clock: _Still) -> None:
    pauses = Pauses(clock)
    clock.time = pauses.begin(1, "job", "away")
    clock.time = pauses.begin(1, "job", "away")
    pauses.end(1)
    pauses.end(2)
    assert pauses.begin(1, "job", "away") - clock.time == BACKOFF.first_ms
    pauses.end(1)
    assert not pauses.waiting()


def test_says_why_a_job_waits_now_and_then(clock: _Still, caplog: pytest.LogCaptureFixture) -> None:
    pauses = Pauses(clock)
    with caplog.at_level(logging.INFO):
        end = clock.time + 20 * MINUTE
        while clock.time < end:
            clock.time = pauses.begin(1, "import job abc", "S3 is away")
        pauses.end(1)
    assert caplog.messages[-1] == "import job abc goes on after a pause"
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert 2 < len(said) < 6
    assert all("import job abc" in line and "S3 is away" in line for line in said)


def test_is_silent_for_a_minute_where_a_job_goes_on_and_is_paused_again(
    clock: _Still, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = Pauses(clock)
    with caplog.at_level(logging.INFO):
        for _ in range(150):  # some of its chunks fit on the disk, and others do not
            pauses.begin(1, "import job abc", "the disk is full")
            clock.time += 500
            pauses.end(1)
            clock.time += 500
        waits = "import job abc is paused, and none of its files is lost: the disk is full"
        goes_on = "import job abc goes on after a pause"
        assert caplog.messages == [waits, goes_on] * 3
        caplog.clear()
        clock.time += MINUTE
        clock.time = pauses.begin(1, "import job abc", "the disk is full")
        pauses.end(1)
        end = clock.time + 2 * MINUTE  # paused at once again, and for long this time
        while clock.time < end:
            clock.time = pauses.begin(1, "import job abc", "the disk is full")
    assert caplog.messages == [waits, goes_on, waits]


def test_tells_a_person_once_what_a_job_waits_for(clock: _Still, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    pauses = Pauses(clock, told.append)
    with caplog.at_level(logging.INFO):
        end = clock.time + 20 * MINUTE
        while clock.time < end:
            clock.time = pauses.begin(1, "import job abc", "(file 1) is away", "/mnt/DOE^JANE is away")
        pauses.end(1)
    assert told == [
        "import job abc is paused, and none of its files is lost: /mnt/DOE^JANE is away",
        "import job abc goes on after a pause",
    ]
    assert not caplog.messages
