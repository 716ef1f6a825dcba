"""An open-loop client: requests begin when they are due, however the server fares.

How long one takes is counted from when it was due. So a server that stands still for a second is charged for
all that came due meanwhile, not only for those that happened to be under way.
"""

from __future__ import annotations

import json
import os
import select
import time
import traceback
from collections import deque
from collections.abc import Sequence

from bench.clients.http_load import Connection, Load, Request

_SCRATCH = 1 << 20
_LATE_SECONDS = 30.0  # by which the server may lag behind before it counts as overloaded


def drive_paced(
    address: tuple[str, int], requests: Sequence[Request], *, rate: float, connections: int, seconds: float
) -> Load:
    """``rate`` requests a second for ``seconds``, in a process of their own; the list is repeated."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            load = _loop(address, requests, rate, connections, seconds)
            with os.fdopen(write, "wb") as pipe:
                pipe.write(json.dumps([load.wall, load.received, load.latencies, load.errors]).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    if not text:
        return Load(errors={"the client process died": 1})
    wall, received, latencies, errors = json.loads(text)
    return Load(wall, received, latencies, errors)


def _loop(
    address: tuple[str, int], requests: Sequence[Request], rate: float, connections: int, seconds: float
) -> Load:
    result, scratch, poll = Load(), bytearray(_SCRATCH), select.epoll()
    open_: dict[int, Connection] = {}
    free: deque[int] = deque()
    due_of: dict[int, float] = {}

    def connect() -> None:
        connection = Connection(address, b"2")
        fd = connection.socket.fileno()
        open_[fd] = connection
        poll.register(fd, select.EPOLLIN)
        free.append(fd)

    for _ in range(connections):
        connect()
    begun = time.perf_counter()
    count, sent = int(rate * seconds), 0
    while sent < count or due_of:
        now = time.perf_counter()
        while free and sent < count and begun + sent / rate <= now:
            fd = free.popleft()
            due_of[fd] = begun + sent / rate
            if not open_[fd].send(requests[sent % len(requests)]):
                poll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
            sent += 1
        if sent < count and now - (begun + sent / rate) > _LATE_SECONDS:
            result.errors[f"{_LATE_SECONDS:.0f} s behind"] = count - sent
            break
        wait = begun + sent / rate - now if sent < count and free else 60.0
        events = poll.poll(max(0.0, wait))
        if not events and wait >= 60.0:
            result.errors["no answer for 60 s"] = len(due_of)
            break
        for fd, event in events:
            if event & select.EPOLLOUT and open_[fd].flush():
                poll.modify(fd, select.EPOLLIN)
            if not event & ~select.EPOLLOUT:
                continue
            try:
                problem = open_[fd].receive(scratch)
            except OSError as error:
                problem = type(error).__name__
            if problem is None:
                continue
            due = due_of.pop(fd, None)
            if problem:
                result.errors[problem] = result.errors.get(problem, 0) + 1
                poll.unregister(fd)
                open_.pop(fd).socket.close()
                if fd in free:
                    free.remove(fd)
                connect()
            elif due is not None:
                result.latencies.append(time.perf_counter() - due)
                result.received += open_[fd].length
                free.append(fd)
    result.wall = time.perf_counter() - begun
    return result
