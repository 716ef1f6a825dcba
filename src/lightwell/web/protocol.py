"""HTTP/1.1 on a connection: uvicorn's protocol, with the limits that it leaves to others.

A head is at most `HEAD_LIMIT` and takes at most `HEAD_SECONDS`; a body comes at `BODY_RATE` at least, seen
over `BODY_SECONDS`; a connection that says nothing is closed after `SILENT_SECONDS`. No timer is started
for a request that arrives whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lightwell.context import Ids
from lightwell.web.transport import JoiningTransport

HEAD_LIMIT = 64 << 10
HEAD_SECONDS = 20.0
BODY_SECONDS = 20.0
BODY_RATE = 1 << 10  # bytes a second
SILENT_SECONDS = 75.0


class Protocol(HttpToolsProtocol):
    """One connection. ``on_count`` hears how many are open whenever that changes."""

    def __init__(self, *args: Any, on_count: Callable[[int], None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_count = on_count or _ignore
        self._timer: asyncio.TimerHandle | None = None
        self._head_open = False  # a request began and its head is not complete
        self._body_open = False
        self._head_size = 0
        self._body_seen = 0

    # What the connection says

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]
        self.on_count(len(self.connections))
        self._timer = self.loop.call_later(SILENT_SECONDS, self._silent)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        self.on_count(len(self.connections))

    def data_received(self, data: bytes) -> None:
        # Before the first byte the timer of the silent connection runs; after it, that of this request.
        if not (self._head_open or self._body_open):
            self._stop_timer()
            self._head_size = 0
        if self._body_open:
            self._body_seen += len(data)
        else:
            self._head_size += len(data)
        super().data_received(data)
        if self._head_open and self._head_size > HEAD_LIMIT:
            self._refuse(431, "RequestHeaderFieldsTooLargeException", "The head of the request is too large.")
        elif self._timer is None and not self.transport.is_closing():
            if self._head_open:
                self._timer = self.loop.call_later(HEAD_SECONDS, self._late)
            elif self._body_open:
                self._body_seen = 0
                self._timer = self.loop.call_later(BODY_SECONDS, self._check_body)

    # What the parser says

    def on_message_begin(self) -> None:
        self._head_open = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_open, self._body_open = False, True
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._body_open = False
        self._stop_timer()
        self._head_size = 0
        super().on_message_complete()

    # What the timers say

    def _silent(self) -> None:
        self._timer = None
        self.transport.close()

    def _late(self) -> None:
        self._timer = None
        self._refuse(408, "RequestTimeoutException", "The request did not arrive in time.")

    def _check_body(self) -> None:
        self._timer = None
        # A reader of ours that paused the connection is not the client's fault.
        if self._body_seen >= BODY_RATE * BODY_SECONDS or self.flow.read_paused:
            self._body_seen = 0
            self._timer = self.loop.call_later(BODY_SECONDS, self._check_body)
        else:
            self._late()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Refusals that no request object is there for

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "BadRequestException", "The request is not valid HTTP.")

    def _refuse(self, status: int, error: str, message: str) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        # An answer may be under way, or given before the body was complete.
        is_too_late = cycle is not None and (
            self._body_open if cycle.response_complete else cycle.response_started
        )
        if not is_too_late:
            body = msgspec.json.encode({"message": message})
            lines = [
                STATUS_LINE[status].rstrip(),
                *(name + b": " + value for name, value in self.server_state.default_headers),
                b"content-type: application/json",
                b"content-length: %d" % len(body),
                b"x-amzn-requestid: " + Ids().id().encode(),
                b"x-amzn-errortype: " + error.encode(),
                b"connection: close",
                b"",
                body,
            ]
            self.transport.write(b"\r\n".join(lines))
        self.transport.close()


def _ignore(number: int) -> None:
    pass
