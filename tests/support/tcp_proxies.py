"""TCP proxies in front of a server, for what networks do: delay, throttle, swallow and cut."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.1\r\n")


@dataclass(slots=True, eq=False)
class _Link:
    """A connection through a proxy. ``sent``: how many bytes of the answer under way were carried;
    ``ended``: in how many of its two directions nothing is carried any more."""

    near: socket.socket
    far: socket.socket
    sent: int = 0
    is_cut: bool = False
    ended: int = 0

    def shut_down(self) -> None:
        for each in (self.near, self.far):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class TcpProxy:
    """Leads to a server by its own `port` while ``is_open``. Subclasses say what becomes of the bytes.

    ``turned_away``: how many connections were not taken.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.is_open = True
        self.turned_away = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def asked(self, link: _Link, data: bytes) -> None:
        """Carry what a client has sent."""
        link.far.sendall(data)

    def answered(self, link: _Link, data: bytes) -> bool:
        """Carry what the server has sent; False to cut the connection."""
        link.near.sendall(data)
        return True

    def close(self) -> None:
        """Cut all connections, and take no more until ``is_open`` is set again."""
        self.is_open = False
        with self._lock:
            for link in self._links:
                link.shut_down()

    def end(self) -> None:
        """Close for good."""
        self.close()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target) if self.is_open else None
            except OSError:
                far = None
            if far is None:
                self.turned_away += 1
                near.close()
                continue
            link = _Link(near, far)
            with self._lock:
                self._links.add(link)
            if not self.is_open:
                link.shut_down()
            for asks in (True, False):
                thread = threading.Thread(target=self._carry, args=(link, asks), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _carry(self, link: _Link, asks: bool) -> None:
        with suppress(OSError):
            while data := (link.near if asks else link.far).recv(1 << 16):
                if asks:
                    self.asked(link, data)
                elif not self.answered(link, data):
                    break
        link.shut_down()
        with self._lock:
            link.ended += 1
            if link.ended == 2:
                self._links.discard(link)
                link.near.close()
                link.far.close()


class FaultyProxy(TcpProxy):
    """Leads to the HTTP server at ``url`` by its own `url`, as its attributes say at the time.

    ``delay``: seconds by which answers come later; ``holds``: events for which the next answers wait, one
    each. ``rate``: bytes a second in both directions and of all connections together. ``swallows``: answers
    do not come at all. ``cut_after``: bytes of an answer after which the connection ends. ``requests``: what
    was asked, ``(method, path)``.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.delay = 0.0
        self.holds: list[threading.Event] = []
        self.rate: float | None = None
        self.swallows = False
        self.cut_after: int | None = None
        self.requests: list[tuple[str, str]] = []
        self._free_at = 0.0
        super().__init__(parts.hostname or "", parts.port or 80)
        self.url = f"http://127.0.0.1:{self.port}"

    def asked(self, link: _Link, data: bytes) -> None:
        if found := _REQUEST.match(data):
            self.requests.append((found[1].decode(), found[2].decode()))
        self._throttle(len(data))
        super().asked(link, data)

    def answered(self, link: _Link, data: bytes) -> bool:
        if data.startswith(b"HTTP/1.1 "):
            link.sent = 0
            time.sleep(self.delay)
            with self._lock:
                held = self.holds.pop() if self.holds else None
            if held is not None:
                held.wait()
        if self.swallows:
            return True
        if self.cut_after is not None and link.sent + len(data) > self.cut_after:
            super().answered(link, data[: self.cut_after - link.sent])
            return False
        link.sent += len(data)
        self._throttle(len(data))
        return super().answered(link, data)

    def _throttle(self, count: int) -> None:
        if self.rate is None:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + count / self.rate
            wait = self._free_at - time.monotonic()
        time.sleep(wait)


class InterruptibleProxy(TcpProxy):
    """Once a client sends something that contains one of ``cut_after``, that is carried, but its connection
    is cut instead of the answer. Each of them is used up by that."""

    def __init__(self, host: str, port: int) -> None:
        self.cut_after: list[bytes] = []
        super().__init__(host, port)

    def asked(self, link: _Link, data: bytes) -> None:
        if word := next((word for word in self.cut_after if word in data), None):
            self.cut_after.remove(word)
            link.is_cut = True
        super().asked(link, data)

    def answered(self, link: _Link, data: bytes) -> bool:
        return not link.is_cut and super().answered(link, data)
