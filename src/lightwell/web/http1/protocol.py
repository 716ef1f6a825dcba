"""HTTP/1.1 on a connection: uvicorn's protocol, plus the limits that it lacks.

A head may have `HEAD_LIMIT` bytes and `MAX_HEADERS` headers, and take `HEAD_SECONDS`. A body must arrive at
`BODY_RATE` or faster, averaged over `BODY_SECONDS`, and what surrounds it (chunk extensions, and trailers,
which are dropped) may have `HEAD_LIMIT` bytes. As long as it is not known who sends it (`request.PROVED`), it
must be complete after `UNPROVED_SECONDS`, and its connection may be dropped if others need the room. A
response that the client does not read is cut short after `UNREAD_SECONDS`, or after `STUCK_SECONDS` if others
need the room. An idle connection is closed after `SILENT_SECONDS`. Of requests pipelined without waiting for
responses, `MAX_PIPELINED` are queued; what follows them is not read, and if it has arrived already, the
connection is closed after them (RFC 9112 §9.3.2: the client then sends the rest again). A request that
arrives in one piece starts no timer, nor a task as long as nothing blocks. An ``Upgrade`` is ignored (RFC
9110 §7.8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized
from itertools import chain
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lightwell.clock import Ids
from lightwell.web.http1.connections import Rank
from lightwell.web.http1.ignored_upgrade import RestartedParser, framing
from lightwell.web.http1.response_cycle import EXTENSIONS, Flag, ResponseCycle, SuspendedCoroutine, resume
from lightwell.web.http1.tls import subject
from lightwell.web.requests.request import CLIENT_CERTIFICATE, PROVED
from lightwell.web.requests.unproved_bodies import HOW_TO_PROVE

HEAD_LIMIT = 64 << 10
MAX_HEADERS = 200
HEAD_SECONDS = 20.0
BODY_SECONDS = 20.0
BODY_RATE = 1 << 10  # bytes a second
UNPROVED_SECONDS = 30.0
SILENT_SECONDS = 75.0
UNREAD_SECONDS = 300.0
STUCK_SECONDS = 10.0
LINGER_SECONDS = 20.0
MAX_PIPELINED = 64

_TOO_SLOW = (
    f"The sender of a request must be known within {UNPROVED_SECONDS:.0f} seconds. {HOW_TO_PROVE}: then the "
    "signature is verified first, and the body may take longer."
)
_ASGI = {"version": "3.0", "spec_version": "2.3"}
# A target of only these characters is nothing but a path and a query.
_PLAIN_TARGET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/?&=%:,+*@!$'();"


class _Flow(FlowControl):
    """Reads nothing as long as requests are queued, even if one asks for its body: it has arrived already."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if self.read_paused and not self._waiting:
            super().resume_reading()


class _TooManyRequestsError(Exception):
    """Too many requests are pipelined."""


class _HeadTooLargeError(Exception):
    """A head has too many bytes or headers."""


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
        self._silent_since: float | None = None  # None during a request and its response
        self._next: ResponseCycle | None = None  # to be started once the parser has seen all data
        self._head_open = False  # a request has begun, and its head is incomplete
        self._head_since = 0.0
        self._body_open = False
        self._head_size = 0
        self._body_seen = 0
        self._body_since = 0.0
        self._body_left = 0.0  # seconds that a body of an unproved sender may still take
        self._body_overhead = 0  # bytes that were not part of the body, since the last that was
        self._unread: asyncio.TimerHandle | None = None
        self._unread_size = 0  # bytes that the client had yet to read at the last look
        self._unread_since = 0.0  # when that last changed
        self._current: ResponseCycle | None = None  # the one being answered, or the last one
        self._ignores_input = False  # all further data is dropped
        self._client_certificate: str | None = None  # the subject of a verified one
        self._framing = b""  # of a body that follows an Upgrade

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._client_certificate = subject(transport.get_extra_info("peercert"))
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
        """How soon it may be dropped; None during a request, unless its response is not being read."""
        if self._silent_since is not None:
            return int(self.transport.get_write_buffer_size() > 0), self._silent_since
        is_answering = self._current is not None and not self._current.response_complete
        if self._head_open and not is_answering:
            return 1, self._head_since
        if self._body_open and self._is_unproved():
            return 1, self._body_since
        return None if self._unread is None else self._unread_rank()

    def _is_unproved(self) -> bool:
        """Whether the body that is being received is of somebody unknown, who gets no answer yet."""
        cycle = self.cycle
        return cycle is self._current and not cycle.response_started and PROVED not in cycle.scope

    def _unread_rank(self) -> Rank | None:
        """Rank 2 if nothing has been read for a while. A client on a slow line reads a little, and stays."""
        now, size = self.loop.time(), self.transport.get_write_buffer_size()
        if size != self._unread_size:
            self._unread_size, self._unread_since = size, now
        return (2, self._unread_since) if now - self._unread_since > STUCK_SECONDS else None

    def drop(self) -> None:
        """Close it now."""
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
        if fault is not None and not isinstance(fault.__context__, _HeadTooLargeError):
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
                self._body_since, self._body_left = self.loop.time(), UNPROVED_SECONDS
                self._watch_body()

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # No upgrade is supported, so what follows is still HTTP.
                data = data[upgrade.args[0] :]
                if self._framing:
                    self._parse_body()
            else:
                return

    def _parse_body(self) -> None:
        """Parse the body of a request with an Upgrade, which the parser itself would not."""
        framing, self._framing = self._framing, b""
        callbacks = RestartedParser(self)
        self.parser = httptools.HttpRequestParser(callbacks)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        callbacks.is_past_head = True

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        self._head_open = True
        self._silent_since = None
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body_open:
            return  # A trailer is not signed, and not used.
        headers = self.headers
        if len(headers) >= MAX_HEADERS:
            raise _HeadTooLargeError
        headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body_overhead = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Like uvicorn's, for a `ResponseCycle`, without upgrades, a root path and a limit of requests."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _TooManyRequestsError
        # However many heads and bodies have arrived in one piece with it.
        if len(self.url) + sum(map(len, chain.from_iterable(self.headers))) > HEAD_LIMIT:
            raise _HeadTooLargeError
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise httptools.HttpParserInvalidMethodError("What follows CONNECT need not be HTTP.")
            self._framing = framing(self.headers)
        self._head_open, self._body_open = False, True
        self._body_overhead = 0
        self._silent_since = None
        self._stop_timer()
        if b"expect" in dict(self.headers):
            expected = [value.lower() for name, value in self.headers if name == b"expect"]
            self.expect_100_continue = b"100-continue" in expected
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
            "path": raw_path.decode("ascii"),  # still encoded: nothing here reads it
            "raw_path": raw_path,
            "query_string": query,
            "extensions": EXTENSIONS,
        }
        if self._client_certificate is not None:
            scope[CLIENT_CERTIFICATE] = self._client_certificate
        before = self.cycle
        self.cycle = cycle = ResponseCycle(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            False,
            self.server_state.default_headers,
            Flag(),  # type: ignore[arg-type]
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

    # Requests, one after the other

    def _begin(self, cycle: ResponseCycle) -> None:
        """Respond right here if nothing blocks; otherwise a task continues from there."""
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
        """Close the connection, but read and drop what still arrives for a while.

        If it was closed at once, a client that is still sending would lose the response (RFC 9112 §9.6).
        """
        self._ignores_input, self._body_open = True, False
        self._silent_since = self.loop.time()
        self._stop_timer()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    # Timers

    def _check_silence(self) -> None:
        # One timer that checks repeatedly costs less than one for each response. After the first request the
        # server's own setting applies.
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
            # Reading is paused here, behind queued requests, so it is not the client that is late.
            self._timer = self.loop.call_later(HEAD_SECONDS, self._time_out)
            return
        self._refuse(408, "RequestTimeoutException", "The request did not arrive in time.")

    def _watch_body(self) -> None:
        self._body_seen = 0
        seconds = min(BODY_SECONDS, self._body_left) if self._is_unproved() else BODY_SECONDS
        self._timer = self.loop.call_later(seconds, self._check_body, seconds)

    def _check_body(self, seconds: float) -> None:
        """The body has been arriving for this long since the last look."""
        self._timer = None
        # If reading is paused here, it is not the client that is slow.
        if not self.flow.read_paused:
            self._body_left -= seconds
            is_over = self._body_left <= 0 and self._is_unproved()
            if is_over:
                self._refuse(408, "RequestTimeoutException", _TOO_SLOW)
                return
            if self._body_seen < BODY_RATE * seconds:
                self._time_out()
                return
        self._watch_body()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Errors for which there is no request object

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "BadRequestException", "The request is not valid HTTP.")

    def _refuse(self, status: int, error: str, message: str) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not self._body_open:
            # Complete requests are still answered; the connection is closed after the last of them.
            cycle.keep_alive = False
            self._ignores_input, self._head_open = True, False
            return
        # A response may have been started already, or sent before the body was complete.
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


def _split(url: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request's target (RFC 9112 §3.2).

    Raises `httptools.HttpParserError` or UnicodeDecodeError if it is malformed; the parser passes both on.
    """
    if url.startswith(b"/") and not url.translate(None, _PLAIN_TARGET):
        path, _, query = url.partition(b"?")
        return path, query
    parsed = httptools.parse_url(url)
    return parsed.path, parsed.query or b""
