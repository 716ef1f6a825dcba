"""A request and its response on a connection: uvicorn's, but with as few system calls as possible.

uvicorn writes head and body separately, and uvloop sends each at once: that is two system calls, and wakes
the client up for a head that it can do nothing with. Here the head waits for the first bytes of the body.

A response without a ``content-length`` is sent in chunks (RFC 9112 §7.1); to an HTTP/1.0 client, which does
not know them, it ends with the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from lightwell.web.requests.responses import WHOLE_RESPONSE

EXTENSIONS: dict[str, dict[str, object]] = {WHOLE_RESPONSE: {}}
_START, _BODY = "http.response.start", "http.response.body"
_BODILESS = (204, 304)
# The bytes that may be in a head, apart from its line ends.
_PRINTABLE = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])


class Flag:
    """An `asyncio.Event` that costs next to nothing until someone has to wait for it."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def clear(self) -> None:
        self._is_set = False
        if self._event is not None:
            self._event.clear()

    async def wait(self) -> None:
        if not self._is_set:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()


class ResponseCycle(RequestResponseCycle):
    """One request and its response."""

    _head = b""
    _in_chunks = False
    _length: int | None = None  # what is left of the announced content-length, if any

    async def receive(self) -> Any:
        """As ASGI defines it: what has arrived of the body, or what comes next, which is waited for."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not (self.disconnected or self.response_complete):
            if self.flow.read_paused:
                self.flow.resume_reading()
            flag = self.message_event
            if not flag.is_set():
                await flag.wait()
            flag.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Any) -> None:
        """As ASGI defines it. Raises RuntimeError for what is not valid HTTP or not of the announced length.

        Raises ConnectionResetError if the client is gone and there is more to send.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            if message.get("more_body"):
                raise ConnectionResetError("The client is gone.")
            return
        kind = message["type"]
        if kind == WHOLE_RESPONSE and not self.response_started:
            self._begin(message["status"], message["headers"])
            body = message["body"]
            self._count_body(len(body))
            self._write(b"" if self._is_head_only else body)
            self._end()
        elif kind == _START and not self.response_started:
            self._begin(message["status"], message["headers"])
        elif kind == _BODY and self.response_started and not self.response_complete:
            body = message["body"]
            self._count_body(len(body))
            is_more_to_come = message.get("more_body", False)
            if self._is_head_only:
                self._write(b"")
            elif self._in_chunks:
                self._write_chunk(body, last=not is_more_to_come)
            else:
                self._write(body)
            if not is_more_to_come:
                self._end()
        else:
            raise RuntimeError(f"The ASGI message {kind} is not expected here.")

    @property
    def _is_head_only(self) -> bool:
        return bool(self.scope["method"] == "HEAD")

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        fields = [*self.default_headers, *headers]
        by_name = dict(fields)
        if by_name.get(b"connection") == b"close":
            self.keep_alive = False
        stated = by_name.get(b"content-length")
        length = int(stated) if stated is not None else 0 if status in _BODILESS else None
        if length is None:
            if self.scope["http_version"] == "1.1":
                self._in_chunks = True
                fields.append((b"transfer-encoding", b"chunked"))
            else:
                self.keep_alive = False
        self._length = length
        head = STATUS_LINE[status] + b"".join([b"%b: %b\r\n" % field for field in fields])
        if head.translate(None, _PRINTABLE) != b"\r\n" * (len(fields) + 1):
            raise RuntimeError("A header contains characters that are not allowed.")
        says_how_it_ends = self.keep_alive or b"\r\nconnection: close\r\n" in head
        self._head = head + (b"\r\n" if says_how_it_ends else b"connection: close\r\n\r\n")

    def _count_body(self, count: int) -> None:
        if self._length is not None:
            self._length -= count
            if self._length < 0:
                raise RuntimeError("The response is longer than its content-length.")

    def _end(self) -> None:
        if self._length and not self._is_head_only:
            raise RuntimeError("The response is shorter than its content-length.")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive and not self.more_body:
            self.transport.close()
        self.on_response()

    def _write(self, body: bytes) -> None:
        head, self._head = self._head, b""
        if head and body:
            self.transport.writelines((head, body))
        elif head or body:
            self.transport.write(head or body)

    def _write_chunk(self, body: bytes, *, last: bool) -> None:
        parts = [self._head] if self._head else []
        if body:
            parts += (b"%x\r\n" % len(body), body, b"\r\n")
        if last:
            parts.append(b"0\r\n\r\n")
        self._head = b""
        if parts:
            self.transport.writelines(parts)


class SuspendedCoroutine:
    """A coroutine that has run until it had to wait for ``future``. Awaiting this object continues it."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], future: Any) -> None:
        self._coroutine = coroutine
        self._future = future

    def __await__(self) -> Generator[Any, Any, None]:
        future = self._future
        while True:
            try:
                try:
                    value = yield future
                except BaseException as error:
                    future = self._coroutine.throw(error)
                else:
                    future = self._coroutine.send(value)
            except StopIteration:
                return


async def resume(suspended: SuspendedCoroutine) -> None:
    """Continue it in a coroutine, which a task can run."""
    await suspended
