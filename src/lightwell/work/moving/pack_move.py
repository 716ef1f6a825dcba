"""Copies packs from one storage into another, several at once, and reads them back."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, cast

from isal import isal_zlib

from lightwell.domain.integrity import PackToVerify
from lightwell.errors import DamagedError, StorageError, StorageUnavailableError
from lightwell.stores.collector import integrity
from lightwell.stores.db.database import Database
from lightwell.stores.objects.interface import MissingObjectError, Objects
from lightwell.stores.objects.pack_objects import pack_name

_PAGE = 500
_AT_ONCE = 8
_BLOCK = 4 << 20


class _CheckedPack(io.RawIOBase):
    """A pack of the old storage as a file whose last byte is given only if all are what was stored."""

    def __init__(self, objects: Objects, pack: PackToVerify) -> None:
        self._objects = objects
        self._name = pack_name(pack.key)
        self._pack = pack
        self._place = self._summed = self._sum = 0
        self.fault: StorageError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._pack.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        length = min(len(view), self._pack.size - self._place)
        if length <= 0:
            return 0
        try:
            data = self._objects.read(self._name, self._place, length)
            self._add(data)
        except StorageError as error:
            self.fault = error
            raise OSError(str(error)) from error
        view[:length] = data
        self._place += length
        return length

    def _add(self, data: bytes) -> None:
        new = data[self._summed - self._place :] if self._place <= self._summed else b""
        self._sum = isal_zlib.crc32(new, self._sum)
        self._summed += len(new)
        if self._summed == self._pack.size and self._sum != self._pack.checksum:
            raise DamagedError("its bytes have changed: its checksum differs")


@dataclass(slots=True)
class PackReport:
    """How many packs there are and their bytes, and what is wrong."""

    packs: int
    bytes: int
    problems: list[str]


class PackMove:
    """One move of the live packs of a database. ``show`` is called with bytes done and in all."""

    def __init__(
        self, db: Database, old: Objects, new: Objects, show: Callable[[str, int, int], None]
    ) -> None:
        self._db = db
        self._old = old.past_cache()
        self._new = new.past_cache()
        self._show = show
        self._lock = threading.Lock()
        self._done = 0

    def copy(self) -> PackReport:
        """Copy what is not there yet. What is damaged or missing in the old storage is not copied."""
        return self._each("bytes copied", self._copy)

    def read_back(self) -> PackReport:
        """Read every pack of the new storage; one that is wrong there is copied once more."""
        return self._each("bytes read back", self._read_back)

    def look(self) -> PackReport:
        """Compare only the sizes of packs with what the database says: the storage is as it was."""
        return self._each("packs looked at", self._look)

    def _each(self, name: str, work: Callable[[PackToVerify], str | None]) -> PackReport:
        self._done = 0
        total = 0
        # Among very many packs the sum may take longer than a statement may; it is for the bar only.
        with suppress(StorageError), self._db.read() as conn:
            total = integrity.pack_bytes(conn)
        report = PackReport(0, 0, [])

        def one(pack: PackToVerify) -> tuple[PackToVerify, str | None]:
            problem = work(pack)
            with self._lock:
                self._done += pack.size
                self._show(name, self._done, total)
            return pack, problem

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="move") as pool:
            try:
                for page in self._pages():
                    for pack, problem in pool.map(one, page):
                        report.packs += 1
                        report.bytes += pack.size
                        if problem is not None:
                            report.problems.append(f"{pack_name(pack.key)}: {problem}")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return report

    def _pages(self) -> Iterator[list[PackToVerify]]:
        after = -1
        while True:
            with self._db.read() as conn:
                page = integrity.packs(conn, after, _PAGE)
            if not page:
                return
            yield page
            after = page[-1].key

    def _copy(self, pack: PackToVerify) -> str | None:
        name = pack_name(pack.key)
        if self._new.size(name) == pack.size:
            return None  # it is read back later
        return self._put(pack)

    def _put(self, pack: PackToVerify) -> str | None:
        name = pack_name(pack.key)
        size = self._old.size(name)
        if size is None:
            return f"{self._old.address} does not have it"
        if size != pack.size:
            return f"it has {size} bytes in {self._old.address}, and should have {pack.size}"
        raw = _CheckedPack(self._old, pack)
        stream = cast("IO[bytes]", io.BufferedReader(raw, _BLOCK))
        try:
            self._new.put_stream(name, stream, pack.size)
        except Exception as error:
            if raw.fault is None or isinstance(raw.fault, StorageUnavailableError):
                raise raw.fault or error from error
            with suppress(StorageError):
                self._new.delete(name)
            return f"{raw.fault} ({self._old.address})"
        return None

    def _read_back(self, pack: PackToVerify) -> str | None:
        if self._fault(pack) is None:
            return None
        return self._put(pack) or self._fault(pack)

    def _fault(self, pack: PackToVerify) -> str | None:
        name, place, found = pack_name(pack.key), 0, 0
        try:
            size = self._new.size(name)
            if size != pack.size:
                return f"it has {size} bytes in {self._new.address}, and should have {pack.size}"
            while place < pack.size:
                data = self._new.read(name, place, min(_BLOCK, pack.size - place))
                found = isal_zlib.crc32(data, found)
                place += len(data)
        except MissingObjectError:
            return f"{self._new.address} does not have it"
        if found != pack.checksum:
            return f"its checksum differs in {self._new.address}"
        return None

    def _look(self, pack: PackToVerify) -> str | None:
        size = self._new.size(pack_name(pack.key))
        if size == pack.size:
            return None
        return f"it has {size or 0} bytes in {self._new.address}, and should have {pack.size}"
