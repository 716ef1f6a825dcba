"""A closed-loop HTTP/1.1 client that costs little: raw keep-alive sockets, one epoll loop per process.

It sends prepared bytes and counts what comes back, so that the same few microseconds a request are spent on
every server it drives. Each answer must have a 2xx status, a Content-Length or chunks and, where the caller
knows it, the expected length. What the bytes are is checked by the scenarios before they measure.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

_SCRATCH = 1 << 20
_CHUNKED = -2  # in place of what is left of a body: it comes in chunks
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes to send, head and body; ``length`` is the Content-Length that the answer must have, if known."""

    data: bytes
    length: int | None = None


@dataclass(slots=True)
class Load:
    """``latencies`` (seconds, unordered) and ``received`` body bytes are those of the good answers."""

    wall: float = 0.0
    received: int = 0
    latencies: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.wall if self.wall else 0.0

    def quantile(self, fraction: float) -> float:
        """Latency in seconds below which this share of the answers lies."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] if ordered else float("nan")


class Connection:
    """One connection, for one request at a time; the status of a good answer begins with ``good``."""

    __slots__ = ("begun", "expected", "good", "head", "left", "length", "pending", "socket", "tail")

    def __init__(self, address: tuple[str, int], good: bytes) -> None:
        self.good = good
        self.socket = socket.create_connection(address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.pending = memoryview(b"")
        self.head = b""
        self.left = -1  # of the body; -1 while the head is incomplete
        self.expected: int | None = None
        self.length = 0  # of the body; of one in chunks with what stands between them
        self.tail = b""
        self.begun = 0.0

    def send(self, request: Request) -> bool:
        """True if all of it is on its way; else call `flush` when the socket takes more."""
        self.head, self.left, self.expected = b"", -1, request.length
        self.begun = time.perf_counter()
        self.pending = memoryview(request.data)
        return self.flush()

    def flush(self) -> bool:
        with suppress(BlockingIOError):
            self.pending = self.pending[self.socket.send(self.pending) :]
        return not self.pending

    def receive(self, scratch: bytearray) -> str | None:
        """Takes what has come: None while the answer is incomplete, else ``""`` or what was wrong."""
        count = self.socket.recv_into(scratch)
        if not count:
            return "closed"
        if self.left == _CHUNKED:
            return self._chunks(bytes(scratch[max(0, count - len(_LAST_CHUNK)) : count]), count)
        if self.left < 0:
            self.head += scratch[:count]
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return None
            if b"\r\ntransfer-encoding: chunked" in self.head[:end].lower():
                self.left, self.length, self.tail = _CHUNKED, 0, b""
                return self._chunks(self.head[end + 4 :], len(self.head) - end - 4)
            length = _content_length(self.head[:end])
            if length is None:
                return "no Content-Length"
            self.length = self.left = length
            count = len(self.head) - end - 4
        self.left -= count
        if self.left > 0:
            return None
        if problem := self._status():
            return problem
        if self.left < 0:
            return "more than Content-Length"
        if self.expected is not None and self.expected != self.length:
            return "unexpected length"
        return ""

    def _status(self) -> str:
        status = self.head[9:12]
        return "" if status.startswith(self.good) else f"status {status.decode('latin-1')}"

    def _chunks(self, end: bytes, count: int) -> str | None:
        """What has come of a body in chunks; no multipart body ends as the last chunk does."""
        self.length += count
        self.tail = (self.tail + end)[-len(_LAST_CHUNK) :]
        return self._status() if self.tail == _LAST_CHUNK else None


def _content_length(head: bytes) -> int | None:
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    if start < 0:
        return None
    stop = lower.find(b"\r\n", start + 2)
    return int(lower[start + 17 : stop if stop > 0 else None])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What one client process does.

    ``seconds`` None sends every request once; else they are repeated, from number ``first`` on, until the
    time is up. ``good`` is how the status of a good answer begins.
    """

    address: tuple[str, int]
    requests: Sequence[Request]
    connections: int
    first: int
    seconds: float | None
    good: bytes


def _loop(share: _Share, go: int, ready: int) -> Load:
    """One process's share: writes a byte to ``ready``, and begins when it has read one from ``go``."""
    address, requests, good, seconds = share.address, share.requests, share.good, share.seconds
    result = Load()
    scratch = bytearray(_SCRATCH)
    poll = select.epoll()
    open_: dict[int, Connection] = {}
    for _ in range(share.connections):
        connection = Connection(address, good)
        open_[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    os.write(ready, b"r")
    os.read(go, 1)
    begun = time.perf_counter()
    end = begun + seconds if seconds is not None else float("inf")
    number, total = share.first, len(requests)
    last = total if seconds is None else 1 << 62

    def start(fd: int) -> None:
        nonlocal number
        if number >= last or time.perf_counter() >= end:
            poll.unregister(fd)
            open_.pop(fd).socket.close()
            return
        if not open_[fd].send(requests[number % total]):
            poll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
        number += 1

    for fd in list(open_):
        start(fd)
    while open_:
        events = poll.poll(60)
        if not events:
            result.errors["no answer for 60 s"] = len(open_)
            break
        for fd, event in events:
            connection = open_[fd]
            if event & select.EPOLLOUT and connection.flush():
                poll.modify(fd, select.EPOLLIN)
            if not event & ~select.EPOLLOUT:
                continue
            try:
                problem = connection.receive(scratch)
            except OSError as error:
                problem = type(error).__name__
            if problem is None:
                continue
            if problem:
                result.errors[problem] = result.errors.get(problem, 0) + 1
                poll.unregister(fd)
                connection.socket.close()
                del open_[fd]
                if sum(result.errors.values()) < 100:  # else the server is down: no use in going on
                    connection = Connection(address, good)
                    fd = connection.socket.fileno()
                    open_[fd] = connection
                    poll.register(fd, select.EPOLLIN)
                else:
                    continue
            else:
                result.latencies.append(time.perf_counter() - connection.begun)
                result.received += connection.length
            start(fd)
    result.wall = time.perf_counter() - begun
    return result


def drive(
    address: tuple[str, int],
    requests: Sequence[Request],
    *,
    connections: int = 8,
    seconds: float | None = 2.0,
    processes: int = 1,
    good: bytes = b"2",
) -> Load:
    """Drives the server at ``address`` and returns what all connections got together.

    ``seconds`` None sends every request once, dealt out over the processes; a number repeats the list, each
    process from another place of it, and stops starting requests when the time is up. ``good`` is how the
    status of an answer begins that counts.
    """
    go_read, go_write = os.pipe()
    ready_read, ready_write = os.pipe()
    outputs: list[int] = []
    pids: list[int] = []
    for index in range(processes):
        share = _Share(
            address=address,
            requests=requests[index::processes] if seconds is None else requests,
            connections=connections // processes + (index < connections % processes),
            first=0 if seconds is None else index * len(requests) // processes,
            seconds=seconds,
            good=good,
        )
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                load = _loop(share, go_read, ready_write)
                text = json.dumps([load.wall, load.received, load.latencies, load.errors]).encode()
                with os.fdopen(write, "wb") as pipe:
                    pipe.write(text)
                code = 0
            except BaseException:
                traceback.print_exc()
                os.write(ready_write, b"x")  # so that the parent does not wait for this process
            finally:
                os._exit(code)
        os.close(write)
        outputs.append(read)
        pids.append(pid)
    os.close(ready_write)
    for _ in pids:
        os.read(ready_read, 1)
    os.write(go_write, b"g" * processes)
    result = Load()
    for read in outputs:
        with os.fdopen(read, "rb") as pipe:
            text = pipe.read()
        if not text:
            result.errors["a client process died"] = result.errors.get("a client process died", 0) + 1
            continue
        wall, received, latencies, errors = json.loads(text)
        result.wall = max(result.wall, wall)
        result.received += received
        result.latencies += latencies
        for problem, count in errors.items():
            result.errors[problem] = result.errors.get(problem, 0) + count
    for pid in pids:
        os.waitpid(pid, 0)
    for fd in (go_read, go_write, ready_read):
        os.close(fd)
    return result
