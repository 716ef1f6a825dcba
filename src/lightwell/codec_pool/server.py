"""The door: the Unix socket at which HTTP processes hand direct orders in (`codec_pool.client`).

Only who holds ``DATA/engine.lock`` opens it, so a socket that is there already is of a dead process. One
thread takes connections and orders; whoever has carried an order out writes its answer.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from pathlib import Path

import msgspec

from lightwell.codec_pool.client import LENGTH, SOCKET, address
from lightwell.codec_pool.queue import PendingRequest, RequestQueue
from lightwell.codec_pool.requests import Envelope, PoolReply, RequestError

log = logging.getLogger(__name__)

# An order names places of bytes: a request of 1 GB in the smallest of files stays below.
_LONGEST = 64 << 20
_STEP = 1 << 18
_ANSWER_SECONDS = 30.0
_BACKLOG = 128

_asks: msgspec.msgpack.Decoder[Envelope] = msgspec.msgpack.Decoder(Envelope)
_encoder = msgspec.msgpack.Encoder()


class _ClientConnection:
    """One caller, who has one order under way at most."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()
        self.errand: PendingRequest | None = None

    def message(self) -> bytes | None:
        """The next whole message. Raises ValueError for one that is too long."""
        if len(self.received) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self.received)
        if length > _LONGEST:
            raise ValueError(f"a message of {length} bytes")
        end = LENGTH.size + length
        if len(self.received) < end:
            return None
        data = bytes(self.received[LENGTH.size : end])
        del self.received[:end]
        return data

    def reply(self, answer: PoolReply) -> None:
        """From any thread, once an order."""
        self.errand = None
        data = _encoder.encode(answer)
        with contextlib.suppress(OSError):
            self.sock.sendall(LENGTH.pack(len(data)) + data)


class PoolServer:
    """Hands what comes in to the desk. `open` and `close` once each."""

    def __init__(self, data: Path, desk: RequestQueue) -> None:
        self._data = data
        self._desk = desk
        self._selector = selectors.DefaultSelector()
        self._connections = 0
        self._closing = False
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Listen. Where that fails the log says so: imports go on, and callers are told to try again."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with address(self._data) as path:
                (self._data / SOCKET).unlink(missing_ok=True)
                listener.bind(path)
                Path(path).chmod(0o600)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            log.error(
                "nothing can be stored or rendered: the socket %s cannot be made: %s",
                self._data / SOCKET,
                error.strerror or error,
            )
            return
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Until every caller has gone, for so many seconds at most."""
        end = time.monotonic() + seconds
        while self._connections and time.monotonic() < end:
            time.sleep(0.02)

    def close(self) -> None:
        """Take no more connections and close those that are there."""
        if self._listener is None or self._thread is None:
            return
        with contextlib.suppress(OSError):
            (self._data / SOCKET).unlink()
        self._closing = True
        self._thread.join(2)
        self._listener.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.5):
                try:
                    if key.data is None:
                        self._accept()
                    else:
                        self._read(key.data)
                except Exception:
                    log.exception("the door failed")
                    if key.data is not None:
                        self._drop(key.data)
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                self._drop(key.data)
        self._selector.close()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            log.warning("the door is shut for a moment: %s", error)
            time.sleep(0.1)
            return
        sock.settimeout(_ANSWER_SECONDS)
        self._connections += 1
        self._selector.register(sock, selectors.EVENT_READ, _ClientConnection(sock))

    def _read(self, connection: _ClientConnection) -> None:
        try:
            data = connection.sock.recv(_STEP, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        connection.received += data
        message = connection.message()
        if message is None:
            return
        if connection.errand is not None:
            raise ValueError("an order while another is under way")
        self._order(connection, message)

    def _order(self, connection: _ClientConnection, message: bytes) -> None:
        try:
            ask = _asks.decode(message)
        except msgspec.DecodeError as error:
            # An HTTP process of another version, after an update under a running server.
            connection.reply(
                RequestError("fault", f"The order is not understood, start the server again: {error}")
            )
            return
        errand = PendingRequest(ask.order, time.monotonic() + ask.seconds, connection.reply)
        connection.errand = errand
        self._desk.put(errand)

    def _drop(self, connection: _ClientConnection) -> None:
        if connection.errand is not None:
            connection.errand.is_gone = True
        self._selector.unregister(connection.sock)
        connection.sock.close()
        self._connections -= 1
