"""One server for all tests of the console's API, on either database, and clients that sign by SigV4."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import services
from tests.support.console import ConsoleClient
from tests.support.server import Server, running


@pytest.fixture(scope="package", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp(f"console-{request.param}") / "data"
    with ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            url = stack.enter_context(services.new_database(request.getfixturevalue("postgres_server")))
        env = {"LIGHTWELL_CHECKSUM_SHARE": "0", "LIGHTWELL_COLLECT_INTERVAL": "1"}
        yield stack.enter_context(running(data, "--open", database_url=url, env=env, workers=2))


@pytest.fixture(scope="package")
def root(server: Server) -> ConsoleClient:
    """The root user, who may do everything."""
    return ConsoleClient(server)


@pytest.fixture(scope="package")
def client(server: Server) -> Any:
    """A boto3 client of root."""
    return server.client()


@pytest.fixture
def limited(server: Server) -> Callable[..., ConsoleClient]:
    """Makes a user who may do what these statements say: ``limited({"Effect": "Allow", …}, …)``."""

    def make(*statements: dict[str, Any], name: str = "limited") -> ConsoleClient:
        return ConsoleClient.of_new_key(server, name, *statements)

    return make
