"""The blocks of S3 in the memory of a process, and in what it shares with the others of its server."""

from __future__ import annotations

import threading
from collections import OrderedDict

from lightwell.stores.objects.shared_blocks import BLOCK, SharedBlocks, checksum


class BlockMemory:
    """At most ``limit`` bytes of its own, and at least one block; the least recently kept go first."""

    def __init__(self, limit: int, shared: SharedBlocks | None = None) -> None:
        self._most = max(1, limit // BLOCK)
        self._shared = shared
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, key: str, block: int, data: bytes) -> None:
        """Keep a block, and show it to the other processes."""
        self._remember(key, block, data)
        if self._shared is not None:
            self._shared.put(key, block, data, checksum(key, block, data))

    def get(self, key: str, block: int) -> bytes | None:
        """The block as `keep` got it, in this process or another one of the server."""
        with self._lock:
            data = self._blocks.get((key, block))
        if data is None and self._shared is not None:
            data = self._shared.get(key, block)
            if data is not None:
                self._remember(key, block, data)
        return data

    def has(self, key: str, block: int) -> bool:
        """Whether `get` is likely to find it."""
        with self._lock:
            is_own = (key, block) in self._blocks
        return is_own or (self._shared is not None and self._shared.has(key, block))

    def drop(self, key: str) -> None:
        """Drop every block of an object, the shared ones, too."""
        with self._lock:
            for place in [place for place in self._blocks if place[0] == key]:
                del self._blocks[place]
        if self._shared is not None:
            self._shared.drop(key)

    def keys(self) -> set[str]:
        """The objects of which there are blocks."""
        with self._lock:
            found = {key for key, _ in self._blocks}
        return found if self._shared is None else found | self._shared.keys()

    def clear(self) -> None:
        """Drop what is this process's own."""
        with self._lock:
            self._blocks.clear()

    def _remember(self, key: str, block: int, data: bytes) -> None:
        with self._lock:
            self._blocks[key, block] = data
            self._blocks.move_to_end((key, block))
            while len(self._blocks) > self._most:
                self._blocks.popitem(last=False)
