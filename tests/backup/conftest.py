"""A place of each kind that a few series were imported into, once for all tests that only read it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.backup.places import Kind
from tests.support import services
from tests.support.ct_files import write_series
from tests.support.imports import Importing


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
    """Folders beside SQLite, S3 beside PostgreSQL."""
    folder = tmp_path_factory.mktemp("backup")
    if request.param == "sqlite":
        yield Kind(folder, None)
        return
    s3: services.S3 = request.getfixturevalue("s3_server")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        yield Kind(folder, s3, services.new_bucket(s3))


@pytest.fixture(scope="module")
def place(kind: Kind, request: pytest.FixtureRequest) -> Iterator[Importing]:
    with _database(kind, request) as url:
        made = kind.importing(url)
        for series in ("1", "2"):
            write_series(made.input / series, 2, series=series)
        made.run()
        made.close_engine()
        yield made
        made.close()


@pytest.fixture
def empty_url(kind: Kind, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of this kind in which there is nothing."""
    if kind.s3 is None:
        return f"sqlite:///{tmp_path / 'new' / 'lightwell.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@contextmanager
def _database(kind: Kind, request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database of this kind."""
    if kind.s3 is None:
        path = kind.folder / "lightwell.db"
        shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server, template = (request.getfixturevalue(name) for name in ("postgres_server", "_postgres_template"))
    with services.new_database(server, template) as url:
        yield url
