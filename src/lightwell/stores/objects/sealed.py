"""Objects of which some packs are sealed: whoever reads them is given what was appended.

Below it lie disk, S3 and the caches, which have only what is encrypted; so have `Objects.list`, `size`,
`follow` and all that copies whole objects, for which `inner` is meant.
"""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Generic, Protocol, TypeVar

from lightwell.errors import StorageError
from lightwell.sealing.errors import SealError
from lightwell.stores.objects.checked_reads import damaged
from lightwell.stores.objects.interface import Objects, ObjectWriter, PackObjects
from lightwell.stores.objects.local import LocalObjects

if TYPE_CHECKING:
    from lightwell.sealing.segments import PackCipher

_PREFIX = "packs/"
_DIGITS = slice(len(_PREFIX) + 3, len(_PREFIX) + 3 + 16)
_LAST_DIGIT = slice(_DIGITS.stop - 1, _DIGITS.stop)
_LENGTH = len("packs/00/0123456789abcdef.pack")
_SCRATCH = 1 << 20
_local = threading.local()
_ODD = frozenset("13579bdf")

P = TypeVar("P", bound=PackObjects, covariant=True)


class Ciphers(Protocol):
    """Which packs are sealed; `stores.keys.ring.KeyRing`, or what a codec worker was granted."""

    def known(self, pack: int) -> PackCipher | None:
        """`find`, as far as nobody has to be asked. Raises `LookupError` where somebody has to be."""

    def find(self, pack: int) -> PackCipher | None:
        """What opens a pack; None if it is not sealed. May ask the database and the key provider."""

    def forget(self, pack: int) -> None:
        """Ask again the next time: its bytes were wrong."""


def bare(objects: Objects) -> Objects:
    """The objects as they are kept: whole packs are compared, copied and moved as they are."""
    return objects.inner if isinstance(objects, SealedObjects) else objects


def sealed_pack(name: str) -> int | None:
    """The key of the pack that is this object, if it may be sealed: see `stores.keys.ring`."""
    if len(name) == _LENGTH and name[_LAST_DIGIT] in _ODD and name.startswith(_PREFIX):
        return int(name[_DIGITS], 16)
    return None


class SealedPacks(Generic[P]):
    """All that a codec worker has of `SealedObjects`. Raises what ``inner`` and ``ciphers`` raise."""

    def __init__(self, inner: P, ciphers: Ciphers) -> None:
        self.inner = inner
        self.address = inner.address
        self._ciphers = ciphers

    def writer(self, key: str, spool_dir: Path) -> ObjectWriter:
        """As it is: whoever writes a pack seals it (`stores.objects.pack_objects.PackWriter`)."""
        return self.inner.writer(key, spool_dir)

    def read(self, key: str, offset: int, length: int) -> bytes:
        pack = sealed_pack(key)
        if pack is None or (cipher := self._ciphers.find(pack)) is None:
            return self.inner.read(key, offset, length)
        if not length:
            return b""
        try:
            return cipher.open(self.inner.read(key, *cipher.range_of(offset, length)), offset, length)
        except SealError:
            return self.read_again(key, offset, length)  # a cache may be wrong

    def read_again(self, key: str, offset: int, length: int) -> bytes:
        pack = sealed_pack(key)
        if pack is not None:
            self._ciphers.forget(pack)
        if pack is None or (cipher := self._ciphers.find(pack)) is None:
            return self.inner.read_again(key, offset, length)
        if not length:
            return b""
        try:
            return cipher.open(self.inner.read_again(key, *cipher.range_of(offset, length)), offset, length)
        except SealError:
            raise damaged(key, offset, length) from None

    def size(self, key: str) -> int | None:
        return self.inner.size(key)


class SealedObjects(SealedPacks[Objects]):
    """`Objects` of which some packs are sealed."""

    def put(self, key: str, data: bytes) -> None:
        self.inner.put(key, data)

    def put_file(self, key: str, path: Path) -> None:
        self.inner.put_file(key, path)

    def put_stream(self, key: str, stream: IO[bytes], size: int) -> None:
        self.inner.put_stream(key, stream, size)

    def read_warm(self, key: str, offset: int, length: int) -> bytes | None:
        pack = sealed_pack(key) if key[_LAST_DIGIT] in _ODD else None
        if pack is None:
            return self.inner.read_warm(key, offset, length)
        try:
            cipher = self._ciphers.known(pack)
        except LookupError:
            return None
        if cipher is None or not length:
            return self.inner.read_warm(key, offset, length)
        try:
            data = self._sealed_warm(key, *cipher.range_of(offset, length))
            return None if data is None else cipher.open(data, offset, length)
        except SealError:
            return None  # whoever waits for it is told, or finds better bytes

    def _sealed_warm(self, key: str, offset: int, length: int) -> bytes | memoryview | None:
        """What is decrypted at once: of a local file into a buffer of this thread, which costs less than new
        memory for each frame."""
        if length > _SCRATCH or not isinstance(self.inner, LocalObjects):
            return self.inner.read_warm(key, offset, length)
        scratch: memoryview | None = getattr(_local, "scratch", None)
        if scratch is None:
            scratch = _local.scratch = memoryview(bytearray(_SCRATCH))
        return scratch[:length] if self.inner.read_warm_into(key, offset, scratch[:length]) else None

    def fetch(self, key: str, offset: int, length: int) -> Awaitable[bytes] | None:
        pack = sealed_pack(key)
        if pack is None:
            return self.inner.fetch(key, offset, length)
        try:
            cipher = self._ciphers.known(pack)
        except LookupError:
            return None
        if cipher is None or not length:
            return self.inner.fetch(key, offset, length)
        fetched = self.inner.fetch(key, *cipher.range_of(offset, length))
        return None if fetched is None else _opened(fetched, cipher, offset, length)

    def follow(self, objects: Sequence[tuple[str, int]]) -> None:
        self.inner.follow(objects)

    def expect(self, ranges: Sequence[tuple[str, int, int]]) -> None:
        places = []
        for key, offset, length in ranges:
            pack = sealed_pack(key)
            if pack is not None:
                try:
                    cipher = self._ciphers.find(pack)
                    place = (offset, length) if cipher is None else cipher.range_of(offset, length)
                except StorageError:
                    continue  # reading it says why
                places.append((key, *place))
            else:
                places.append((key, offset, length))
        self.inner.expect(places)

    def use_loop(self, loop: AbstractEventLoop) -> None:
        self.inner.use_loop(loop)

    def past_cache(self) -> SealedObjects:
        return SealedObjects(self.inner.past_cache(), self._ciphers)

    def sweep_cache(self, exist: Callable[[Sequence[str]], set[str]]) -> int:
        return self.inner.sweep_cache(exist)

    def get(self, key: str) -> bytes | None:
        return self.inner.get(key)

    def exists(self, key: str) -> bool:
        return self.inner.exists(key)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        return self.inner.list(prefix)

    def stale(self, prefix: str, older_than: int) -> Iterator[str]:
        return self.inner.stale(prefix, older_than)

    def sweep(self, older_than: int) -> int:
        return self.inner.sweep(older_than)

    def check(self) -> None:
        self.inner.check()

    def close(self) -> None:
        self.inner.close()


async def _opened(fetched: Awaitable[bytes], cipher: PackCipher, offset: int, length: int) -> bytes:
    return cipher.open(await fetched, offset, length)
