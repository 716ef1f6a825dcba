"""How many bytes of decoded frames an HTTP process has in memory at once, whoever asks for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lightwell.errors import UnavailableError

_PATIENCE = 10.0
_RETRY_AFTER = 5


class DecodedBytes:
    """Room for ``most`` bytes, given in the order in which it is asked for; for one event loop.

    What is larger than all of it has it alone.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[tuple[int, asyncio.Future[bool]]] = deque()
        self.used = 0

    @asynccontextmanager
    async def taken(self, count: int) -> AsyncIterator[None]:
        """Have ``count`` bytes of room, within ten seconds. Raises `UnavailableError` where there is none."""
        count = min(count, self._most)
        if self._waiting or self.used + count > self._most:
            await self._turn(count)
        else:
            self.used += count
        try:
            yield
        finally:
            self.used -= count
            self._give()

    async def _turn(self, count: int) -> None:
        """Wait for it, and have it."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((count, turn))
        late = loop.call_later(_PATIENCE, self._give_up, turn)
        try:
            is_given = await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.done() and turn.result():
                self.used -= count
            self._give()
            raise
        finally:
            late.cancel()
        if not is_given:
            error = UnavailableError(
                "The frames that are decoded at the moment take all memory that there is for them. Try again "
                "in a moment."
            )
            error.retry_after = _RETRY_AFTER
            raise error

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            turn.set_result(False)
        self._give()

    def _give(self) -> None:
        while self._waiting:
            count, turn = self._waiting[0]
            if not turn.done():
                if self.used + count > self._most:
                    return
                self.used += count
                turn.set_result(True)
            self._waiting.popleft()
