"""Bodies of somebody who knows an access key ID, as whoever has seen a presigned URL does, and no secret."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256

import pytest
from botocore.credentials import Credentials

from lightwell.web.requests import unproved_bodies
from tests.api.http.test_silent_connections import FILES, gone
from tests.support.server import Server, running, until

SIZE = 1 << 20
ROOM = unproved_bodies.ADDRESS_BYTES // SIZE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("unproved") / "data", files=FILES) as server:
        yield server


def head(server: Server, what: str, *, key: Credentials, size: int, stated: str | None = None) -> bytes:
    method, path = what.split()
    headers = {"x-amz-content-sha256": stated} if stated else {}
    signed = server.signed(method, path, b"", headers=headers, credentials=key).headers
    kept = {name: value for name, value in signed.items() if name.lower() != "content-length"}
    kept |= {"Host": "{}:{}".format(*server.address), "Content-Length": str(size)}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in kept.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def forged(server: Server) -> Credentials:
    return Credentials(server.root.access_key, "A" * 40)


@pytest.mark.parametrize("path", ["POST /datastore", "POST /", "POST /console/api/keys"])
def test_refuses_a_forged_signature_before_the_body_if_its_hash_is_stated(server: Server, path: str) -> None:
    with socket.create_connection(server.address, timeout=120) as connection:
        said = head(server, path, key=forged(server), size=SIZE, stated=sha256(bytes(SIZE)).hexdigest())
        connection.sendall(said)  # and nothing of the body
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 403 "), answer[:200]
    # STS looks at the service first, which this is not signed for.
    assert b"InvalidSignature" in answer or b"SignatureDoesNotMatch" in answer


def test_compares_a_body_with_the_hash_that_was_proved_before_it(server: Server) -> None:
    body = json.dumps({"datastoreName": "stated", "clientToken": "1"}).encode()
    for sent, status in ((body, 200), (body.replace(b"stated", b"forged"), 403)):
        stated = sha256(body).hexdigest().upper()
        with socket.create_connection(server.address, timeout=120) as connection:
            connection.sendall(
                head(server, "POST /datastore", key=server.root, size=len(body), stated=stated)
            )
            connection.sendall(sent)
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert (b"not the SHA-256 of the body received" in answer) is (status == 403)


@pytest.mark.parametrize("path", ["POST /datastore", f"GET /datastore/{'a' * 32}/studies/1/metadata"])
def test_holds_little_of_what_nobody_has_signed(server: Server, path: str) -> None:
    """One address gets a quarter of the room; what is refused is answered at once."""
    with ExitStack() as stack:
        made = []
        for _ in range(ROOM + 1):
            connection = stack.enter_context(socket.create_connection(server.address, timeout=120))
            connection.sendall(head(server, path, key=forged(server), size=SIZE) + bytes(SIZE - 1))
            made.append(connection)
        answered, _, _ = select.select(made, [], [], 60)
        assert answered, "all had room"
        answer = answered[0].recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"x-amz-content-sha256" in answer
        assert b"\r\nretry-after: 5\r\n" in answer
        # Whoever needs no room is served, from the same address: what is there at once, and what is proved.
        server.client().list_datastores()
        body = json.dumps({"datastoreName": "beside", "clientToken": path[:3]}).encode()
        with socket.create_connection(server.address, timeout=120) as slow:
            stated = sha256(body).hexdigest()
            said = head(server, "POST /datastore", key=server.root, size=len(body), stated=stated)
            slow.sendall(said + body[:9])
            assert not select.select([slow], [], [], 0.05)[0]
            slow.sendall(body[9:])
            assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")

    # As soon as they have gone, there is room again.
    def has_room() -> bool:
        with socket.create_connection(server.address, timeout=120) as again:
            again.sendall(head(server, path, key=forged(server), size=SIZE) + bytes(SIZE - 1))
            again.sendall(b"\0")
            return again.recv(65536).startswith(b"HTTP/1.1 403 ")

    until(has_room)


def test_drops_unproved_bodies_first_when_connections_are_scarce(server: Server) -> None:
    """They used to keep their places for as long as they sent a byte now and then."""
    with ExitStack() as stack:
        made = []
        for _ in range(FILES // 4 + 20):  # an address has a quarter of the files
            connection = stack.enter_context(socket.create_connection(server.address, timeout=60))
            connection.sendall(
                head(server, "POST /datastore", key=forged(server), size=1000) + b"a byte or two"
            )
            made.append(connection)
        server.client().list_datastores()
        assert gone(made[0])
