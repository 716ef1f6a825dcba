"""One server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy

import pytest

from tests.imports.audit.world import World, a_world


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[World]:
    with _world_in(tmp_path_factory.mktemp("audit"), _sqlite_template) as made:
        yield made


@pytest.fixture
def own_world(tmp_path: Path, _sqlite_template: Path) -> Iterator[World]:
    """For a test that removes what others read: they may run after it."""
    with _world_in(tmp_path, _sqlite_template) as made:
        yield made


@contextmanager
def _world_in(folder: Path, template: Path) -> Iterator[World]:
    (folder / "data").mkdir()
    copy(template, folder / "data" / "lightwell.db")
    with a_world(folder, f"sqlite:///{folder / 'data' / 'lightwell.db'}") as made:
        yield made
