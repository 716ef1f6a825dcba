"""Two servers and two workers for all tests of this folder, and deployments of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.many.deployment import Deployment, deployed
from tests.support import services


@pytest.fixture(scope="package")
def many(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, s3_server: services.S3
) -> Iterator[Deployment]:
    """Servers *a* and *b* without work, and two workers, on one database and bucket: leave them running."""
    with deployed(tmp_path_factory.mktemp("many"), postgres_server, s3_server) as made:
        for name in ("a", "b"):
            made.server(name)
        for name in ("w1", "w2"):
            made.worker(name)
        yield made


@pytest.fixture
def deploy(
    tmp_path: Path, postgres_server: str, s3_server: services.S3
) -> Iterator[Callable[..., Deployment]]:
    """Makes deployments in which nothing runs yet, for tests that kill; keyword arguments are variables."""
    with ExitStack() as stack:

        def make(name: str = "own", **settings: str) -> Deployment:
            folder = tmp_path / name
            folder.mkdir()
            return stack.enter_context(deployed(folder, postgres_server, s3_server, **settings))

        yield make
