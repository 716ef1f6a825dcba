"""A TCP proxy in front of a server that cuts, delays or swallows its answers, and counts requests."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.1\r\n")


class FaultyProxy:
    """Leads to ``url`` by its own `url`, as its attributes say at the time.

    ``is_open``: takes connections. ``delay``: seconds by which answers come later; ``delays``: the same for
    the next answers only, one each. ``swallows``: answers do not come at all. ``cut_after``: bytes of an
    answer after which the connection ends. ``requests``: what was asked, ``(method, path)``.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.is_open = True
        self.delay = 0.0
        self.delays: list[float] = []
        self.swallows = False
        self.cut_after: int | None = None
        self.requests: list[tuple[str, str]] = []
        self._both: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut all connections, and take no more."""
        self.is_open = False
        for each in self._both:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self.close()
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for each in self._both:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_open:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._both += (near, far)
            for carry, one, other in ((self._ask, near, far), (self._answer, far, near)):
                self._threads.append(threading.Thread(target=carry, args=(one, other), daemon=True))
                self._threads[-1].start()

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := near.recv(1 << 16):
                if found := _REQUEST.match(data):
                    self.requests.append((found[1].decode(), found[2].decode()))
                far.sendall(data)
        _end(near, far)

    def _answer(self, far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(1 << 16):
                if data.startswith(b"HTTP/1.1 "):
                    sent = 0
                    time.sleep(self.delays.pop() if self.delays else self.delay)
                if self.swallows:
                    continue
                if self.cut_after is not None and sent + len(data) > self.cut_after:
                    near.sendall(data[: self.cut_after - sent])
                    break
                sent += len(data)
                near.sendall(data)
        _end(near, far)


def _end(*both: socket.socket) -> None:
    for each in both:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
