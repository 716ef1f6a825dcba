"""What goes over a connection, and in how many calls, with and without a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

import pytest
import uvicorn

from lightwell.web.http1.protocol import Protocol
from lightwell.web.http1.response_cycle import Flag
from lightwell.web.requests import responses
from lightwell.web.requests.responses import Headers, Message, Receive, Response, Send

App = Callable[[Message, Receive, Send], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


class Wire:
    """A transport that keeps what it is given, a list a call."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.calls.append([data])

    def writelines(self, data: Any) -> None:
        self.calls.append(list(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    @property
    def bytes(self) -> bytes:
        return b"".join(b"".join(call) for call in self.calls)


def connect(app: App, wire: Wire) -> Protocol:
    config = uvicorn.Config(app, lifespan="off", log_config=None, http=Protocol, ws="none")
    config.load()
    protocol = Protocol(config, uvicorn.server.ServerState(), {})
    protocol.connection_made(cast(asyncio.Transport, wire))
    return protocol


async def let_loop_go_on() -> None:
    """For longer than any app here needs, which asks for turns but for no time."""
    for _ in range(20):
        await asyncio.sleep(0)


def talk(app: App, *received: bytes) -> Wire:
    """What an app says to these bytes, each of them a call, with turns of the loop between them."""

    async def main() -> Wire:
        wire = Wire()
        protocol = connect(app, wire)
        for data in received:
            protocol.data_received(data)
            await let_loop_go_on()
        protocol.connection_lost(None)
        return wire

    return asyncio.run(main())


def answering(*body: bytes, status: int = 200, headers: Headers | None = None, turns: int = 0) -> App:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        given = [(b"content-length", b"%d" % sum(map(len, body)))] if headers is None else headers
        await send({"type": "http.response.start", "status": status, "headers": given})
        for piece in body[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": body[-1]})

    return app


def test_sends_head_and_body_at_once() -> None:
    assert talk(answering(b"body"), GET).calls == [[OK + b"content-length: 4\r\n\r\n", b"body"]]


def whole(body: bytes, length: int | None = None) -> App:
    """An app that knows the extension."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        answer = responses.plain(200, body)
        if length is not None:
            answer.headers[-1] = (b"content-length", b"%d" % length)
        await responses.send_response(
            answer, send, supports_whole=responses.WHOLE_RESPONSE in scope["extensions"]
        )

    return app


def test_sends_the_same_by_one_message_as_by_two() -> None:
    async def in_two(scope: Message, receive: Receive, send: Send) -> None:
        await responses.send_response(responses.plain(200, b"body"), send)

    for request in (GET, GET.replace(b"GET", b"HEAD"), GET.replace(b"1.1", b"1.0")):
        one = talk(whole(b"body"), request, request)
        assert one.calls and one.calls == talk(in_two, request, request).calls


@pytest.mark.parametrize("length", [3, 5])
def test_cuts_short_a_whole_response_of_the_wrong_length(length: int) -> None:
    assert talk(whole(b"body", length), GET).closed


def test_waits_for_a_flag_only_if_it_is_not_set() -> None:
    async def main() -> list[str]:
        flag, seen = Flag(), []

        async def wait() -> None:
            await flag.wait()
            seen.append("through")

        waiters = [asyncio.create_task(wait()) for _ in range(2)]
        await asyncio.sleep(0)
        assert seen == []
        flag.set()
        await asyncio.gather(*waiters)
        await flag.wait()
        flag.clear()
        again = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert seen == ["through", "through"]
        flag.set()
        await again
        return seen

    assert asyncio.run(main()) == ["through"] * 3


def test_sends_only_a_head_if_there_is_no_body() -> None:
    head = OK + b"content-length: 4\r\n\r\n"
    assert talk(answering(b"body"), b"HEAD / HTTP/1.1\r\n\r\n").calls == [[head]]
    empty = talk(answering(b"", status=204, headers=[]), GET)
    assert empty.calls == [[b"HTTP/1.1 204 No Content\r\n\r\n"]]


def test_sends_pieces_as_they_come() -> None:
    wire = talk(answering(b"one", b"two", b""), GET)
    assert wire.calls == [[OK + b"content-length: 6\r\n\r\n", b"one"], [b"two"]]


def test_answers_within_the_same_turn_if_nothing_blocks() -> None:
    async def main() -> None:
        wire = Wire()
        connect(answering(b"now"), wire).data_received(GET)
        assert wire.bytes.endswith(b"now")

    asyncio.run(main())


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 10, 10_000])
def test_answers_alike_with_and_without_a_task(turns: int, size: int) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await answering(scope["raw_path"] + body, turns=turns)(scope, receive, send)

    requests = b"".join(
        b"POST /%d HTTP/1.1\r\n%s\r\n" % (number, rest)
        for number, rest in enumerate(
            (
                b"content-length: 4\r\n\r\nbody",
                b"transfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n",
                b"content-length: 0\r\n",
                b"connection: close\r\ncontent-length: 4\r\n\r\nlast",
            )
        )
    )
    wire = talk(app, *(requests[start : start + size] for start in range(0, len(requests), size)))
    bodies = (b"/0body", b"/1body", b"/2", b"/3last")
    closing = (b"", b"", b"", b"connection: close\r\n")
    assert wire.bytes == b"".join(
        OK + b"content-length: %d\r\n%s\r\n%s" % (len(body), close, body)
        for body, close in zip(bodies, closing, strict=True)
    )
    assert wire.closed


def test_sends_100_continue_only_if_expected() -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        await answering(body)(scope, receive, send)

    head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
    assert talk(app, head, b"body").bytes == (
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 4\r\n\r\nbody"
    )
    assert talk(answering(b""), head).bytes == OK + b"content-length: 0\r\n\r\n"


def test_closes_after_a_response_to_http_1_0() -> None:
    wire = talk(answering(b"old"), b"GET / HTTP/1.0\r\n\r\n")
    assert wire.bytes == OK + b"content-length: 3\r\nconnection: close\r\n\r\nold"
    assert wire.closed


def test_sends_connection_close_once() -> None:
    headers = [(b"content-length", b"1"), (b"connection", b"close")]
    wire = talk(answering(b"x", headers=headers), b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert wire.bytes == OK + b"content-length: 1\r\nconnection: close\r\n\r\nx"
    assert wire.closed


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\x00b", b"\x7f"])
@pytest.mark.parametrize("turns", [0, 1])
def test_sends_no_header_that_ends_early(value: bytes, turns: int) -> None:
    headers = [(b"content-length", b"1"), (b"x", value)]
    wire = talk(answering(b"x", headers=headers, turns=turns), GET)
    assert b"set-cookie" not in wire.bytes and wire.closed


@pytest.mark.parametrize("length", [b"3", b"5"])
def test_cuts_short_a_response_of_the_wrong_length(length: bytes) -> None:
    assert talk(answering(b"body", headers=[(b"content-length", length)]), GET).closed


CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def test_sends_chunks_if_the_length_is_unknown() -> None:
    wire = talk(answering(b"one", b"", b"seventeen letters", b"", headers=[]), GET)
    assert wire.calls == [
        [CHUNKED, b"3\r\n", b"one", b"\r\n"],
        [b"11\r\n", b"seventeen letters", b"\r\n"],
        [b"0\r\n\r\n"],
    ]
    assert talk(answering(b"all", headers=[]), GET).bytes == CHUNKED + b"3\r\nall\r\n0\r\n\r\n"
    assert talk(answering(b"", headers=[]), GET).bytes == CHUNKED + b"0\r\n\r\n"


def test_closes_the_connection_if_a_client_does_not_know_chunks() -> None:
    wire = talk(answering(b"one", b"two", headers=[]), b"GET / HTTP/1.0\r\n\r\n")
    assert wire.bytes == OK + b"connection: close\r\n\r\nonetwo"
    assert wire.closed


def test_sends_no_chunk_if_there_is_no_body() -> None:
    for body in ((b"body",), (b"in ", b"pieces")):
        assert talk(answering(*body, headers=[]), b"HEAD / HTTP/1.1\r\n\r\n").bytes == CHUNKED


def test_sends_no_last_chunk_of_a_response_cut_short() -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise RuntimeError("the second is lost")

    wire = talk(app, GET)
    assert wire.bytes == CHUNKED + b"3\r\none\r\n" and wire.closed


def test_stops_a_response_that_nobody_will_read() -> None:
    seen: list[object] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            for number in range(3):
                seen.append(number)
                yield b"piece"
                await asyncio.sleep(0.01)
        finally:
            seen.append("closed")

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        answer = Response(200, [], pieces())
        await responses.send_response(answer, send)
        seen.append(answer.size)

    async def main() -> None:
        wire = Wire()
        protocol = connect(app, wire)
        protocol.data_received(GET)
        (task,) = protocol.tasks
        protocol.connection_lost(None)
        await task

    asyncio.run(main())
    assert seen == [0, 1, "closed", 5]


@pytest.mark.parametrize("turns", [0, 1])
def test_answers_500_if_the_application_fails(turns: int) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(turns)))
        raise RuntimeError("fault")

    assert talk(app, GET).bytes.startswith(b"HTTP/1.1 500 ")


def test_raises_errors_of_threads_in_the_application() -> None:
    seen: list[str] = []

    def fail() -> None:
        raise ValueError("in a thread")

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        for _ in range(2):
            try:
                await asyncio.get_running_loop().run_in_executor(None, fail)
            except ValueError as error:
                seen.append(str(error))
        await answering(b"caught")(scope, receive, send)

    async def main() -> bytes:
        wire = Wire()
        protocol = connect(app, wire)
        protocol.data_received(GET)
        (task,) = protocol.tasks
        await task
        return wire.bytes

    assert asyncio.run(main()).endswith(b"caught")
    assert seen == ["in a thread"] * 2


def test_tells_the_application_that_its_task_is_cancelled() -> None:
    seen: list[str] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await answering(b"cancelled")(scope, receive, send)

    async def main() -> bytes:
        wire = Wire()
        protocol = connect(app, wire)
        protocol.data_received(GET)
        (task,) = protocol.tasks
        await asyncio.sleep(0)
        task.cancel()
        await task
        return wire.bytes

    assert asyncio.run(main()).endswith(b"cancelled")
    assert seen == ["cancelled"]


def test_waits_while_the_connection_is_full() -> None:
    async def main() -> None:
        wire = Wire()
        protocol = connect(answering(b"late"), wire)
        protocol.pause_writing()
        protocol.data_received(GET)
        await asyncio.sleep(0)
        assert wire.calls == []
        protocol.resume_writing()
        await let_loop_go_on()
        assert wire.bytes.endswith(b"late")

    asyncio.run(main())


def test_writes_nothing_to_a_connection_that_is_gone() -> None:
    async def main() -> None:
        wire = Wire()
        protocol = connect(answering(b"late", turns=1), wire)
        protocol.data_received(GET)
        protocol.connection_lost(None)
        await let_loop_go_on()
        assert wire.calls == []

    asyncio.run(main())
