"""Sends heads that shall be refused, as fast as they are.

``python -m bench.clients.forged_heads HOST PORT CONNECTIONS SECONDS``

The requests come on standard input, one per line, in hex. Prints how many were refused per second; exit code
1 if one was answered otherwise. A process of its own, to run beside the load that is measured.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.clients.http_load import Request, drive


@contextmanager
def beside(
    address: tuple[str, int], requests: Sequence[Request], connections: int, seconds: float
) -> Iterator[list[float]]:
    """While this lasts, and for ``seconds`` at most; the list then holds the refusals a second."""
    host, port = address
    arguments = [host, str(port), str(connections), str(seconds)]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.clients.forged_heads", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    found: list[float] = []
    try:
        process.stdin.write("\n".join(request.data.hex() for request in requests))
        process.stdin.close()
        process.stdout.readline()  # it begins
        yield found
        text = process.stdout.read()
        if process.wait():
            raise RuntimeError("what should be refused was not")
        found.append(float(text))
    finally:
        process.kill()
        process.wait()


def main() -> None:
    host, port, connections, seconds = sys.argv[1:]
    requests = [Request(bytes.fromhex(line)) for line in sys.stdin.read().split()]
    print("ready", flush=True)
    load = drive((host, int(port)), requests, connections=int(connections), seconds=float(seconds), good=b"4")
    if load.errors:
        sys.exit(f"{load.errors}")
    print(load.rate)


if __name__ == "__main__":
    main()
