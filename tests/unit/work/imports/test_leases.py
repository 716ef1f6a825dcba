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
from lightwell.domain.imports.units import Token, Unit
from lightwell.domain.states import JobPhase
from lightwell.errors import ConfigurationError, DamagedError
from lightwell.sealing.providers.interface import KeyProviderAwayError, KeyProviderError
from lightwell.stores import Stores
from lightwell.stores.jobs import chunks, import_jobs
from lightwell.stores.keys.data_keys import KeyDestroyedError
from lightwell.work.dispatch import Dispatch
from lightwell.work.imports.leases import LeasedChunk, Leases
from lightwell.work.imports.pauses import Pauses

NOW = 10**12


class _Still(Clock):
    def now(self) -> int:
        return NOW


class _Dispatch:
    """Keeps with which delays units were given back."""

    def __init__(self, calls: list[tuple[dict[str, list[str]], int]]) -> None:
        self._calls = calls

    def retry(self, token: Token, delay_ms: int = 0, also: Callable[[Any], None] | None = None) -> bool:
        self._calls.append(({}, delay_ms))
        if also is not None:
            also(None)
        return True


Released = list[tuple[dict[str, list[str]], int]]


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> Released:
    """The deaths that were noted as chunks were given back, and after which delay they are read again."""
    calls: Released = []

    def record_deaths(conn: object, unit: Unit, deaths: dict[str, list[str]]) -> None:
        calls[-1] = deaths, calls[-1][1]

    monkeypatch.setattr(chunks, "record_deaths", record_deaths)
    return calls


def _leases(released: Released) -> tuple[Leases, Pauses]:
    clock = _Still()
    pauses = Pauses(clock)
    dispatch = cast(Dispatch, _Dispatch(released))
    return Leases(cast(Stores, None), clock, Ids(), dispatch, pauses, lambda key: None), pauses


def _leased(deaths: dict[str, list[str]]) -> LeasedChunk:
    files = [InputFile(number, f"f{number}", None, 1) for number in range(3)]
    task = ReadChunk(1, "", "HTJ2K", b"", 0, [], [], [], [], False)
    token = Token(Unit(7, JobPhase.READ, 0), "engine:1")
    return LeasedChunk(Chunk(7, 0, tuple(files), deaths), token, 1, task)


def test_counts_the_death_on_a_file_and_tries_again_at_once(
    released: Released,
) -> None:
    leases, _ = _leases(released)
    leases.settle(_leased({"1": ["SIGKILL"]}), Cause.TIMED_OUT, "late", 1)
    assert released == [({"1": ["SIGKILL", "late"]}, 0)]


@pytest.mark.parametrize(
    ("cause", "counter"),
    [
        (Cause.DIED_BETWEEN_FILES, NO_FILE),
        (Cause.FAULT_BETWEEN_FILES, NO_FILE),
        (Cause.STORAGE, STORAGE),
    ],
)
def test_counts_what_no_file_is_to_blame_for_and_waits(
    cause: Cause, counter: str, released: Released
) -> None:
    leases, _ = _leases(released)
    leases.settle(_leased({}), cause, "first")
    leases.settle(_leased({counter: ["first"]}), cause, "second")
    assert released == [({counter: ["first"]}, 500), ({counter: ["first", "second"]}, 1000)]


@pytest.mark.parametrize("cause", [Cause.NOT_STARTED, Cause.UNAVAILABLE])
def test_pauses_the_job_without_counting(cause: Cause, released: Released) -> None:
    leases, pauses = _leases(released)
    leases.settle(_leased({STORAGE: ["before"]}), cause, "away")
    assert released == [({}, 0)]
    assert pauses.waiting() == {7}


def test_gives_up_a_chunk_whatever_cause_its_worker_names(
    released: Released,
) -> None:
    """A worker that its files have taken over may fail a chunk for a reason that is a file's."""
    leases, _ = _leases(released)
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


@pytest.mark.parametrize("opens", ["its files", "its overrides"])
@pytest.mark.parametrize(
    "error", [ConfigurationError, KeyProviderError, KeyProviderAwayError, KeyDestroyedError, DamagedError]
)
def test_pauses_only_the_job_whose_values_cannot_be_opened(
    error: type[Exception], opens: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(*given: object) -> Any:
        raise error("the key of the data store is disabled")

    leases, pauses = _leases([])
    monkeypatch.setattr(chunks, "get", locked if opens == "its files" else lambda *given: {0: None})
    monkeypatch.setattr(import_jobs, "get", lambda conn, key: SimpleNamespace(id="job-7"))
    monkeypatch.setattr(import_jobs, "opened", locked)
    with pytest.raises(error):
        leases._begin(cast(Any, None), [Token(Unit(7, JobPhase.READ, 0), "engine:1")])
    assert pauses.waiting() == {7}
    assert "import job job-7 is paused" in caplog.text and "is disabled" in caplog.text
