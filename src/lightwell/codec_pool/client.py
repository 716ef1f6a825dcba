"""The codec workers as an HTTP process reaches them: through the Unix socket of the work process.

``DATA/work.sock``, mode 0600. A connection has one request at a time, a `requests.Envelope`, and for each a
`requests.PoolReply`, as msgpack in the frames of `lightwell.framing`.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from lightwell.codec_pool.failures import EXCEPTIONS
from lightwell.codec_pool.requests import Envelope, PoolReply, PoolRequest, RequestError
from lightwell.errors import InternalError, NotBuiltError, UnavailableError
from lightwell.framing import MessageBuffer, frame, receive
from lightwell.stores.data_folder.socket_path import socket_path

SOCKET = "work.sock"

# How long to wait for a work process that is starting, or taking the place of another.
_CONNECT_SECONDS = 5.0
_SEND_SECONDS = 10.0
_IDLE_CONNECTIONS = 4

_encoder = msgspec.msgpack.Encoder()
_replies: msgspec.msgpack.Decoder[PoolReply] = msgspec.msgpack.Decoder(PoolReply)

_NOT_RUNNING = (
    "The process that reads images is not running: it is starting, or being restarted. Try again in a "
    "moment; the server's log says more."
)
_LOST = (
    "The process that reads images ended while it worked on this request, so the outcome is unknown. "
    "Try again: storing something twice does no harm."
)
_NONE = (
    "This server has no codec workers, by its setting pool = none: it stores, renders and decodes nothing. "
    "Send the request to a server of the same database that has some."
)
_LATE = "The process that reads images took longer than {:.0f} seconds over this request."


def address(data: Path) -> AbstractContextManager[str]:
    """The socket's path as bind and connect take it."""
    return socket_path(data, SOCKET)


class CodecPoolClient:
    """Sends requests to codec workers, from any thread of one process; opens nothing before the first.

    ``exists``: whether this server has codec workers at all; without, every request is refused.
    """

    def __init__(self, data: Path, *, exists: bool = True) -> None:
        self._data = data
        self._exists = exists
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()

    def require(self) -> None:
        """Raises `NotBuiltError` where this server has no codec workers."""
        if not self._exists:
            raise NotBuiltError(_NONE)

    def ask(self, request: PoolRequest, timeout: float, caller: str = "") -> PoolReply:
        """Have a request carried out, and wait for the reply. ``caller`` as in `Envelope`.

        Raises `UnavailableError` where trying again may help: the work process is not there, ended meanwhile,
        has too much to do, or its storage fails; `InputError` where the bytes are at fault; `NotFoundError`
        where something that the request names is not there; `DamagedError` where what is kept is not what
        was stored; `InternalError` for a worker that died, or reached its limit of memory or ``timeout``
        seconds, and for our own faults; and what `require` raises.
        """
        self.require()
        until = time.monotonic() + timeout
        connection = self._connection(until)
        try:
            connection.settimeout(_SEND_SECONDS)
            connection.sendall(frame(_encoder.encode(Envelope(timeout, request, caller))))
            data = receive(connection, MessageBuffer(), until)
            if data is None:
                raise ConnectionResetError
        except TimeoutError:
            connection.close()
            raise InternalError(_LATE.format(timeout)) from None
        except OSError:
            connection.close()
            raise UnavailableError(_LOST) from None
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        reply = _replies.decode(data)
        if isinstance(reply, RequestError):
            raise EXCEPTIONS[reply.kind](reply.message)
        return reply

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connection(self, until: float) -> socket.socket:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect(until)
            # One that can be read has been closed: the work process was started again.
            if not select.select([connection], [], [], 0)[0]:
                return connection
            connection.close()

    def _connect(self, until: float) -> socket.socket:
        until = min(until, time.monotonic() + _CONNECT_SECONDS)
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                with address(self._data) as path:
                    connection.settimeout(_SEND_SECONDS)
                    connection.connect(path)
                return connection
            except OSError:
                connection.close()
                if time.monotonic() > until:
                    raise UnavailableError(_NOT_RUNNING) from None
            time.sleep(0.05)

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < _IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()
