"""The Unix socket at which HTTP processes hand in requests (`codec_pool.client`).

Whoever opens it holds ``DATA/pool.lock``, so a socket that exists already belongs to a dead process. One
thread accepts connections and requests; whichever thread has carried a request out writes its reply.
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

from lightwell.codec_pool.client import SOCKET, address
from lightwell.codec_pool.queue import PendingRequest, RequestQueue
from lightwell.codec_pool.requests import Envelope, PoolReply, RequestError
from lightwell.framing import MessageBuffer, NotAMessageError, decoded, frame
from lightwell.stores.data_folder.process_lock import POOL, ProcessLock

log = logging.getLogger(__name__)

# A request only says where bytes are: one for 1 GB in the smallest of files stays below this.
_LONGEST = 64 << 20
_STEP = 1 << 18
_ANSWER_SECONDS = 30.0
_BACKLOG = 128
_LOCK_SECONDS = 0.5

_envelopes: msgspec.msgpack.Decoder[Envelope] = msgspec.msgpack.Decoder(Envelope)
_encoder = msgspec.msgpack.Encoder()


class _ClientConnection:
    """One client, which has at most one request under way."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = MessageBuffer(_LONGEST)
        self.pending: PendingRequest | None = None

    def reply(self, reply: PoolReply) -> None:
        """From any thread, once a request."""
        self.pending = None
        data = _encoder.encode(reply)
        with contextlib.suppress(OSError):
            self.sock.sendall(frame(data))


class PoolServer:
    """Puts requests into the queue. `open` and `close` once each."""

    def __init__(self, data: Path, queue: RequestQueue) -> None:
        self._data = data
        self._queue = queue
        self._selector = selectors.DefaultSelector()
        self._connections = 0
        self._lock = ProcessLock(data, POOL)
        self._closing = threading.Event()
        self._is_settled = False
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Listen, as soon as no other process does on this data folder.

        Where that fails, the log says so: imports go on, and clients are told to try again.
        """
        self._is_settled = self._try_listening()
        self._thread = threading.Thread(target=self._run, name="pool-server", daemon=True)
        self._thread.start()

    def _try_listening(self) -> bool:
        """Whether there is nothing to wait for: it listens now, or it cannot, which the log says."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if not self._lock.take():
                listener.close()
                return False
            with address(self._data) as path:
                (self._data / SOCKET).unlink(missing_ok=True)
                listener.bind(path)
                Path(path).chmod(0o600)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            log.error(
                "nothing can be stored or rendered, because the socket %s cannot be made: %s",
                self._data / SOCKET,
                error.strerror or error,
            )
            return True
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)
        return True

    def wait(self, seconds: float) -> None:
        """Wait until every client has gone, for so many seconds at most."""
        end = time.monotonic() + seconds
        while self._connections and time.monotonic() < end:
            time.sleep(0.02)

    def close(self) -> None:
        """Accept no more connections, and close those that are open."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                (self._data / SOCKET).unlink()
        self._closing.set()
        if self._thread is not None:
            self._thread.join(2)
        if self._listener is not None:
            self._listener.close()
        self._lock.release()

    def _run(self) -> None:
        while not self._is_settled:
            if self._closing.wait(_LOCK_SECONDS):
                return
            self._is_settled = self._try_listening()
        while not self._closing.is_set():
            for key, _ in self._selector.select(0.5):
                try:
                    if key.data is None:
                        self._accept()
                    else:
                        self._read(key.data)
                except Exception:
                    log.exception("serving a connection of the codec pool failed")
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
            log.warning("a connection to the codec pool cannot be accepted, trying again: %s", error)
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
        connection.received.feed(data)
        message = connection.received.next()
        if message is None:
            return
        if connection.pending is not None:
            raise ValueError("a request while another is under way")
        self._enqueue(connection, message)

    def _enqueue(self, connection: _ClientConnection, message: bytes) -> None:
        try:
            envelope = decoded(_envelopes.decode, message)
        except NotAMessageError as error:
            # An HTTP process of another version, after an update under a running server.
            connection.reply(
                RequestError("fault", f"The request is not understood, restart the server: {error}")
            )
            return
        until = time.monotonic() + envelope.seconds
        pending = PendingRequest(envelope.request, until, connection.reply, envelope.caller)
        connection.pending = pending
        self._queue.put(pending)

    def _drop(self, connection: _ClientConnection) -> None:
        if connection.pending is not None:
            connection.pending.is_abandoned = True
        self._selector.unregister(connection.sock)
        connection.sock.close()
        self._connections -= 1
