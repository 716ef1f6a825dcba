"""The codec workers, as an HTTP process reaches them: through the Unix socket of the work process.

``DATA/work.sock``, mode 0600. Each message is msgpack behind its length (u32): an `orders.Ask`, and for each
an `orders.Answer`, one after the other on a connection.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lightwell.codec_pool.requests import Envelope, PoolReply, PoolRequest, RequestError
from lightwell.errors import DamagedError, InputError, InternalError, NotFoundError, UnavailableError

SOCKET = "work.sock"
LENGTH = struct.Struct("<I")

# What fits into sockaddr_un everywhere, with its NUL.
_LONGEST_PATH = 100
# A work process that is starting, or another that takes its place, is waited for so long.
_CONNECT_SECONDS = 5.0
_SEND_SECONDS = 10.0
_IDLE_CONNECTIONS = 4
_STEP = 1 << 18

_encoder = msgspec.msgpack.Encoder()
_answers: msgspec.msgpack.Decoder[PoolReply] = msgspec.msgpack.Decoder(PoolReply)

_NOT_THERE = (
    "The process that reads images is not there: it is starting, or being started again. Try again in a "
    "moment; the server's log says more."
)
_LOST = (
    "The process that reads images ended while it was at this request, so what became of it is not known. "
    "Try again: to store something twice does no harm."
)
_LATE = "The process that reads images took longer than {:.0f} seconds for this request."


@contextmanager
def address(data: Path) -> Iterator[str]:
    """The socket's path as bind and connect take it: a long one by its folder's handle."""
    path = str(data.absolute() / SOCKET)
    if len(os.fsencode(path)) <= _LONGEST_PATH or not Path("/proc/self/fd").exists():
        yield path
        return
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)


class CodecPoolClient:
    """Asks codec workers, from any thread of one process. Nothing is opened before the first call."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()

    def ask(self, order: PoolRequest, timeout: float) -> PoolReply:
        """Have an order carried out, and wait.

        Raises `UnavailableError` where trying again may help: the work process is not there, was lost
        meanwhile, has too much to do, or its storage fails; `InputError` where the bytes are at fault;
        `NotFoundError` where something named is not there; `DamagedError` where what is kept is not what was
        stored; `InternalError` for a worker that died, reached
        its limit of memory or ``timeout`` seconds, and for our own faults.
        """
        until = time.monotonic() + timeout
        connection = self._connection(until)
        try:
            connection.settimeout(_SEND_SECONDS)
            connection.sendall(_framed(_encoder.encode(Envelope(timeout, order))))
            data = _receive(connection, until)
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
        answer = _answers.decode(data)
        if isinstance(answer, RequestError):
            raise _error(answer)
        return answer

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
                    raise UnavailableError(_NOT_THERE) from None
            time.sleep(0.05)

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < _IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


def _framed(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


def _receive(connection: socket.socket, until: float) -> bytes:
    (length,) = LENGTH.unpack(_exactly(connection, LENGTH.size, until))
    return _exactly(connection, length, until)


def _exactly(connection: socket.socket, length: int, until: float) -> bytes:
    data = bytearray(length)
    view, have = memoryview(data), 0
    while have < length:
        connection.settimeout(max(0.001, until - time.monotonic()))
        count = connection.recv_into(view[have : have + _STEP])
        if not count:
            raise ConnectionResetError
        have += count
    return bytes(data)


def _error(trouble: RequestError) -> Exception:
    if trouble.kind in ("busy", "storage"):
        return UnavailableError(trouble.message)
    if trouble.kind == "missing":
        return NotFoundError(trouble.message)
    if trouble.kind == "input":
        return InputError(trouble.message)
    if trouble.kind == "damaged":
        return DamagedError(trouble.message)
    return InternalError(trouble.message)
