"""Ten thousand clients that say nothing, and thousands that say little: the others are answered as before."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.server import Server, running, until

MANY, FILES = 10_000, 16_000


@contextmanager
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, before[1]))
    except ValueError:
        pytest.skip(f"this process may not open {FILES} files")
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def memory(server: Server) -> int:
    """Proportional set size of all processes, bytes."""
    lines = [
        line
        for pid in (server.process.pid, *server.children())
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    ]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def are_open(sockets: list[socket.socket]) -> int:
    poll = select.poll()
    for each in sockets:
        poll.register(each, select.POLLIN | select.POLLHUP)
    return len(sockets) - len(poll.poll(0))


@pytest.mark.endurance
def test_answers_beside_ten_thousand_idle_and_thousands_of_slow_ones(tmp_path: Path) -> None:
    with many_files(), ExitStack() as stack, running(tmp_path / "data", workers=2, files=FILES) as server:
        client = server.client()
        client.list_datastores()
        before = memory(server)
        idle = [stack.enter_context(socket.create_connection(server.address, 60)) for _ in range(MANY)]
        until(lambda: are_open(idle) == MANY)
        for _ in range(20):
            client.list_datastores()
        assert memory(server) - before < MANY * 32 * 1024
        for each in idle:
            each.close()
        slow = []
        for number in range(2000):
            one = stack.enter_context(socket.create_connection(server.address, 60))
            head = b"POST /datastore HTTP/1.1\r\nHost: x\r\n"
            one.sendall(head + (b"X-A: " if number % 2 else b"Content-Length: 1000\r\n\r\n{"))
            slow.append(one)
        client.list_datastores()

        def have_ended() -> bool:
            for each in slow:
                try:
                    each.send(b"a")
                except OSError:
                    continue
            client.list_datastores()
            return are_open(slow) == 0

        until(have_ended)
        assert not [line for line in server.err if "Traceback" in line]
