"""Uploads whose signature can only be checked at their end: it covers a hash of the body that is not sent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.credentials import Credentials

from tests.ct_files import ct
from tests.dicomweb.storing import RELATED, Store, new, part10, related
from tests.server import Reply, Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("unproved") / "data", "--log-format", "json") as server:
        yield server


@pytest.fixture
def store(server: Server) -> Store:
    return new(server)


def logged(server: Server, reply: Reply) -> dict[str, Any]:
    """The line of the log that the request got."""
    id = reply.headers["x-amzn-requestid"]
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for line in list(server.err):
            if id in line and json.loads(line)["event"] == "request":
                found: dict[str, Any] = json.loads(line)
                return found
        time.sleep(0.01)
    raise AssertionError(f"nothing is logged of {id}")


def test_logs_no_caller_before_the_signature_is_proved(store: Store) -> None:
    server, body = store.server, related(part10(ct(1)))
    forged = Credentials(server.root.access_key, "A" * 40)
    request = server.signed("POST", store.path(), body, credentials=forged, headers={"content-type": RELATED})
    refused = server.send(request)
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert "caller" not in logged(server, refused)
    taken, _ = store.post(body)
    assert taken.status == 200
    assert logged(server, taken)["caller"] == "arn:aws:iam::000000000000:root"
