"""A function behind the Lambda Invoke API, called over connections that are kept."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

import httptools

from lightwell.auth.lambda_authorizer import AuthorizerFailure, HttpTarget

MOST_CONNECTIONS = 64
"""Calls of one function that one HTTP worker has under way at a time."""
MOST_WAITING = 1_000
IDLE_SECONDS = 55.0
LONGEST_ANSWER = 1 << 20


class HttpFunction:
    """The connections to one function in one HTTP worker. To be used in one event loop."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target
        self._head = (
            f"POST {target.path} HTTP/1.1\r\nhost: {target.authority}\r\nuser-agent: lightwell\r\n"
            "content-type: application/json\r\naccept: application/json\r\n"
            "x-amz-invocation-type: RequestResponse\r\ncontent-length: "
        ).encode()
        self._tls: ssl.SSLContext | None = None
        self._idle: list[_Connection] = []
        self._slots = asyncio.Semaphore(MOST_CONNECTIONS)
        self._waiting = 0

    async def call(self, payload: bytes, request: str) -> bytes:
        """The body that the function answers to the JSON ``payload``. Raises `AuthorizerFailure`.

        To be cancelled by who has no more time; the connection is then closed.
        """
        if self._slots.locked():
            if self._waiting >= MOST_WAITING:
                raise AuthorizerFailure("busy", f"{MOST_WAITING} calls wait for a connection already")
            self._waiting += 1
            try:
                await self._slots.acquire()
            finally:
                self._waiting -= 1
        else:
            await self._slots.acquire()
        try:
            return await self._exchange(self._head + b"%d\r\n\r\n" % len(payload) + payload)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close what is idle; calls under way end by themselves."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    async def closed(self) -> None:
        """Wait, after `close`, until the connections are gone."""
        await asyncio.sleep(0)

    async def _exchange(self, message: bytes) -> bytes:
        connection = self._kept()
        if connection is not None:
            try:
                return await self._ask(connection, message)
            except _Stale:
                # Closed by the other side as it was idle, before it can have seen the call.
                pass
        try:
            return await self._ask(await self._connect(), message)
        except _Stale as lost:
            raise AuthorizerFailure("failed", f"the connection broke off: {lost}") from None

    async def _ask(self, connection: _Connection, message: bytes) -> bytes:
        try:
            status, is_error, body, can_stay = await connection.ask(message)
        except BaseException:
            connection.abort()
            raise
        if can_stay and not connection.is_lost:
            connection.idle_since = connection.loop.time()
            self._idle.append(connection)
        else:
            connection.abort()
        _check(status, is_error)
        return body

    def _kept(self) -> _Connection | None:
        """The connection that was used last, if one is open. Those that have long been idle are closed."""
        if not self._idle:
            return None
        now = asyncio.get_running_loop().time()
        while self._idle and (self._idle[0].is_lost or now - self._idle[0].idle_since > IDLE_SECONDS):
            self._idle.pop(0).abort()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_lost:
                return connection
        return None

    async def _connect(self) -> _Connection:
        target, loop = self._target, asyncio.get_running_loop()
        if target.is_tls and self._tls is None:
            # Reads the certificates of all authorities.
            self._tls = await loop.run_in_executor(None, ssl.create_default_context)
        try:
            _, connection = await loop.create_connection(_Connection, target.host, target.port, ssl=self._tls)
        except OSError as error:
            # Also of names and of certificates. TimeoutError is one, too, and not ours.
            raise AuthorizerFailure("failed", f"cannot connect to {target.authority}: {error}") from None
        return connection


def _check(status: int, is_error: bool) -> None:
    """Raises `AuthorizerFailure` for an answer that is none of the function's.

    Lambda has no such function (404), may not call it (403), or cannot (the rest).
    """
    if status in (403, 404):
        raise AuthorizerFailure("misconfigured", f"the Invoke API answered {status}")
    if status != 200:
        raise AuthorizerFailure("failed", f"the Invoke API answered {status}")
    if is_error:
        raise AuthorizerFailure("failed", "the function ended with an error")


class _Stale(Exception):
    """A connection was lost before any answer came."""


_Result = tuple[int, bool, bytes, bool]


class _Connection(asyncio.Protocol):
    """One connection, with one call at a time."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_lost = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._asked: asyncio.Future[_Result] | None = None
        self._begin()

    async def ask(self, message: bytes) -> _Result:
        """Status, whether Lambda says that the function failed, body, and whether the connection may stay."""
        assert self._transport is not None
        if self.is_lost:
            raise _Stale("it was closed")
        self._parser = httptools.HttpResponseParser(self)
        self._begin()
        asked: asyncio.Future[_Result] = self.loop.create_future()
        self._asked = asked
        self._transport.write(message)
        return await asked

    def _begin(self) -> None:
        self._body = bytearray()
        self._is_begun = self._is_headed = self._has_length = self._is_error = False

    def abort(self) -> None:
        self.is_lost = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No subclass under uvloop.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._asked is None:
            # Nothing was asked.
            self.abort()
            return
        self._is_begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(AuthorizerFailure("failed", f"the answer is no HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        parser, asked = self._parser, self._asked
        if parser is None or asked is None or asked.done():
            return
        if self._is_headed and not self._has_length and error is None:
            # Such a body ends with its connection.
            self._finish(parser, can_stay=False)
        elif self._is_begun:
            asked.set_exception(
                AuthorizerFailure("failed", f"the answer broke off: {error or 'it was closed'}")
            )
        else:
            asked.set_exception(_Stale(str(error or "it was closed")))

    # httptools

    def on_message_begin(self) -> None:
        if self._asked is None:
            # An answer behind the answer: whoever asks next must not take it for theirs.
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-amz-function-error":
            self._is_error = True
        elif name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        self._is_headed = True

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > LONGEST_ANSWER:
            self._fail(
                AuthorizerFailure("misconfigured", f"the answer is longer than {LONGEST_ANSWER} bytes")
            )

    def on_message_complete(self) -> None:
        parser = self._parser
        if parser is not None and parser.get_status_code() >= 200:
            self._finish(parser, can_stay=parser.should_keep_alive())

    def _finish(self, parser: httptools.HttpResponseParser, *, can_stay: bool) -> None:
        asked, self._parser, self._asked = self._asked, None, None
        if asked is not None and not asked.done():
            asked.set_result((parser.get_status_code(), self._is_error, bytes(self._body), can_stay))

    def _fail(self, failure: AuthorizerFailure) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_exception(failure)
        self.abort()
