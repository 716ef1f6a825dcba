"""Objects: what is too big for the database, under keys that lightwell makes, on local disk or on S3."""

from __future__ import annotations

import random
import re
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from lightwell.errors import StorageError

_KEY = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}/){0,7}[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class MissingObjectError(StorageError):
    """There is no object with this key."""


class ObjectWriter(Protocol):
    """An object that is being written. Nobody sees it before `commit`."""

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``, which is copied before this returns."""

    def commit(self) -> None:
        """Make the object visible under its key; it is durable when this returns."""

    def abort(self) -> None:
        """Discard the object. Does nothing after `commit` or when called again."""


class PackObjects(Protocol):
    """What reading and writing packs needs of `Objects`, and all that a codec worker has of it."""

    address: str
    """Where the objects are, for a person."""

    def writer(self, key: str, spool_dir: Path) -> ObjectWriter:
        """An object to append to; its bytes go to ``spool_dir`` if the storage cannot append."""

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset`` of an object that is never overwritten.

        Raises `MissingObjectError` if there is no such object, `StorageError` if it is too short.
        """

    def read_again(self, key: str, offset: int, length: int) -> bytes:
        """As `read`, past every cache; forgets what is cached of the object, whose bytes were wrong."""

    def size(self, key: str) -> int | None:
        """Its length in bytes, None if it does not exist."""


class Objects(PackObjects, Protocol):
    """Where objects are kept. Keys are relative paths of letters, digits, ``.``, ``_`` and ``-``.

    All methods may be called from many threads and raise `StorageError` when the storage fails.
    """

    def put(self, key: str, data: bytes) -> None:
        """Write a whole object, replacing an existing one; it is durable when this returns."""

    def put_file(self, key: str, path: Path) -> None:
        """As `put`, from a file, in bounded memory."""

    def put_stream(self, key: str, stream: IO[bytes], size: int) -> None:
        """As `put_file`, of an open file that has ``size`` bytes from here to its end."""

    def read_warm(self, key: str, offset: int, length: int) -> bytes | None:
        """As `read`, but None if the bytes are not in memory, so that reading them would block."""

    def fetch(self, key: str, offset: int, length: int) -> Awaitable[bytes] | None:
        """As `read`, for the running event loop; None where the caller has to `read` in a thread."""

    def follow(self, objects: Sequence[tuple[str, int]]) -> None:
        """These objects, ``(key, bytes)``, are likely to be read one after the other."""

    def expect(self, ranges: Sequence[tuple[str, int, int]]) -> None:
        """These ranges, ``(key, offset, length)``, are read next, one after the other. Raises nothing."""

    def use_loop(self, loop: AbstractEventLoop) -> None:
        """Do on ``loop``, which runs for as long as the process serves requests, what needs an event loop."""

    def past_cache(self) -> Objects:
        """The same objects, of which nothing is read from a cache or put into one."""

    def sweep_cache(self, exist: Callable[[Sequence[str]], set[str]]) -> int:
        """Drop copies of objects that are no more; ``exist`` tells which there are. Returns of how many."""

    def get(self, key: str) -> bytes | None:
        """The whole object, None if it does not exist."""

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove it, if it exists."""

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """``(key, bytes)`` of every object in the folder ``prefix`` and below, in no particular order.

        Objects whose names lightwell would never give are left out.
        """

    def stale(self, prefix: str, older_than: int) -> Iterator[str]:
        """As `list`, but only keys, of what was written before ``older_than`` (ms since the epoch)."""

    def sweep(self, older_than: int) -> int:
        """Remove what crashes left unfinished before ``older_than``, ms since the epoch. Returns how many."""

    def check(self) -> None:
        """Write, read and delete a small object; raises `StorageError` saying what is wrong."""

    def close(self) -> None: ...


def valid_key(key: str) -> str:
    """``key`` itself.

    Raises ValueError if lightwell would never make it, for example if it has ``..`` in it.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a key of an object")
    return key


def is_key(text: str) -> bool:
    """Whether lightwell may have made this key; objects of other programs must not be listed or removed."""
    return _KEY.fullmatch(text) is not None


def valid_prefix(prefix: str) -> str:
    """``prefix`` without a trailing slash; "" means everything."""
    prefix = prefix.removesuffix("/")
    return valid_key(prefix) if prefix else ""


def check_round_trip(objects: Objects) -> None:
    """`Objects.check` by an object under a key that no other process has, which is deleted again."""
    key = f"checks/{random.randbytes(16).hex()}"
    objects.put(key, b"lightwell")
    try:
        if objects.get(key) != b"lightwell":
            raise StorageError(f"{objects.address} does not return what was written to it.")
    finally:
        objects.delete(key)
