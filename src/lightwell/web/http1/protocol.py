"""HTTP/1.1 on a connection: uvicorn's protocol, with the limits that it leaves to others.

A head is at most `HEAD_LIMIT`, has at most `MAX_HEADERS` and takes at most `HEAD_SECONDS`; a body comes at
`BODY_RATE` at least, seen over `BODY_SECONDS`, and what surrounds it (extensions of chunks, trailers, which
are dropped) is at most `HEAD_LIMIT`; an answer that nobody takes anything of is broken off after
`UNREAD_SECONDS`, or after `STUCK_SECONDS` where others want the room; a connection that says nothing is
closed after `SILENT_SECONDS`. Of requests sent without waiting for answers `MAX_PIPELINED` wait; what comes
behind them is not read, and where it has come already the connection ends after them (RFC 9112 §9.3.2: the
client sends the rest again). For a request that arrives whole no timer is started, and no task either as long
as nothing has to be waited for. An ``Upgrade`` is ignored (RFC 9110 §7.8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized
from typing import Any, cast

import httptools
import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lightwell.clock import Ids
from lightwell.web.http1.connections import Rank
from lightwell.web.http1.response_cycle import EXTENSIONS, Flag, ResponseCycle, SuspendedCoroutine, resume

HEAD_LIMIT = 64 << 10
MAX_HEADERS = 200
HEAD_SECONDS = 20.0
BODY_SECONDS = 20.0
BODY_RATE = 1 << 10  # bytes a second
SILENT_SECONDS = 75.0
UNREAD_SECONDS = 300.0
STUCK_SECONDS = 10.0
LINGER_SECONDS = 20.0
MAX_PIPELINED = 64

_ASGI = {"version": "3.0", "spec_version": "2.3"}
# Of these, a target is a path and a query and nothing else.
_PLAIN_TARGET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/?&=%:,+*@!$'();"


class _Flow(FlowControl):
    """Reads nothing as long as requests wait, whoever of them asks for its body: it has come."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class _TooManyRequestsError(Exception):
    """More requests wait than may."""


class _TooManyHeadersError(Exception):
    """A head has more headers than it may."""


class Protocol(HttpToolsProtocol):
    """One connection. ``on_made`` is called with it when it is open, ``on_lost`` when it is closed."""

    def __init__(
        self,
        *args: Any,
        on_made: Callable[[Protocol], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._on_made = on_made
        self._on_lost = on_lost
        self._timer: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._silent_since: float | None = None  # None while a request or its answer is under way
        self._next: ResponseCycle | None = None  # to be begun when the parser has seen all that came
        self._head_open = False  # a request began and its head is not complete
        self._head_since = 0.0
        self._body_open = False
        self._head_size = 0
        self._body_seen = 0
        self._body_overhead = 0  # bytes since the last of the body
        self._unread: asyncio.TimerHandle | None = None
        self._unread_size = 0  # bytes that the client had yet to take when that was last looked at
        self._unread_since = 0.0  # when it had last changed
        self._current: ResponseCycle | None = None  # that is being answered, or was last
        self._ignores_input = False  # nothing more is read
        self._framing = b""  # of a body that follows an Upgrade

    # What the connection says

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._silent_since = self.loop.time()
        self._silence = self.loop.call_later(SILENT_SECONDS, self._check_silence)
        if self._on_made is not None:
            self._on_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        for timer in (self._silence, self._unread):
            if timer is not None:
                timer.cancel()
        if self._current is not None and not self._current.response_complete:
            self._current.disconnected = True
        super().connection_lost(exc)
        if self._on_lost is not None:
            self._on_lost()

    def rank(self) -> Rank | None:
        """How soon it may go where there are too many; None during a request whose answer is being taken."""
        if self._silent_since is not None:
            return int(self.transport.get_write_buffer_size() > 0), self._silent_since
        is_answering = self._current is not None and not self._current.response_complete
        if self._head_open and not is_answering:
            return 1, self._head_since
        return None if self._unread is None else self._unread_rank()

    def _unread_rank(self) -> Rank | None:
        """Who takes a little, as over a slow line, stays."""
        now, size = self.loop.time(), self.transport.get_write_buffer_size()
        if size != self._unread_size:
            self._unread_size, self._unread_since = size, now
        return (2, self._unread_since) if now - self._unread_since > STUCK_SECONDS else None

    def drop(self) -> None:
        """End it now."""
        self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_size = 0
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._abort)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._ignores_input:
            return
        if not (self._head_open or self._body_open):
            self._head_size = 0
        if self._body_open:
            self._body_seen += len(data)
            self._body_overhead += len(data)
        else:
            self._head_size += len(data)
        fault: httptools.HttpParserError | None = None
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            fault = error
        cycle, self._next = self._next, None
        if cycle is not None and not (fault is not None and self._body_open and cycle is self.cycle):
            self._begin(cycle)
        if fault is not None and not isinstance(fault.__context__, _TooManyHeadersError):
            self.send_400_response("")
        elif (
            fault is not None
            or (self._head_open and self._head_size > HEAD_LIMIT)
            or (self._body_open and self._body_overhead > HEAD_LIMIT)
        ):
            self._refuse(431, "RequestHeaderFieldsTooLargeException", "The head of the request is too large.")
        elif (self._head_open or self._body_open) and self._timer is None and not self.transport.is_closing():
            if self._head_open:
                self._head_since = self.loop.time()
                self._timer = self.loop.call_later(HEAD_SECONDS, self._time_out)
            else:
                self._body_seen = 0
                self._timer = self.loop.call_later(BODY_SECONDS, self._check_body)

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # There is none to what a client may ask for, so what follows is HTTP yet.
                data = data[upgrade.args[0] :]
                if self._framing:
                    self._parse_body()
            else:
                return

    def _parse_body(self) -> None:
        """Go on with the body of a request that had an Upgrade, which the parser does not take for one."""
        framing, self._framing = self._framing, b""
        callbacks = _RestartedParser(self)
        self.parser = httptools.HttpRequestParser(callbacks)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        callbacks.is_past_head = True

    # What the parser says

    def on_message_begin(self) -> None:
        self._head_open = True
        self._silent_since = None
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body_open:
            return  # A trailer was not signed, and nothing here is done with one.
        if len(self.headers) >= MAX_HEADERS:
            raise _TooManyHeadersError
        name = name.lower()
        self.headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_body(self, body: bytes) -> None:
        self._body_overhead = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """As uvicorn's, for an `ResponseCycle`; there is no upgrade, no root path and no limit of
        requests."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _TooManyRequestsError
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise httptools.HttpParserInvalidMethodError("What follows CONNECT may be no HTTP.")
            self._framing = _framing(self.headers)
        self._head_open, self._body_open = False, True
        self._body_overhead = 0
        self._silent_since = None
        self._stop_timer()
        parser = self.parser
        raw_path, query = _split(self.url)
        version = parser.get_http_version()
        scope: Any = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
            "method": parser.get_method().decode("ascii"),
            "path": raw_path.decode("ascii"),  # encoded yet: nothing here reads it
            "raw_path": raw_path,
            "query_string": query,
            "extensions": EXTENSIONS,
        }
        before = self.cycle
        self.cycle = cycle = ResponseCycle(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            False,
            self.server_state.default_headers,
            cast(asyncio.Event, Flag()),
            self.expect_100_continue,
            version != "1.0" and parser.should_keep_alive(),
            self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._next = cycle
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_message_complete(self) -> None:
        if self._framing:
            return
        self._body_open = False
        self._stop_timer()
        self._head_size = 0
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    # Requests one after the other

    def _begin(self, cycle: ResponseCycle) -> None:
        """Answer it here and now if nothing has to be waited for; else a task does from there on."""
        self._current = cycle
        running = cycle.run_asgi(self.app)
        try:
            future = running.send(None)
        except StopIteration:
            return
        task = self.loop.create_task(resume(SuspendedCoroutine(running, future)))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._body_open and self._current is not None and not self._current.keep_alive:
            self._linger()
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._current = cycle  # type: ignore[assignment]
            self.flow.resume_reading()
            self._start_asgi_task(cycle, app)
        else:
            self.flow.resume_reading()
            self._silent_since = self.loop.time()

    def _linger(self) -> None:
        """Take nothing more, but read on for a while.

        Closed at once, the connection would take the answer back from a client that still writes (RFC 9112
        §9.6).
        """
        self._ignores_input, self._body_open = True, False
        self._silent_since = self.loop.time()
        self._stop_timer()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    # What the timers say

    def _check_silence(self) -> None:
        # One timer that looks again costs less than one for every answer. After a request it is the server's
        # own setting that holds.
        limit = SILENT_SECONDS if self.cycle is None else self.timeout_keep_alive
        since = self._silent_since
        left = limit if since is None else since + limit - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self._silence = self.loop.call_later(left, self._check_silence)

    def _abort(self) -> None:
        self.transport.abort()

    def _time_out(self) -> None:
        self._timer = None
        if self._head_open and self.flow.read_paused:
            # What comes behind requests that wait is ours to read.
            self._timer = self.loop.call_later(HEAD_SECONDS, self._time_out)
            return
        self._refuse(408, "RequestTimeoutException", "The request did not arrive in time.")

    def _check_body(self) -> None:
        self._timer = None
        # A reader of ours that paused the connection is not the client's fault.
        if self._body_seen >= BODY_RATE * BODY_SECONDS or self.flow.read_paused:
            self._body_seen = 0
            self._timer = self.loop.call_later(BODY_SECONDS, self._check_body)
        else:
            self._time_out()

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
        if cycle is not None and not cycle.response_complete and not self._body_open:
            # Requests that came whole are answered yet; the connection ends with the last of them.
            cycle.keep_alive = False
            self._ignores_input, self._head_open = True, False
            return
        # An answer may be under way, or given before the body was complete.
        is_too_late = bool(self.pipeline) or (
            cycle is not None and (self._body_open if cycle.response_complete else cycle.response_started)
        )
        if not is_too_late:
            body = msgspec.json.encode({"message": message})
            lines = [
                STATUS_LINE[status].rstrip(),
                *(name + b": " + value for name, value in self.server_state.default_headers),
                b"content-type: application/json",
                b"content-length: %d" % len(body),
                b"cache-control: no-store",
                b"x-amzn-requestid: " + Ids().id().encode(),
                b"x-amzn-errortype: " + error.encode(),
                b"connection: close",
                b"",
                body,
            ]
            self.transport.write(b"\r\n".join(lines))
        self.transport.close()


class _RestartedParser:
    """Hears, for a connection, a parser whose first head is not what the client sent."""

    def __init__(self, protocol: Protocol) -> None:
        self.is_past_head = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete
        self._protocol = protocol

    def on_message_begin(self) -> None:
        if self.is_past_head:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.is_past_head:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_past_head:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.is_past_head:
            self._protocol.on_headers_complete()


def _framing(headers: list[tuple[bytes, bytes]]) -> bytes:
    """What says how long the body is, as lines of a head; empty where there is none."""
    lines = [
        name + b": " + value + b"\r\n"
        for name, value in headers
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
    ]
    return b"".join(lines)


def _split(url: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request's target (RFC 9112 §3.2).

    Raises `httptools.HttpParserError` or UnicodeDecodeError for what is none, which the parser passes on.
    """
    if url.startswith(b"/") and not url.translate(None, _PLAIN_TARGET):
        path, _, query = url.partition(b"?")
        return path, query
    parsed = httptools.parse_url(url)
    return parsed.path, parsed.query or b""
