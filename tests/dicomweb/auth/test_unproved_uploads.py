"""Uploads whose signature can only be checked at their end: it covers a hash of the body that is not sent."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from tests.dicomweb.support.uploads import RELATED, Store, head, new, part10, related
from tests.support.ct_files import ct
from tests.support.server import Reply, Server, running, until


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
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in list(server.err):
            if id in line and json.loads(line)["event"] == "request":
                found: dict[str, Any] = json.loads(line)
                return found
        time.sleep(0.01)
    raise AssertionError(f"nothing is logged of {id}")


def test_logs_no_caller_before_the_signature_is_verified(store: Store) -> None:
    server, body = store.server, related(part10(ct(1)))
    forged = Credentials(server.root.access_key, "A" * 40)
    request = server.signed("POST", store.path(), body, credentials=forged, headers={"content-type": RELATED})
    refused = server.send(request)
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert "caller" not in logged(server, refused)
    taken, _ = store.post(body)
    assert taken.status == 200
    assert logged(server, taken)["caller"] == "arn:aws:iam::000000000000:root"


BIG = 17 << 20


def test_refuses_a_large_upload_that_states_no_hash_and_says_how_to_prove_it(store: Store) -> None:
    big = ct(1, size=16, Rows=9999)
    big.PixelData = bytes(BIG)
    body = part10(big)
    reply, _ = store.post(body, "application/dicom")
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
    assert "x-amz-content-sha256" in json.loads(reply.body)["message"]
    assert reply.headers["connection"] == "close"
    reply, report = store.post(body, "application/dicom", x_amz_content_sha256=sha256(body).hexdigest())
    assert reply.status == 200 and len(report.stored) == 1


def test_answers_an_unproved_client_that_never_stops_sending(store: Store) -> None:
    # It reads nothing before it has written all of it: four times what it may.
    request = store.server.signed("POST", store.path(), headers={"content-type": "application/dicom"})
    names = {name: value for name, value in request.headers.items() if name != "Content-Length"}
    for framing in ({"Transfer-Encoding": "chunked"}, {"Content-Length": str(4 * BIG)}):
        names |= {"Host": "{}:{}".format(*store.server.address)}
        piece = bytes(1 << 20)
        if "Transfer-Encoding" in framing:
            piece = b"%x\r\n%s\r\n" % (len(piece), piece)
        with socket.create_connection(store.server.address, timeout=120) as connection:
            connection.sendall(head(store.server, store.path(), {**names, **framing}))
            for _ in range(4 * BIG >> 20):
                connection.sendall(piece)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 413 ") and b"x-amz-content-sha256" in answer
    assert store.is_empty()


def test_keeps_room_for_others_while_strangers_upload(store: Store) -> None:
    """Uploads under a known key and a false signature, which go as far as they can and stop there."""
    forged = Credentials(store.server.root.access_key, "A" * 40)
    request = store.server.signed(
        "POST", store.path(), credentials=forged, headers={"content-type": "application/dicom"}
    )
    body = part10(ct(1))
    with ExitStack() as stack:
        refused = _refused_of_five(store, stack, dict(request.headers.items()), 16 << 20)
        assert b"\r\nretry-after: 5\r\n" in refused and b"x-amz-content-sha256" in refused
        reply, _ = store.post(body, "application/dicom", x_amz_content_sha256=sha256(body).hexdigest())
        assert reply.status == 200
    _wait_for_room(store)
    assert store.post(body, "application/dicom")[0].status == 200


def test_limits_all_uploads_together_even_proved_ones(tmp_path: Path) -> None:
    with running(tmp_path / "data", env={"LIGHTWELL_STORE_MAX_BYTES": "1m"}) as server:
        store = new(server)
        names = {"content-type": "application/dicom", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        request = server.signed("POST", store.path(), headers=names)
        with ExitStack() as stack:
            refused = _refused_of_five(store, stack, dict(request.headers.items()), 1 << 20)
            assert b"\r\nretry-after: 5\r\n" in refused
        _wait_for_room(store)
        reply, _ = store.post(part10(ct(1)), "application/dicom", x_amz_content_sha256="UNSIGNED-PAYLOAD")
        assert reply.status == 200


def _refused_of_five(store: Store, stack: ExitStack, signed: Mapping[str, str], size: int) -> bytes:
    """Five uploads that lack a byte each, of which four have room: what the one is answered that has not."""
    names = {name: value for name, value in signed.items() if name != "Content-Length"}
    names |= {"Host": "{}:{}".format(*store.server.address), "Content-Length": str(size)}
    made = []
    for _ in range(5):
        connection = stack.enter_context(socket.create_connection(store.server.address, timeout=120))
        connection.sendall(head(store.server, store.path(), names) + bytes(size - 1))
        made.append(connection)
    answered, _, _ = select.select(made, [], [], 60)
    assert answered, "all five had room"
    answer: bytes = answered[0].recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ")
    return answer


def _wait_for_room(store: Store) -> None:
    until(lambda: not store.spooled())


def test_reads_few_parts_of_an_unproved_upload(store: Store) -> None:
    """Cutting is work: a hundred thousand parts kept everybody else waiting for a second."""
    body = related(*[b"x"] * 1001)
    forged = Credentials(store.server.root.access_key, "A" * 40)
    request = store.server.signed(
        "POST", store.path(), body, credentials=forged, headers={"content-type": RELATED}
    )
    refused = store.server.send(request)
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
    assert "1000 parts" in json.loads(refused.body)["message"]
    assert "x-amz-content-sha256" in json.loads(refused.body)["message"]
    reply, _ = store.post(body, x_amz_content_sha256=sha256(body).hexdigest())
    assert reply.status == 409, "all parts were looked at, and are no DICOM"
