"""A proxy in front of an S3 server that understands it: answers that are wrong, missing or lies.

Where `tests.support.tcp_proxies` cut and delay bytes, this one takes requests and answers apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
INTERNAL = b"<Error><Code>InternalError</Code><Message>We have had an error.</Message></Error>"
WRONG_KEY = b"<Error><Code>InvalidAccessKeyId</Code><Message>The key is not in our records.</Message></Error>"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    head: bytes
    body: bytes

    @property
    def is_listing(self) -> bool:
        return self.method == "GET" and "list-type=2" in self.target


@dataclass(frozen=True, slots=True)
class Answer:
    """``cut``: after how many bytes of the body the connection ends."""

    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    cut: int | None = None


Ask = Callable[[], Answer]
"""Asks the server itself."""
Fault = Callable[[Request, Ask], Answer | None]
"""What becomes of a request; None to have it answered as the server does."""


def refuses(status: int, body: bytes, **of: object) -> Fault:
    """The request does not come to the server."""
    return lambda request, ask: (
        Answer(status, [(b"Content-Type", b"application/xml")], body) if _is(request, of) else None
    )


def stores_and_fails(request: Request, ask: Ask) -> Answer | None:
    """A PUT that is answered 500 though the object is there."""
    return replace(ask(), status=500, body=INTERNAL) if request.method == "PUT" else None


def loses(request: Request, ask: Ask) -> Answer | None:
    """A PUT that is answered 200 though there is no object."""
    if request.method != "PUT":
        return None
    return Answer(200, [(b"ETag", b'"d41d8cd98f00b204e9800998ecf8427e"')])


def cuts(after: int) -> Fault:
    """GETs of objects end early."""
    return lambda request, ask: replace(ask(), cut=after) if _is_get(request) else None


def flips(request: Request, ask: Ask) -> Answer | None:
    """GETs bring as many bytes as they should, one of which is another."""
    if not _is_get(request):
        return None
    answer = ask()
    middle = len(answer.body) // 2
    body = bytearray(answer.body)
    if body:
        body[middle] ^= 1
    return replace(answer, body=bytes(body))


def _is_get(request: Request) -> bool:
    return request.method == "GET" and not request.is_listing


def _is(request: Request, of: dict[str, object]) -> bool:
    return all(getattr(request, name) == value for name, value in of.items())


class FaultyS3:
    """Leads to the S3 server at ``url`` by its own `url`. ``faults`` are used up: the first one that has an
    answer to a request gives it, and is taken off unless it is ``for_all``.

    ``seen``: the methods of all requests.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = parts.hostname or "", parts.port or 80
        self.faults: list[Fault] = []
        self.for_all: Fault | None = None
        self.delay = 0.0
        self.seen: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def end(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                request = await _read_request(reader, writer)
                self.seen.append(request.method)
                await asyncio.sleep(self.delay)
                answer = await asyncio.to_thread(self._answer, request)
                writer.write(_bytes(request, answer))
                await writer.drain()
                if answer.cut is not None:
                    break

    def _answer(self, request: Request) -> Answer:
        def ask() -> Answer:
            return asyncio.run(_ask(self._target, request))

        for fault in [*self.faults] if self.for_all is None else [self.for_all]:
            if (answer := fault(request, ask)) is not None:
                with suppress(ValueError):
                    self.faults.remove(fault)
                return answer
        return ask()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    if re.search(rb"(?i)\r\nexpect: 100", head):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(reader, head, is_head=False)
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    return Request(method, target, head, body)


async def _read_body(reader: asyncio.StreamReader, head: bytes, *, is_head: bool) -> bytes:
    if is_head:
        return b""
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        pieces = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readuntil(b"\r\n")
        return b"".join(pieces)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return await reader.readexactly(int(length[1])) if length else b""


async def _ask(target: tuple[str, int], request: Request) -> Answer:
    reader, writer = await asyncio.open_connection(*target)
    head = re.sub(rb"(?i)\r\n(connection|expect): [^\r]*", b"", request.head)
    writer.write(head.removesuffix(b"\r\n") + b"connection: close\r\n\r\n" + request.body)
    await writer.drain()
    found = await reader.readuntil(b"\r\n\r\n")
    status = int(found.split(b" ", 2)[1])
    bodiless = request.method == "HEAD" or status in (204, 304)
    body = await _read_body(reader, found, is_head=bodiless)
    writer.close()
    headers = [
        (name, value.strip())
        for name, _, value in (line.partition(b":") for line in found.split(b"\r\n")[1:] if line)
        if name.lower() not in (b"connection", b"transfer-encoding")
    ]
    return Answer(status, headers, body)


def _bytes(request: Request, answer: Answer) -> bytes:
    lines = [b"HTTP/1.1 %d Said" % answer.status]
    has_length = request.method == "HEAD" or answer.status in (204, 304)
    for name, value in answer.headers:
        if has_length or name.lower() != b"content-length":
            lines.append(name + b": " + value)
    if not has_length:
        lines.append(b"Content-Length: %d" % len(answer.body))
    body = answer.body if answer.cut is None else answer.body[: answer.cut]
    return b"\r\n".join([*lines, b"", b""]) + (b"" if request.method == "HEAD" else body)
