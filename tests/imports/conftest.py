from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.imports import Importing, importing


@pytest.fixture
def sqlite(tmp_path: Path, migrated_sqlite_url: str) -> Iterator[Importing]:
    """An import on SQLite; for what does not depend on the database."""
    made = importing(tmp_path / "data", migrated_sqlite_url)
    yield made
    made.close()


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Iterator[Importing]:
    """An import on either database."""
    made = importing(tmp_path / "data", database_url)
    yield made
    made.close()
