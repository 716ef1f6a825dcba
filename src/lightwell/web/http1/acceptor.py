"""Accepts connections from the socket that all HTTP workers share, so that each gets an equal number.

Otherwise the first worker to wake up would accept everything: eight connections that arrive together would
all end up on one core. So a worker with more connections than the least busy one waits a moment to let that
one go first, and accepts what is left. `web.http1.connections` decides how many there may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial

from lightwell.observe.metrics import Recorder
from lightwell.web.http1.connections import Connections, OpenConnection
from lightwell.web.http1.protocol import Protocol

log = logging.getLogger(__name__)

_YIELD_SECONDS = 0.002
_OUT_OF_FILES_SECONDS = 0.1
_CONNECTIONS_FREED = 8
_LOG_SECONDS = 10.0
_FULL_SECONDS = 0.1
_HANDSHAKE_SECONDS = 20.0
_FULL_BODY = b'{"message":"Your address has too many open connections: close some of them."}'
_FULL_RESPONSE = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncache-control: no-store\r\n"
    b"x-content-type-options: nosniff\r\nretry-after: 1\r\n"
    b"x-amzn-errortype: ServiceUnavailableException\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_FULL_BODY), _FULL_BODY)
)


class Acceptor:
    """One worker's end of the listening socket; uvicorn calls `close` and `wait_closed` when it stops."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[Callable[[Protocol], None], Callable[[], None]], Protocol],
        recorder: Recorder,
        connections: Connections,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._recorder = recorder
        self._tls = tls
        self._connections = connections
        self._resuming: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[object]] = set()
        self._logged_at = float("-inf")
        self._is_closed = False

    def start(self, backlog: int) -> None:
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._recorder.connections(0)
        self._loop.add_reader(self._listener.fileno(), self._on_readable)

    def use_certificate(self, tls: ssl.SSLContext) -> None:
        """Use this context, with its certificate, for connections accepted from now on."""
        self._tls = tls

    def close(self) -> None:
        self._is_closed = True
        if self._resuming is not None:
            self._resuming.cancel()
        else:
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """There is nothing to wait for: uvicorn keeps track of the connections."""

    def _on_readable(self) -> None:
        fewest = self._recorder.meter.fewest_connections()
        if len(self._connections) > fewest + fewest // 8:
            self._pause(_YIELD_SECONDS)
        else:
            self._accept()

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._resuming = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        self._loop.add_reader(self._listener.fileno(), self._on_readable)
        self._accept()

    def _accept(self) -> None:
        now = self._loop.time()
        if not self._connections.has_room(now):
            self._pause(_FULL_SECONDS)
            return
        try:
            connection, peer = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if now - self._logged_at > _LOG_SECONDS:
                log.error("cannot accept connections: %s", error.strerror)
                self._logged_at = now
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # Free several: the stores have to open files, too.
                for _ in range(_CONNECTIONS_FREED):
                    self._connections.drop_one(now)
            self._pause(_OUT_OF_FILES_SECONDS)
            return
        connection.setblocking(False)
        address = peer[0] if isinstance(peer, tuple) else ""
        if not self._connections.has_room_for(address, now):
            with contextlib.suppress(OSError), connection:
                if self._tls is None:
                    connection.send(_FULL_RESPONSE)
            return
        entry = self._connections.add(address, now)
        task: asyncio.Task[object] = self._loop.create_task(self._begin(connection, entry))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _begin(self, connection: socket.socket, entry: OpenConnection) -> None:
        def make() -> Protocol:
            return self._make_protocol(entry.begin, partial(self._connections.remove, entry))

        options = {}
        if self._tls is not None:
            entry.handshake = asyncio.current_task()
            options = {"ssl_handshake_timeout": _HANDSHAKE_SECONDS}
        try:
            await self._loop.connect_accepted_socket(make, connection, ssl=self._tls, **options)
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            # The client left, or its TLS handshake failed or took too long. Nothing is wrong here.
            connection.close()
            self._connections.remove(entry)
