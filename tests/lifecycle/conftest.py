"""What the runs of a session share: one engine or one server, whose data store is emptied between runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lightwell.settings import load
from lightwell.stores import open_stores
from tests.lifecycle.clients import Inside, Outside
from tests.support.server import Server, running


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[Inside]:
    folder = tmp_path_factory.mktemp("inside")
    shutil.copy(_sqlite_template, folder / "lightwell.db")
    door = Inside(folder / "data", f"sqlite:///{folder / 'lightwell.db'}")
    yield door
    door.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two HTTP workers, whose buckets lie in its data folder."""
    with running(tmp_path_factory.mktemp("outside") / "data", workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def outside(server: Server) -> Iterator[Outside]:
    door = outside_of(server)
    yield door
    door.close()


def outside_of(server: Server) -> Outside:
    settings = load({"data": server.data}, environ={}, file=None)
    settings = replace(settings, codec_workers=1)
    return Outside(server, open_stores(settings), settings)
