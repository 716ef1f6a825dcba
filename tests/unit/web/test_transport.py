"""The head of an answer goes out together with its body."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from lightwell.web.transport import JoiningTransport


class Sent:
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

    def set_write_buffer_limits(self, high: int) -> int:
        return high

    def is_closing(self) -> bool:
        return self.closed

    get_extra_info = pause_reading = resume_reading = None


def after_a_turn(*written: bytes) -> list[list[bytes]]:
    async def write() -> list[list[bytes]]:
        sent = Sent()
        transport = JoiningTransport(cast(asyncio.Transport, sent), asyncio.get_running_loop())
        for data in written:
            transport.write(data)
        await asyncio.sleep(0)
        return sent.calls

    return asyncio.run(write())


def test_sends_head_and_body_at_once() -> None:
    assert after_a_turn(b"head", b"body") == [[b"head", b"body"]]
    assert after_a_turn(b"head", b"") == [[b"head", b""]]


def test_sends_a_head_alone_at_the_end_of_the_turn() -> None:
    assert after_a_turn(b"head") == [[b"head"]]


def test_keeps_the_order_of_answers() -> None:
    assert after_a_turn(b"head", b"body", b"head 2") == [[b"head", b"body"], [b"head 2"]]
    large = bytes(20_000)
    assert after_a_turn(large, b"head", large, large) == [[large], [b"head", large], [large]]


def test_sends_what_waits_before_it_closes() -> None:
    async def write() -> None:
        sent = Sent()
        transport = JoiningTransport(cast(asyncio.Transport, sent), asyncio.get_running_loop())
        transport.write(b"refusal")
        transport.close()
        assert (sent.calls, sent.closed) == ([[b"refusal"]], True)
        await asyncio.sleep(0)
        assert sent.calls == [[b"refusal"]]

    asyncio.run(write())


def test_writes_nothing_to_a_connection_that_is_gone() -> None:
    async def write() -> None:
        sent = Sent()
        transport = JoiningTransport(cast(asyncio.Transport, sent), asyncio.get_running_loop())
        transport.write(b"head")
        sent.closed = True
        await asyncio.sleep(0)
        assert sent.calls == []

    asyncio.run(write())


def test_hands_on_everything_else() -> None:
    async def ask() -> None:
        transport = JoiningTransport(cast(asyncio.Transport, Sent()), asyncio.get_running_loop())
        assert transport.set_write_buffer_limits(7) == 7

    asyncio.run(ask())
