"""Two processes' dispatches on one PostgreSQL database, by each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.work.engines.choice import make_dispatch
from lightwell.work.engines.table_dispatch import TableDispatch
from tests.support import queued_units

Make = Callable[[str], TableDispatch]


@pytest.fixture(params=["table", "pgqueuer"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def stores(engine: str, migrated_postgres_url: str, tmp_path: Path) -> Iterator[Stores]:
    made = open_stores(Settings(data=tmp_path, database_url=migrated_postgres_url, engine=engine))
    yield made
    made.close()


@pytest.fixture
def claims_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    queued_units.hold_claims(monkeypatch)


@pytest.fixture
def make(engine: str, stores: Stores) -> Iterator[Make]:
    """``make(name)`` is the dispatch of a process with that name, which works until the test ends."""
    opened: list[TableDispatch] = []

    def made(name: str) -> TableDispatch:
        dispatch = make_dispatch(engine, stores, name)
        dispatch.open()
        opened.append(dispatch)
        return dispatch

    yield made
    for dispatch in opened:
        dispatch.close()
