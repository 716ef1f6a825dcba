"""One server on each database for all API tests; each test works in data stores of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import services
from tests.support.server import Server, running


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp(request.param) / "data"
    with ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            url = stack.enter_context(services.new_database(request.getfixturevalue("postgres_server")))
        # Frames that tests make up cannot be decoded to give them the checksums that they lack.
        env = {"LIGHTWELL_CHECKSUM_SHARE": "0"}
        yield stack.enter_context(running(data, database_url=url, env=env))


@pytest.fixture(scope="session")
def client(server: Server) -> Any:
    """boto3 with the root key."""
    return server.client()


@pytest.fixture
def datastore(client: Any) -> str:
    """The id of a new data store."""
    created: str = client.create_datastore(datastoreName="test")["datastoreId"]
    return created


@pytest.fixture
def refused() -> Callable[..., str]:
    """Call with an exception's name and a call; answers the message of the refusal."""

    def check(error: str, call: Callable[..., Any], **arguments: Any) -> str:
        from botocore.exceptions import ClientError

        with pytest.raises(ClientError) as caught:
            call(**arguments)
        response = caught.value.response
        assert response["Error"]["Code"] == error
        return str(response["Error"]["Message"])

    return check


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    """No request may end in a fault of the server; what it logged is shown if one does."""
    yield
    if "server" in request.fixturenames:
        faults = [line for line in request.getfixturevalue("server").err if '"level":"error"' in line]
        assert not faults, "\n".join(faults)
