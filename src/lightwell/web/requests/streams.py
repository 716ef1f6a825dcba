"""Response bodies that are made in threads while they are being sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

PIECE = 1 << 18
"""About how many bytes are sent at a time."""
FIRST = 1 << 13
"""The same for whoever can use the first bytes before the next ones have come."""


async def stream_in_threads(
    threads: ThreadPoolExecutor, pieces: Iterator[bytes], size: int = PIECE
) -> AsyncIterator[bytes]:
    """``pieces``, joined to about `PIECE` bytes; the next are made while the previous ones are being sent.

    The first have ``size`` bytes, the next twice as many, and so on.
    """
    loop = asyncio.get_running_loop()
    data = await loop.run_in_executor(threads, _next_piece, pieces, size)
    while data:
        size = min(2 * size, PIECE)
        next_data = loop.run_in_executor(threads, _next_piece, pieces, size)
        try:
            yield data
        finally:
            # Nothing else may use the iterator until the thread is done with it.
            data = await next_data


async def start_stream(
    threads: ThreadPoolExecutor, pieces: Iterator[bytes], size: int = PIECE
) -> AsyncIterator[bytes]:
    """The same, with the first bytes already made: their errors are raised before the response starts."""
    stream = stream_in_threads(threads, pieces, size)
    try:
        first = await anext(stream)
    except StopAsyncIteration:
        first = b""
    return _resume(first, stream)


async def _resume(first: bytes, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        if first:
            yield first
        async for piece in stream:
            yield piece
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _next_piece(pieces: Iterator[bytes], size: int) -> bytes:
    parts: list[bytes] = []
    for piece in pieces:
        parts.append(piece)
        size -= len(piece)
        if size <= 0:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)
