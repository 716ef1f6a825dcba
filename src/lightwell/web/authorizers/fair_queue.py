"""Who waits for a function, in turns of the addresses that they come from.

A token costs nothing to make up. In one queue for all, whoever sends thousands from one address would be
served before everybody who comes later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """At most ``most`` that wait for a ``T``, a quarter of them from one address; for one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most // 4)
        # In the order of their turns: who has had one is last.
        self._waiting: dict[str | None, deque[asyncio.Future[T]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def join(self, address: str | None) -> asyncio.Future[T] | None:
        """A future that `give` completes; None if there is no room. ``address`` None has all of it."""
        queue = self._waiting.get(address)
        if self._count >= self._most:
            return None
        if address is not None and queue is not None and len(queue) >= self._most_of_one:
            return None
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(future)
        self._count += 1
        return future

    def leave(self, address: str | None, future: asyncio.Future[T]) -> None:
        """It no longer waits; does nothing if it has been served."""
        queue = self._waiting.get(address)
        if queue is not None and future in queue:
            queue.remove(future)
            self._count -= 1
            if not queue:
                del self._waiting[address]

    def give(self, place: T) -> bool:
        """Give what it waits for to the next one; False if nobody waits."""
        while self._waiting:
            address, queue = next(iter(self._waiting.items()))
            del self._waiting[address]
            future = queue.popleft()
            self._count -= 1
            if queue:
                self._waiting[address] = queue
            if not future.done():
                future.set_result(place)
                return True
        return False

    def clear(self) -> list[asyncio.Future[T]]:
        """Those that have waited, all of which are to be told why in vain."""
        all_of_them = [future for queue in self._waiting.values() for future in queue]
        self._waiting.clear()
        self._count = 0
        return all_of_them
