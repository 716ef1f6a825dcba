"""What the runs of a session share: one engine or one server, whose data store is emptied between runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lightwell.settings import load
from lightwell.stores import open_stores
from tests.lifecycle.clients import InProcessService, ServedService
from tests.support.server import Server, running


@pytest.fixture(scope="module")
def in_process(
    tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path
) -> Iterator[InProcessService]:
    folder = tmp_path_factory.mktemp("inside")
    shutil.copy(_sqlite_template, folder / "lightwell.db")
    service = InProcessService(folder / "data", f"sqlite:///{folder / 'lightwell.db'}")
    yield service
    service.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two HTTP workers, whose buckets lie in its data folder."""
    with running(tmp_path_factory.mktemp("outside") / "data", workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def served(server: Server) -> Iterator[ServedService]:
    service = outside_of(server)
    yield service
    service.close()


def outside_of(server: Server) -> ServedService:
    settings = load({"data": server.data}, environ={}, file=None)
    settings = replace(settings, codec_workers=1)
    return ServedService(server, open_stores(settings), settings)
