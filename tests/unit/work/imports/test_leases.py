"""What failures of a chunk leave behind for whoever reads it next."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.failures import CHUNK, Cause
from lightwell.codec_pool.messages import ReadChunk
from lightwell.domain.imports.jobs import NO_FILE, STORAGE, Chunk, InputFile
from lightwell.stores import Stores
from lightwell.stores.jobs import chunks
from lightwell.work.imports.leases import LeasedChunk, Leases
from lightwell.work.imports.pauses import Pauses

NOW = 10**12


class _Still(Clock):
    def now(self) -> int:
        return NOW


class _Database:
    def write(self, work: Callable[[Any], object]) -> object:
        return work(None)


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, list[str]], int | None]]:
    """The deaths, and the earliest time of another try, with which chunks were made ready again."""
    calls: list[tuple[dict[str, list[str]], int | None]] = []

    def release(
        conn: object, job: int, number: int, claim: str, deaths: dict[str, list[str]], not_before: int | None
    ) -> None:
        calls.append((deaths, not_before))

    monkeypatch.setattr(chunks, "release", release)
    return calls


def _leases() -> tuple[Leases, Pauses]:
    clock = _Still()
    pauses = Pauses(clock)
    stores = cast(Stores, SimpleNamespace(db=_Database()))
    return Leases(stores, clock, Ids(), "engine", pauses, lambda: None), pauses


def _leased(deaths: dict[str, list[str]]) -> LeasedChunk:
    files = [InputFile(number, f"f{number}", None, 1) for number in range(3)]
    task = ReadChunk(1, "", "HTJ2K", b"", 0, [], [], [], [], False)
    return LeasedChunk(Chunk(7, 0, tuple(files), deaths), "engine:1", 1, task)


def test_counts_the_death_on_a_file_and_tries_again_at_once(
    released: list[tuple[dict[str, list[str]], int | None]],
) -> None:
    leases, _ = _leases()
    leases.settle(_leased({"1": ["SIGKILL"]}), Cause.TIMED_OUT, "late", 1)
    assert released == [({"1": ["SIGKILL", "late"]}, None)]


@pytest.mark.parametrize(
    ("cause", "counter"),
    [
        (Cause.DIED_BETWEEN_FILES, NO_FILE),
        (Cause.FAULT_BETWEEN_FILES, NO_FILE),
        (Cause.STORAGE, STORAGE),
    ],
)
def test_counts_what_no_file_is_to_blame_for_and_waits(
    cause: Cause, counter: str, released: list[tuple[dict[str, list[str]], int | None]]
) -> None:
    leases, _ = _leases()
    leases.settle(_leased({}), cause, "first")
    leases.settle(_leased({counter: ["first"]}), cause, "second")
    assert released == [({counter: ["first"]}, NOW + 500), ({counter: ["first", "second"]}, NOW + 1000)]


@pytest.mark.parametrize("cause", [Cause.NOT_STARTED, Cause.UNAVAILABLE])
def test_pauses_the_job_without_counting(
    cause: Cause, released: list[tuple[dict[str, list[str]], int | None]]
) -> None:
    leases, pauses = _leases()
    leases.settle(_leased({STORAGE: ["before"]}), cause, "away")
    assert released == [({STORAGE: ["before"]}, None)]
    assert pauses.waiting() == {7}


def test_gives_up_a_chunk_whatever_cause_its_worker_names(
    released: list[tuple[dict[str, list[str]], int | None]],
) -> None:
    """A worker that its files have taken over may fail a chunk for a reason that is a file's."""
    leases, _ = _leases()
    for cause in CHUNK:
        if CHUNK[cause].tries is None:
            continue
        deaths: dict[str, list[str]] = {}
        for _ in range(10):
            leases.settle(_leased(deaths), cause, "mischief")
            deaths = released[-1][0]
            if leases.final_failure(_leased(deaths)) is not None:
                break
        else:
            pytest.fail(f"{cause} has no end: {deaths}")
