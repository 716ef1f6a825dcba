"""Copies packs from one storage into another, several at once, and reads them back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from lightwell.domain.integrity import PackToVerify
from lightwell.errors import StorageError
from lightwell.stores.collector import integrity
from lightwell.stores.db.database import Database
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.objects.sealed import bare
from lightwell.work.moving.pack_copy import copy_pack, pack_fault

_PAGE = 500
_AT_ONCE = 8


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
        self._old = bare(old).past_cache()
        self._new = bare(new).past_cache()
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
        return copy_pack(self._old, self._new, pack)

    def _read_back(self, pack: PackToVerify) -> str | None:
        if pack_fault(self._new, pack) is None:
            return None
        return copy_pack(self._old, self._new, pack) or pack_fault(self._new, pack)

    def _look(self, pack: PackToVerify) -> str | None:
        size = self._new.size(pack_name(pack.key))
        if size == pack.size:
            return None
        return f"it has {size or 0} bytes in {self._new.address}, and should have {pack.size}"
