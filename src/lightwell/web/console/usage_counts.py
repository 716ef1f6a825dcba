"""What all data stores hold, counted once for all requests of some seconds."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from time import monotonic
from typing import TYPE_CHECKING

from lightwell.operations.console.usage import Counted, count_all

if TYPE_CHECKING:
    from lightwell.clock import Clock
    from lightwell.stores import Stores

# Counting takes at most this share of a thread's time, however many people look.
_SHARE = 1 / 20
_FRESH_SECONDS = 2.0


class UsageCounts:
    """The newest count of one process; belongs to its event loop. ``threads`` run the counting."""

    def __init__(self, stores: Stores, clock: Clock, threads: Executor) -> None:
        self._stores = stores
        self._clock = clock
        self._threads = threads
        self._running: tuple[float, asyncio.Task[Counted]] | None = None

    async def get(self) -> Counted:
        """The counts, some seconds old at most where counting is quick; a minute where it takes long."""
        return await asyncio.shield(self._task())

    def _task(self) -> asyncio.Task[Counted]:
        now = monotonic()
        if self._running is not None:
            started, task = self._running
            if not task.done():
                return task
            if task.exception() is None:
                seconds = task.result().seconds
                if now - started - seconds < max(_FRESH_SECONDS, seconds / _SHARE):
                    return task
        task = asyncio.create_task(self._count())
        self._running = now, task
        return task

    async def _count(self) -> Counted:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, count_all, self._stores, self._clock)
