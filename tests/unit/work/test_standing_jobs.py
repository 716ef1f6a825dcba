"""Jobs that stand still are moved on, each for itself."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lightwell.clock import Clock
from lightwell.domain.imports.units import Token
from lightwell.domain.states import JobPhase
from lightwell.errors import ConfigurationError, StorageError
from lightwell.sealing.providers.interface import KeyProviderAwayError, KeyProviderError
from lightwell.settings import load
from lightwell.stores import open_stores
from lightwell.stores.keys.data_keys import KeyDestroyedError
from lightwell.work.engine import Engine
from lightwell.work.imports.pauses import BACKOFF, Pauses


class _Set(Clock):
    def __init__(self) -> None:
        self.time = 10**12

    def now(self) -> int:
        return self.time


@pytest.mark.parametrize(
    "error", [ConfigurationError, KeyProviderError, KeyProviderAwayError, KeyDestroyedError]
)
def test_a_job_without_its_key_is_paused_and_the_others_go_on(error: type[Exception]) -> None:
    asked: list[int] = []
    has_key = False

    def advance(key: int, phase: JobPhase) -> None:
        asked.append(key)
        if key == 1 and not has_key:
            raise error("the key of the data store is disabled")

    engine, clock = cast(Any, object.__new__(Engine)), _Set()
    engine._phases, engine._pauses = SimpleNamespace(advance=advance), Pauses(clock)

    def move_on() -> list[int]:
        asked.clear()
        for key in (1, 2):
            engine._advance(key, JobPhase.READ)
        return list(asked)

    assert move_on() == [1, 2]
    assert engine._pauses.waiting() == {1}
    assert move_on() == [2], "nobody is asked for its key again so soon"
    clock.time += BACKOFF.longest_ms
    has_key = True
    assert move_on() == [1, 2]
    assert not engine._pauses._pauses


def test_a_terminal_is_told_which_path_is_away_and_the_log_only_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    error = StorageError("/mnt/cd/DOE^JANE.zip cannot be read: Input/output error")
    engine, told = cast(Any, object.__new__(Engine)), cast(list[str], [])
    engine._settings = load({"data": tmp_path}, environ={}, file=None)
    engine._stores = open_stores(engine._settings)
    token = cast(Token, SimpleNamespace(unit=SimpleNamespace(job=1)))
    for tell in (told.append, None):
        engine._options = SimpleNamespace(tell=tell)
        with caplog.at_level(logging.WARNING):
            engine._say_what_waits(token, error)
    assert told == [f"an import job waits for the storage: {error}"]
    why = "(a path that is not named here) cannot be read: Input/output error"
    assert caplog.messages == [f"an import job waits for the storage: {why}"]
