"""Takes connections from the socket that all HTTP workers share, so that each gets as many as the others.

Left to themselves, the first worker that wakes takes all that wait: eight connections that come at once
would all end on one core. So a worker that has more than the least busy one waits a moment for that one to
come first, and takes what is still there then.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from lightwell.observe.metrics import Recorder

log = logging.getLogger(__name__)

_MOMENT = 0.002
_OUT_OF_FILES = 0.5


class Acceptor:
    """One worker's side of the listening socket; uvicorn calls `close` and `wait_closed` at the end."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        recorder: Recorder,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make = make
        self._recorder = recorder
        self._tls = tls
        self._open = 0
        self._again: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[object]] = set()
        self._is_closed = False

    def start(self, backlog: int) -> None:
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self.count(0)
        self._loop.add_reader(self._listener.fileno(), self._waiting)

    def count(self, number: int) -> None:
        """So many connections are open now."""
        self._open = number
        self._recorder.connections(number)

    def renew(self, tls: ssl.SSLContext) -> None:
        """Connections that begin from now on get this certificate."""
        self._tls = tls

    def close(self) -> None:
        self._is_closed = True
        if self._again is not None:
            self._again.cancel()
        else:
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Nothing to wait for: connections are counted by uvicorn."""

    def _waiting(self) -> None:
        fewest = self._recorder.meter.fewest_connections()
        if self._open + len(self._opening) > fewest + fewest // 8:
            self._pause(_MOMENT)
        else:
            self._take()

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._again = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._again = None
        self._loop.add_reader(self._listener.fileno(), self._waiting)
        self._take()

    def _take(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.error("no connection can be taken: %s", error.strerror)
            self._pause(_OUT_OF_FILES)
            return
        connection.setblocking(False)
        task: asyncio.Task[object] = self._loop.create_task(self._begin(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, connection, ssl=self._tls)
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            # The client left, or its TLS handshake failed: its own affair.
            connection.close()
