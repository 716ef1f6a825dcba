"""Bodies that are made while they are sent, their work in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

PIECE = 1 << 18
"""Bytes that are sent at once, about."""


async def stream_in_threads(threads: ThreadPoolExecutor, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """``pieces``, joined to some `PIECE` bytes; the next are made while those before are being taken."""
    loop = asyncio.get_running_loop()
    data = await loop.run_in_executor(threads, _next_piece, pieces)
    while data:
        next_data = loop.run_in_executor(threads, _next_piece, pieces)
        try:
            yield data
        finally:
            # Nobody else may touch the pieces before the thread is done with them.
            data = await next_data


async def start_stream(threads: ThreadPoolExecutor, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same; what fails before the first bytes fails here, before the answer has begun."""
    stream = stream_in_threads(threads, pieces)
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


def _next_piece(pieces: Iterator[bytes]) -> bytes:
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= PIECE:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)
