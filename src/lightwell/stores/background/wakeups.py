"""How a process that waits for units of work is woken by another one that has queued some.

On PostgreSQL by NOTIFY, on a connection of its own; behind a pooler there is none (`Database.listener`), and
nothing arrives while the database is away. So whoever waits must look at the tables now and then in any case,
and more often where `is_heard` is False. On SQLite by a datagram to ``DATA/wake.sock``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import time
from pathlib import Path
from typing import Any

from lightwell.stores.data_folder.socket_path import socket_path
from lightwell.stores.db.database import Database

log = logging.getLogger(__name__)

CHANNEL = "lightwell_units"
SOCKET = "wake.sock"
_RECONNECT_SECONDS = 5.0


class Wakeups:
    """One thread waits; any thread and any signal handler may `wake` it."""

    def __init__(self, db: Database, data: Path) -> None:
        self._db = db
        self._data = data
        self._inside, self._outside = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inside, selectors.EVENT_READ)
        self._socket: socket.socket | None = None
        self._connection: Any = None
        self._tried_at = -_RECONNECT_SECONDS

    @property
    def is_heard(self) -> bool:
        """Whether what other processes queue wakes this one, so that it may look less often."""
        return self._socket is not None or self._connection is not None

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._outside, b"w")

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; True if woken."""
        self._open()
        ready = self._selector.select(max(seconds, 0.0))
        for key, _ in ready:
            if key.fd == self._inside:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._inside, 1 << 16)
            elif self._socket is not None:
                self._read_socket(self._socket)
            else:
                self._read_connection()
        return bool(ready)

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                (self._data / SOCKET).unlink()
            self._socket.close()
        self._drop()
        self._selector.close()
        os.close(self._inside)
        os.close(self._outside)

    def _open(self) -> None:
        if self._socket is not None or self._connection is not None:
            return
        if time.monotonic() - self._tried_at < _RECONNECT_SECONDS:
            return
        self._tried_at = time.monotonic()
        try:
            if self._db.dialect == "sqlite":
                self._socket = self._bind()
                self._selector.register(self._socket, selectors.EVENT_READ)
            else:
                self._connection = self._db.listener()
                if self._connection is not None:
                    self._connection.execute(f"LISTEN {CHANNEL}")
                    self._selector.register(self._connection.fileno(), selectors.EVENT_READ)
        except Exception as error:
            log.info("nothing wakes this process, so it looks at the tables more often: %s", error)
            self._drop()

    def _bind(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            with socket_path(self._data, SOCKET) as path:
                (self._data / SOCKET).unlink(missing_ok=True)
                made.bind(path)
                Path(path).chmod(0o600)
            made.setblocking(False)
        except BaseException:
            made.close()
            raise
        return made

    @staticmethod
    def _read_socket(sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while sock.recv(64):
                pass

    def _read_connection(self) -> None:
        try:
            for _ in self._connection.notifies(timeout=0):
                pass
        except Exception as error:
            log.info("the connection on which this process is woken was lost: %s", error)
            self._drop()

    def _drop(self) -> None:
        if self._connection is None:
            return
        with contextlib.suppress(Exception):
            self._selector.unregister(self._connection.fileno())
        with contextlib.suppress(Exception):
            self._connection.close()
        self._connection = None


def wake_engine(db: Database, data: Path) -> None:
    """Wake the engine of an SQLite database once something was queued; on PostgreSQL the transaction did."""
    if db.dialect != "sqlite":
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        with socket_path(data, SOCKET) as path:
            sock.sendto(b"w", path)
