"""Copies packs between a storage and a backup, several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from lightwell.domain.integrity import PackToVerify
from lightwell.stores.backup.runs import DamagedPack
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.objects.sealed import bare
from lightwell.work.moving.pack_copy import copy_pack

_AT_ONCE = 8
_PAGE = 512


class PackCopies:
    """Copies of packs from ``old`` to ``new``. ``show`` is called with the bytes that are done."""

    def __init__(self, old: Objects, new: Objects, show: Callable[[int], None]) -> None:
        self._old = bare(old).past_cache()
        self._new = bare(new).past_cache()
        self._show = show
        self._lock = threading.Lock()
        self._done = 0
        self.packs = 0
        self.bytes = 0
        """What was copied."""

    def copy(
        self, packs: Iterable[PackToVerify], is_there: Callable[[PackToVerify], bool]
    ) -> Iterator[tuple[PackToVerify, DamagedPack | None]]:
        """Copy those that are not there; each pack, and what is wrong with it in ``old``.

        What is wrong there is not copied. Raises `StorageError` if one of the storages fails.
        """

        def one(pack: PackToVerify) -> tuple[PackToVerify, DamagedPack | None]:
            is_missing = not is_there(pack)
            reason = copy_pack(self._old, self._new, pack) if is_missing else None
            with self._lock:
                if is_missing and reason is None:
                    self.packs += 1
                    self.bytes += pack.size
                self._done += pack.size
                self._show(self._done)
            return pack, None if reason is None else DamagedPack(pack_name(pack.key), reason)

        items = iter(packs)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="packs") as pool:
            try:
                while page := list(islice(items, _PAGE)):
                    yield from pool.map(one, page)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
