"""A function behind the Lambda Invoke API, called over persistent connections.

The clients of aiohttp and httpcore may take a stray response for the response to the next call, which here
would mistake one user for another (docs/design/own-code.md). This one closes the connection instead. There
are no redirects, no cookies, no decompression, and no proxies from the environment.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import cast

import httptools

from lightwell.auth.lambda_authorizer import AuthorizerFailure, HttpTarget
from lightwell.web.authorizers.fair_queue import FairQueue
from lightwell.web.authorizers.target_hosts import TargetHosts, target_hosts

MAX_CONNECTIONS = 64
"""Calls of one function that one HTTP worker has in progress at a time."""
MAX_WAITING = 1_000
IDLE_SECONDS = 55.0
MAX_RESPONSE = 1 << 20


class HttpFunction:
    """The connections to one function in one HTTP worker. Belongs to one event loop."""

    def __init__(self, target: HttpTarget, hosts: TargetHosts | None = None) -> None:
        """``hosts`` says where the target may be; by default what does if nothing is configured."""
        self._target = target
        self._hosts = hosts or target_hosts(None)
        self._head = (
            f"POST {target.path} HTTP/1.1\r\nhost: {target.authority}\r\nuser-agent: lightwell\r\n"
            "content-type: application/json\r\naccept: application/json\r\n"
            "x-amz-invocation-type: RequestResponse\r\ncontent-length: "
        ).encode()
        self._tls: ssl.SSLContext | None = None
        self._idle: list[_Connection] = []
        self._free = MAX_CONNECTIONS
        self._waiting: FairQueue[None] = FairQueue(MAX_WAITING)

    async def call(self, payload: bytes, request: str, client: str | None = None) -> bytes:
        """The body of the function's response to the JSON ``payload``. Raises `AuthorizerFailure`.

        Cancel it when time is up; the connection is then closed. ``client`` is the address for which it is
        called: while calls wait, each address has its turn.
        """
        await self._take_place(client)
        try:
            return await self._exchange(self._head + b"%d\r\n\r\n" % len(payload) + payload)
        finally:
            self._return_place()

    async def _take_place(self, client: str | None) -> None:
        if self._free > 0:
            self._free -= 1
            return
        place = self._waiting.join(client)
        if place is None:
            raise AuthorizerFailure("busy", f"{len(self._waiting)} calls already wait for a connection")
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._return_place()
            raise
        finally:
            self._waiting.leave(client, place)

    def _return_place(self) -> None:
        if not self._waiting.give(None):
            self._free += 1

    def close(self) -> None:
        """Close the idle connections; calls in progress finish on their own."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    async def closed(self) -> None:
        """Wait, after `close`, until the connections are closed."""
        await asyncio.sleep(0)

    async def _exchange(self, message: bytes) -> bytes:
        connection = self._idle_connection()
        if connection is not None:
            try:
                return await self._call_on(connection, message)
            except _ConnectionLostError:
                # The peer closed it while it was idle, so it cannot have seen the call.
                pass
        try:
            return await self._call_on(await self._connect(), message)
        except _ConnectionLostError as error:
            raise AuthorizerFailure("failed", f"the connection was lost: {error}") from None

    async def _call_on(self, connection: _Connection, message: bytes) -> bytes:
        try:
            status, is_error, body, keep_alive = await connection.call(message)
        except BaseException:
            connection.abort()
            raise
        if keep_alive and not connection.is_closed:
            connection.idle_since = connection.loop.time()
            self._idle.append(connection)
        else:
            connection.abort()
        _check(status, is_error)
        return body

    def _idle_connection(self) -> _Connection | None:
        """The most recently used open connection, if any. Those idle for too long are closed."""
        if not self._idle:
            return None
        now = asyncio.get_running_loop().time()
        while self._idle and (self._idle[0].is_closed or now - self._idle[0].idle_since > IDLE_SECONDS):
            self._idle.pop(0).abort()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
        return None

    async def _connect(self) -> _Connection:
        target, loop = self._target, asyncio.get_running_loop()
        if target.is_tls and self._tls is None:
            # In a thread: it reads the certificates of all authorities.
            self._tls = await loop.run_in_executor(None, ssl.create_default_context)
        try:
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise AuthorizerFailure("failed", f"cannot resolve {target.host}: {error}") from None
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        allowed, fault = self._hosts.allowed(target.host, addresses, is_tls=target.is_tls)
        if fault is not None:
            raise AuthorizerFailure("misconfigured", fault)
        return await self._connect_to(allowed)

    async def _connect_to(self, addresses: list[str]) -> _Connection:
        """A connection to the first of these addresses that takes one; the name is the target's."""
        target, loop, failure = self._target, asyncio.get_running_loop(), ""
        name = target.host if target.is_tls else None
        for address in addresses:
            try:
                _, connection = await loop.create_connection(
                    _Connection, address, target.port, ssl=self._tls, server_hostname=name
                )
            except OSError as error:
                # Certificates fail with it, too. So does a TimeoutError of the system.
                failure = str(error)
            else:
                return connection
        raise AuthorizerFailure("failed", f"cannot connect to {target.authority}: {failure}")


def _check(status: int, is_error: bool) -> None:
    """Raises `AuthorizerFailure` for a response that does not come from the function itself.

    404: Lambda has no such function; 403: it may not be called; anything else: it cannot be.
    """
    if status in (403, 404):
        raise AuthorizerFailure("misconfigured", f"the Invoke API answered {status}")
    if status != 200:
        raise AuthorizerFailure("failed", f"the Invoke API answered {status}")
    if is_error:
        raise AuthorizerFailure("failed", "the function ended with an error")


class _ConnectionLostError(Exception):
    """A connection was lost before any of the response arrived."""


_Result = tuple[int, bool, bytes, bool]


class _Connection(asyncio.Protocol):
    """One connection, which handles one call at a time."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_closed = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._pending: asyncio.Future[_Result] | None = None
        self._reset()

    async def call(self, message: bytes) -> _Result:
        """Status, whether Lambda says that the function failed, body, and whether to keep the connection."""
        assert self._transport is not None
        if self.is_closed:
            raise _ConnectionLostError("it was closed")
        self._parser = httptools.HttpResponseParser(self)
        self._reset()
        pending: asyncio.Future[_Result] = self.loop.create_future()
        self._pending = pending
        self._transport.write(message)
        return await pending

    def _reset(self) -> None:
        self._body = bytearray()
        self._is_response_begun = self._is_head_complete = self._has_length = self._is_error = False

    def abort(self) -> None:
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of asyncio.Transport under uvloop.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._pending is None:
            # Nobody is waiting for a response.
            self.abort()
            return
        self._is_response_begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(AuthorizerFailure("failed", f"the response is not valid HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        parser, pending = self._parser, self._pending
        if parser is None or pending is None or pending.done():
            return
        if self._is_head_complete and not self._has_length and error is None:
            # A body without a length ends with its connection.
            self._finish(parser, keep_alive=False)
        elif self._is_response_begun:
            pending.set_exception(
                AuthorizerFailure(
                    "failed", f"the response was cut short: {error or 'the connection was closed'}"
                )
            )
        else:
            pending.set_exception(_ConnectionLostError(str(error or "it was closed")))

    # httptools

    def on_message_begin(self) -> None:
        if self._pending is None:
            # A second response follows the first: the next call must not take it for its own.
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-amz-function-error":
            self._is_error = True
        elif name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        self._is_head_complete = True

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_RESPONSE:
            self._fail(
                AuthorizerFailure("misconfigured", f"the response is longer than {MAX_RESPONSE} bytes")
            )

    def on_message_complete(self) -> None:
        parser = self._parser
        if parser is not None and parser.get_status_code() >= 200:
            self._finish(parser, keep_alive=parser.should_keep_alive())

    def _finish(self, parser: httptools.HttpResponseParser, *, keep_alive: bool) -> None:
        pending, self._parser, self._pending = self._pending, None, None
        if pending is not None and not pending.done():
            pending.set_result((parser.get_status_code(), self._is_error, bytes(self._body), keep_alive))

    def _fail(self, failure: AuthorizerFailure) -> None:
        pending, self._pending = self._pending, None
        if pending is not None and not pending.done():
            pending.set_exception(failure)
        self.abort()
