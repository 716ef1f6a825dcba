"""A TCP proxy in a process of its own that delivers everything later, as a network of some length does.

It may deliver no more a second than a line takes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from urllib.parse import urlsplit

_PIECE = 1 << 18
_PACKET = 1 << 13  # of a line that is not fast


class DelayingProxy:
    """Between clients and ``url``: half of ``latency`` seconds on each way.

    ``rate`` bytes a second go to all clients together, and as many to the server; without it any number.
    """

    def __init__(self, url: str, latency: float, rate: float | None = None) -> None:
        parts = urlsplit(url)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(parts.hostname, parts.port, latency / 2, rate, theirs), daemon=True
        )
        self._process.start()
        self.url = f"http://127.0.0.1:{ours.recv()}"

    def __enter__(self) -> DelayingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()


def _serve(host: str, port: int, delay: float, rate: float | None, pipe: Connection) -> None:
    import uvloop

    async def main() -> None:
        up, down = _Line(delay, rate), _Line(delay, rate)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection(host, port, limit=_PIECE)
            await asyncio.gather(up.carry(reader, far_writer), down.carry(far_reader, writer))

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_PIECE)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


class _Line:
    """One direction, which all connections share."""

    def __init__(self, delay: float, rate: float | None) -> None:
        self._delay = delay
        self._rate = rate
        self._free = 0.0  # when what has been sent so far is through

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await reader.read(_PIECE if self._rate is None else _PACKET):
                if self._rate is not None:
                    self._free = max(self._free, loop.time()) + len(data) / self._rate
                    await asyncio.sleep(self._free - loop.time())
                loop.call_later(self._delay, _write, writer, data)
            await asyncio.sleep(self._delay)
        writer.close()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)
