"""A TCP proxy in a process of its own that delivers everything later, as a network of some length does."""

from __future__ import annotations

import asyncio
import multiprocessing
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from urllib.parse import urlsplit

_PIECE = 1 << 18


class DelayingProxy:
    """Between clients and ``url``: half of ``latency`` seconds on each way, any number of bytes at once."""

    def __init__(self, url: str, latency: float) -> None:
        parts = urlsplit(url)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(parts.hostname, parts.port, latency / 2, theirs), daemon=True
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


def _serve(host: str, port: int, delay: float, pipe: Connection) -> None:
    import uvloop

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port, limit=_PIECE)
        await asyncio.gather(_carry(reader, far_writer, delay), _carry(far_reader, writer, delay))

    async def main() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_PIECE)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while data := await reader.read(_PIECE):
            loop.call_later(delay, writer.write, data)
        await asyncio.sleep(delay)
    writer.close()
