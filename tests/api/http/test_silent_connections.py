"""Connections without end, from clients that say nothing: whoever has something to say gets in."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path

import pytest

from lightwell.web.http1.protocol import STUCK_SECONDS
from tests.dicomweb.support.uploads import new, part10
from tests.support.certificates import certificate
from tests.support.ct_files import ct
from tests.support.server import Server, running, trusting, until

FILES = 512  # of which 256 are for connections, and half of those for the one address that tests come from
MANY = 400


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("silent") / "data", files=FILES) as server:
        yield server


def open_many(server: Server, stack: ExitStack, said: bytes, count: int = MANY) -> list[socket.socket]:
    made = []
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(server.address, timeout=60))
        if said:
            with suppress(BrokenPipeError, ConnectionResetError):  # it was dropped already
                connection.sendall(said)
        made.append(connection)
    return made


def gone(connection: socket.socket) -> bool:
    """Whether the server has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "said", [b"", b"GET /datastore HTTP/1.1\r\nHost: x\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_accepts_a_client_despite_400_silent_sockets(server: Server, said: bytes) -> None:
    with ExitStack() as stack:
        open_many(server, stack, said)
        client = server.client()
        created = client.create_datastore(datastoreName="beside")["datastoreId"]
        assert client.get_datastore(datastoreId=created)["datastoreProperties"]["datastoreStatus"] == "ACTIVE"
        for _ in range(20):  # new connections, each
            assert server.call("GET", "/healthz").status == 200
    faults = [line for line in server.err if '"level":"error"' in line]
    assert not faults, "\n".join(faults)


def test_accepts_a_client_despite_unread_responses(tmp_path: Path) -> None:
    with (
        running(tmp_path / "data", files=300) as server,
        ExitStack() as stack,
    ):  # 22 connections of an address
        store = new(server)
        large = ct(1, Rows=9999)
        large.PixelData = bytes(12 << 20)  # more than the system buffers
        body = part10(large)
        names = {"x_amz_content_sha256": sha256(body).hexdigest()}
        reply, report = store.post(body, "application/dicom", **names)
        assert reply.status == 200 and len(report.stored) == 1
        uids = large.StudyInstanceUID, large.SeriesInstanceUID, large.SOPInstanceUID
        path = store.path("{}/series/{}/instances/{}".format(*uids))
        wanted = {"accept": "application/dicom; transfer-syntax=*"}
        began, let_in = [], []
        for _ in range(30):
            began.append(time.monotonic())
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(60)
            connection.connect(server.address)
            request = server.signed("GET", path, headers=wanted)
            headers = {**request.headers, "Host": "{}:{}".format(*server.address)}
            lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
            with suppress(BrokenPipeError, ConnectionResetError):  # it was refused already
                connection.sendall("\r\n".join([*lines, "", ""]).encode())
            assert select.select([connection], [], [], 60)[0], "it was not answered"
            try:
                said = connection.recv(13, socket.MSG_PEEK)
            except ConnectionResetError:  # what it did not read makes the end a reset
                said = b""
            if said not in (b"", b"HTTP/1.1 503 "):
                let_in.append(time.monotonic())

        def is_in() -> bool:
            with suppress(OSError, http.client.HTTPException):
                return server.call("GET", "/healthz").status == 200
            return False

        # Who was let in all the same took the place of one that had been stuck since there was no room.
        assert len(let_in) >= 22
        assert all(at - began[20] > STUCK_SECONDS for at in let_in[22:]), "they have all there is"
        until(is_in)


def test_drops_the_oldest_idle_connections_and_keeps_active_ones(server: Server) -> None:
    def ask(connection: socket.socket) -> None:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")

    with ExitStack() as stack:
        talker, *made = open_many(server, stack, b"", 1)
        for number in range(360):
            made += open_many(server, stack, b"", 1)
            ask(made[-1])
            if number % 60 == 0:
                ask(talker)
        ask(talker)
        until(lambda: sum(map(gone, made)) >= len(made) - 127)
        closed = [gone(each) for each in made]
        assert closed.count(False) == 127  # with the talker 128
        # What came within a thousandth of a second is equally old.
        assert all(closed[:200]) and not any(closed[-100:])


def test_says_why_it_refuses_an_address_whose_connections_are_all_busy(server: Server) -> None:
    body = b'{"clientToken":"t"}'
    # Of senders who are known before their body: of others the oldest would have to go.
    stated = {"x-amz-content-sha256": sha256(body).hexdigest()}
    request = server.signed("POST", "/datastore", body, headers=stated)
    fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    head = (
        f"POST /datastore HTTP/1.1\r\nHost: {server.url[7:]}\r\n{fields}Content-Length: 19\r\n\r\n".encode()
    )
    answers = []

    with ExitStack() as stack:

        def is_refused() -> bool:
            # One of whom nothing was heard yet may have had to go for the last question.
            open_many(server, stack, head, 1)
            with socket.create_connection(server.address, timeout=60) as connection, suppress(OSError):
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answers.append(connection.recv(4096))  # what it did not read makes the next a reset
            return bool(answers) and answers[-1].startswith(b"HTTP/1.1 503 ")

        open_many(server, stack, head, 128)
        until(is_refused)
    answer, _, body = answers[-1].partition(b"\r\n\r\n")
    assert b"x-content-type-options: nosniff" in answer and b"cache-control: no-store" in answer
    assert b"content-length: %d" % len(body) in answer
    assert "too many open connections" in json.loads(body)["message"]


def test_accepts_a_client_despite_400_unfinished_handshakes(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "own")
    flags = ("--tls-cert", str(cert), "--tls-key", str(key))
    with running(tmp_path / "data", *flags, files=FILES) as server, ExitStack() as stack:
        open_many(server, stack, b"")
        with trusting().wrap_socket(socket.create_connection(server.address, timeout=60)) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        faults = [line for line in server.err if '"level":"error"' in line]
        assert not faults, "\n".join(faults)


def test_recovers_when_there_are_no_descriptors_left(tmp_path: Path) -> None:
    # Less than the least limit of connections and what the server has open beside.
    with running(tmp_path / "data", files=28) as server:
        with ExitStack() as stack:
            open_many(server, stack, b"", 100)
            for _ in range(5):
                assert server.call("GET", "/healthz").status == 200
            until(lambda: any("Too many open files" in line for line in server.err))
        until(lambda: server.call("GET", "/readyz").status == 200)
        assert server.client().list_datastores()["datastoreSummaries"] == []
