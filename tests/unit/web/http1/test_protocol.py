"""What a connection may take in time, on a real loop with limits of a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import httptools
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from lightwell.web.http1 import protocol
from lightwell.web.http1.protocol import Protocol
from lightwell.web.requests.request import PROVED
from lightwell.web.requests.responses import Message, Receive, Send

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


broken_off: list[bytes] = []


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    """Answer with as many bytes as came; answer /early before the body was read, /large with 64 MB."""
    if scope["path"] == "/large":
        piece = bytes(1 << 20)
        headers = [(b"content-length", b"%d" % (64 << 20))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            for number in range(64):
                await send({"type": "http.response.body", "body": piece, "more_body": number < 63})
        except ConnectionResetError:
            broken_off.append(scope["query_string"])
        return
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        size, more = size + len(message["body"]), message["more_body"]
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


connections: list[Protocol] = []


def made(connection: Protocol) -> Protocol:
    connections.append(connection)
    return connection


def talk(with_server: Talk) -> None:
    """Run a conversation with a server of one connection."""
    connections.clear()
    broken_off.clear()

    async def main() -> None:
        config = uvicorn.Config(echo, lifespan="off", log_config=None, http=Protocol, ws="none")
        config.load()
        state = uvicorn.server.ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: made(Protocol(config, state, {})), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            await with_server(reader, writer)
        finally:
            writer.close()
            server.close()
            await asyncio.sleep(0)

    asyncio.run(main())


def short(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Limit this to a moment: nothing else, lest a busy machine exceed it."""
    for name in names:
        monkeypatch.setattr(protocol, name, 0.2)


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    return int(lines[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def test_closes_an_idle_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, "SILENT_SECONDS")

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""

    talk(silent)


def test_refuses_a_head_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, "HEAD_SECONDS")

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write() -> None:
            for letter in b"GET / HTTP/1.1\r\nHost: " + b"x" * 10_000:
                writer.write(bytes([letter]))
                await asyncio.sleep(0.01)

        task = asyncio.create_task(write())
        status, headers, _ = await answer(reader)
        task.cancel()
        assert (status, headers["x-amzn-errortype"]) == (408, "requesttimeoutexception")
        # What was still on its way when the server closed may reset the connection.
        with suppress(ConnectionResetError):
            assert await reader.read() == b""

    talk(trickle)


def test_refuses_a_body_that_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, "BODY_SECONDS")

    async def stop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nhalf")
        assert (await answer(reader))[0] == 408
        assert await reader.read() == b""

    talk(stop)


def test_accepts_a_slow_but_steady_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(protocol, "BODY_RATE", 500)
    check, receive = Protocol._check_body, Protocol.data_received

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Each piece is in the socket before the loop goes on, so that no pause of this process makes it late.
        checks = 0

        def received(connection: Protocol, data: bytes) -> None:
            receive(connection, data)
            if data.endswith(b"\r\n"):
                writer.write(b"x" * 50)

        def checked(connection: Protocol, seconds: float) -> None:
            nonlocal checks
            checks += 1
            writer.write(b"x" * 50)
            check(connection, seconds)

        monkeypatch.setattr(Protocol, "data_received", received)
        monkeypatch.setattr(Protocol, "_check_body", checked)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 250\r\n\r\n")
        status, _, body = await answer(reader)
        assert (status, body, checks) == (200, b"250", 4)

    talk(slow)


@pytest.mark.parametrize("is_proved", [False, True])
def test_ends_a_steady_body_unless_its_sender_is_known(
    monkeypatch: pytest.MonkeyPatch, is_proved: bool
) -> None:
    """It arrives fast enough, and would go on to: only for whom the application vouches may it take long."""
    monkeypatch.setattr(protocol, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(protocol, "BODY_RATE", 1)
    monkeypatch.setattr(protocol, "UNPROVED_SECONDS", 0.15)
    check = Protocol._check_body

    async def steady(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        looks: list[float] = []

        def checked(connection: Protocol, seconds: float) -> None:
            # What was sent before this look has arrived, however late the look is.
            connection._body_seen += 100
            if is_proved:
                cast(dict[str, object], connection.cycle.scope)[PROVED] = True
            looks.append(seconds)
            if len(looks) == 5:
                writer.write(b"x" * 96)
            check(connection, seconds)

        monkeypatch.setattr(Protocol, "_check_body", checked)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
        status, _, body = await answer(reader)
        if is_proved:
            assert (status, body) == (200, b"100") and len(looks) >= 5
        else:
            assert status == 408 and b"x-amz-content-sha256" in body
            assert looks == [0.1, pytest.approx(0.05)]

    talk(steady)


def test_answers_many_requests_on_one_connection_however_they_are_cut() -> None:
    async def many(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size in (1, 7, 1000):
            request = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" * 3
            for start in range(0, len(request), size):
                writer.write(request[start : start + size])
                await writer.drain()
            for _ in range(3):
                assert (await answer(reader))[::2] == (200, b"5")

    talk(many)


def test_sends_nothing_after_a_response_that_preceded_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, "BODY_SECONDS")

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /early HTTP/1.1\r\nContent-Length: 1000\r\n\r\nhalf")
        assert (await answer(reader))[::2] == (200, b"0")
        assert await reader.read() == b""

    talk(early)


def test_keeps_a_connection_open_between_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, "HEAD_SECONDS")

    async def two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await answer(reader))[0] == 200
            # Longer than the limit on a head: the time between two requests is none of it.
            await asyncio.sleep(0.4)

    talk(two)


def test_limits_a_head_that_arrives_in_pieces() -> None:
    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nx: ")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"a" * (protocol.HEAD_LIMIT + 1))
        assert (await answer(reader))[0] == 431

    talk(large)


@pytest.mark.parametrize("large", ["target", "header", "second"])
def test_limits_a_head_that_arrives_in_one_piece(large: str) -> None:
    """Given to the protocol as a socket gives what has arrived, up to 256 KiB at once."""
    long = b"a" * protocol.HEAD_LIMIT
    sent = {
        "target": b"GET /" + long + b" HTTP/1.0\r\n\r\n",
        "header": b"GET / HTTP/1.1\r\nx: " + long + b"\r\n\r\n",
        "second": b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nx: " + long + b"\r\n\r\n",
    }[large]

    async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await answer(reader))[0] == 200
        connections[-1].data_received(sent)
        if large == "second":
            assert (await answer(reader))[0] == 200
        assert (await answer(reader))[0] == 431

    talk(at_once)


_TARGETS = st.one_of(
    st.text('/?#%:@a0.~ [{"\\^`|<>\x7f\u00e9;=&', max_size=12).map(lambda text: "/" + text),
    st.sampled_from(["*", "http://host/path?query", "//host/path", "/a?b?c", "/?", "/#f", "host:443"]),
).map(lambda text: text.encode())


@given(_TARGETS)
def test_splits_a_target_as_the_library_does(target: bytes) -> None:
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserError:
        with pytest.raises(httptools.HttpParserError):
            protocol._split(target)
        return
    expected = (parsed.path, parsed.query or b"")
    assert protocol._split(target) == expected


def test_queues_few_requests_of_a_client_that_reads_no_responses() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cast(asyncio.Transport, writer.transport).pause_reading()
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        while not connections:
            await asyncio.sleep(0.001)
        (connection,) = connections
        for _ in range(10):
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi" * 1000)
            for _ in range(20):
                await asyncio.sleep(0.001)
                assert len(connection.pipeline) <= protocol.MAX_PIPELINED
        assert connection.pipeline
        assert connection.flow.read_paused
        connection.transport.abort()

    talk(flood)


def test_answers_the_queued_requests_of_too_many_and_closes() -> None:
    async def many(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" * 1000)
        answers = (await reader.read()).split(b"HTTP/1.1 ")[1:]
        assert len(answers) == protocol.MAX_PIPELINED + 1
        assert all(each.startswith(b"200 ") and each.endswith(b"5") for each in answers)
        assert [b"connection: close" in each for each in answers].count(True) == 1
        assert b"connection: close" in answers[-1]

    talk(many)


def test_answers_the_requests_before_an_invalid_one() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" * 3 + b"G\x00T\r\n\r\n")
        answers = (await reader.read()).split(b"HTTP/1.1 ")[1:]
        assert [each[:3] for each in answers] == [b"200"] * 3

    talk(garbage)


def test_writes_no_error_into_a_response() -> None:
    async def into(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        get = b"GET /large HTTP/1.1\r\n\r\n"
        writer.write(get + b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        content = await reader.read()
        assert b"400 Bad Request" not in content

    talk(into)


def test_limits_what_surrounds_a_body() -> None:
    for beside in (b"0\r\nx: " + b"a" * 1000, b"0\r\n" + b"x: y\r\n" * 1000, b"1;" + b"a=b;" * 1000):

        async def endless(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, beside: bytes = beside
        ) -> None:
            writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + beside)
            more = (beside.partition(b"\n")[2] or beside).removeprefix(b"0\r\n").removeprefix(b"1;")
            sent = 0
            try:
                while not writer.transport.is_closing() and not reader.at_eof():
                    assert sent < 16 << 20, "more than sockets hold was taken"
                    writer.write(more)
                    sent += len(more)
                    await asyncio.wait_for(writer.drain(), 5)
                    await asyncio.sleep(0)
                status = (await answer(reader))[0]
            except ConnectionError:
                status = None  # a client that goes on writing may lose what it was answered
            assert status in (431, None)

        talk(endless)


def test_drops_trailers() -> None:
    async def trailing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.02)
        writer.write(b"2\r\nhi\r\n0\r\nHost: elsewhere\r\n\r\n")
        assert (await answer(reader))[::2] == (200, b"2")
        assert connections[0].headers == [(b"transfer-encoding", b"chunked")]

    talk(trailing)


def test_cuts_short_a_response_that_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, "UNREAD_SECONDS")

    async def unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /large?unread HTTP/1.1\r\n\r\n")
        cast(asyncio.Transport, writer.transport).pause_reading()
        while not broken_off:
            await asyncio.sleep(0.01)
        assert broken_off == [b"unread"]

    talk(unread)


def test_stops_a_response_whose_client_has_left() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /large?left HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        await reader.readexactly(100)
        writer.transport.abort()
        while not broken_off:
            await asyncio.sleep(0.01)
        assert broken_off == [b"left"]

    talk(leave)
