"""A TCP proxy that a test can close and open again."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class InterruptibleProxy:
    """A TCP proxy in front of a server; ``port`` leads there while the proxy is open.

    Once a client sends something that contains one of ``cut_after``, that is carried, but its connection is
    cut instead of the answer. Each of them is used up by that.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._both: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.is_open = True
        self.cut_after: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.is_open = False
        for each in self._both:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self.close()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_open:
                near.close()
                continue
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            self._both += (near, far)
            is_cut = threading.Event()
            for one, other, asks in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._carry, args=(one, other, is_cut, asks), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, is_cut: threading.Event, asks: bool) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if asks and (word := next((word for word in self.cut_after if word in data), None)):
                    self.cut_after.remove(word)
                    is_cut.set()
                if is_cut.is_set() and not asks:
                    break
                other.sendall(data)
        _end(one, other)


def _end(one: socket.socket, other: socket.socket) -> None:
    for each in (one, other):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
    one.close()
