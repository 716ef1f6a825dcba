"""A database as pieces of 4 MiB, each an object named after its SHA-256, so that what stays is stored once.

The pages of an SQLite database keep their places, so two runs share the pieces that did not change between
them; the dump of a PostgreSQL database is another one each time.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import zstandard

from lightwell.errors import DamagedError
from lightwell.stores.objects.interface import Objects

From = TypeVar("From")
To = TypeVar("To")

PIECE = 4 << 20
"""Bytes of each piece but the last, before compression."""

_AT_ONCE = 4


def put(
    objects: Objects, blocks: Iterable[bytes], show: Callable[[int], None] = lambda done: None
) -> tuple[list[str], int]:
    """Store what is not there yet of the blocks, which are of `PIECE` bytes; the digests, and how many bytes.

    ``show`` gets the bytes that are done.
    """
    known = {name.rpartition("/")[2] for name, _ in objects.list("database")}
    digests: list[str] = []
    size = 0

    def one(block: bytes) -> tuple[str, int]:
        digest = hashlib.sha256(block).hexdigest()
        if digest not in known:
            objects.put(f"database/{digest}", zstandard.ZstdCompressor(level=3).compress(block))
        return digest, len(block)

    for digest, length in _ahead(one, blocks):
        digests.append(digest)
        size += length
        show(size)
    return digests, size


def get(objects: Objects, digests: Iterable[str]) -> Iterator[bytes]:
    """The blocks with these digests. Raises `DamagedError` if one is missing or another one."""

    def one(digest: str) -> bytes:
        name = f"database/{digest}"
        data = objects.get(name)
        try:
            if data is not None:
                block = zstandard.ZstdDecompressor().decompress(data, max_output_size=PIECE)
                if hashlib.sha256(block).hexdigest() == digest:
                    return block
        except zstandard.ZstdError:
            pass
        raise DamagedError(
            f"{objects.address}/{name}, a piece of the database, is missing or damaged: take another run "
            "(--list shows them) or another copy"
        )

    yield from _ahead(one, digests)


def _ahead(work: Callable[[From], To], items: Iterable[From]) -> Iterator[To]:
    """The results of ``work`` in order, some of it done ahead in threads."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pieces") as pool:
        waiting: deque[Future[To]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * _AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
