"""One server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import pytest

from tests.imports.audit.world import World, a_world


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "data").mkdir()
    copy(_sqlite_template, folder / "data" / "lightwell.db")
    with a_world(folder, f"sqlite:///{folder / 'data' / 'lightwell.db'}") as made:
        yield made
