"""The database goes away and comes back: who asks meanwhile is told to try again, and then it works."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.server import REGION, running


class Road:
    """A way to a server that can be closed; ``port`` leads there as long as it is open."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._both: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.is_open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.is_open = False
        for each in self._both:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self.close()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_open:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._both += (near, far)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(one, other), daemon=True).start()


def _carry(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
    for each in (one, other):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
    one.close()


@pytest.fixture
def road(postgres_url: str) -> Iterator[tuple[Road, str]]:
    parts = urlsplit(postgres_url)
    assert parts.hostname and parts.port
    made = Road(parts.hostname, parts.port)
    place = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{made.port}"
    yield made, urlunsplit(parts._replace(netloc=place))
    made.end()


def test_asks_to_try_again_while_the_database_is_away(road: tuple[Road, str], tmp_path: Path) -> None:
    way, url = road
    with ExitStack() as stack:
        server = stack.enter_context(running(tmp_path / "data", database_url=url))
        client = server.client()
        store = client.create_datastore(datastoreName="a")["datastoreId"]
        way.close()
        for method, path, body in (
            ("GET", "/datastore", b""),
            ("POST", "/datastore", b'{"datastoreName":"b","clientToken":"b"}'),
            ("GET", f"/datastore/{store}/studies", b""),
            (
                "POST",
                f"/datastore/{store}/imageSet/{'0' * 32}/getImageFrame",
                b'{"imageFrameId":"%s"}' % (b"0" * 32),
            ),
        ):
            reply = server.send(server.signed(method, path, body))
            assert (reply.status, reply.headers["retry-after"]) == (503, "1"), path
            assert reply.headers["x-amzn-errortype"] == "ServiceUnavailableException"
            assert "again later" in json.loads(reply.body)["message"]
        sts = boto3.client(
            "sts", endpoint_url=server.url, region_name=REGION, aws_access_key_id="AKLW" + "A" * 16,
            aws_secret_access_key="x", config=boto3.session.Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip
        with pytest.raises(ClientError) as refused:
            sts.get_caller_identity()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert refused.value.response["Error"]["Code"] == "ServiceUnavailableException"
        assert not [line for line in server.err if "Traceback" in line and '"request failed"' in line]
        assert server.call("GET", "/readyz").status == 503
        way.is_open = True
        assert client.list_datastores()["datastoreSummaries"][0]["datastoreId"] == store
