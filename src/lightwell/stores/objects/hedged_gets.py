"""GETs of ranges of S3 objects whose first bytes come soon, or from a second GET, or not at all.

A GET whose first bytes take longer than nearly all others did is sent a second time. One that stops is given
up after some seconds. While S3 is away, the circuit refuses GETs at once. For one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.objects.circuit import Circuit

if TYPE_CHECKING:
    from obstore.store import S3Store

Count = Callable[[str, str, int], None]
"""Adds to one of `observe.metrics.COUNTERS`: its name, the value of its label, how many."""

_STALL_SECONDS = 5.0  # without a byte of an answer
_HEDGE_LEAST, _HEDGE_MOST = 0.03, 1.5
_HEDGES = 0.05  # of the GETs
_SHORT, _PIECES = 1 << 20, (1 << 18, 1 << 20)  # bytes in which a short and a long answer are taken
_GETS, _CIRCUIT = "lightwell_storage_gets_total", "lightwell_storage_circuit_total"


class HedgedGets:
    """GETs of one bucket. ``explain`` makes a `StorageError` of what obstore raises."""

    def __init__(
        self,
        open_store: Callable[[], S3Store],
        explain: Callable[[str, Exception], StorageError],
        count: Count,
    ) -> None:
        self.circuit = Circuit()
        self._open_store = open_store
        self._explain = explain
        self._count = count
        self._store: S3Store | None = None
        self._waits: deque[float] = deque(maxlen=64)
        self._hedges = 3.0

    async def stream(
        self, key: str, start: int, end: int, *, is_ahead: bool = False
    ) -> AsyncGenerator[tuple[int, Any], None]:
        """``(size of the object, bytes)``, again and again, until the range or the object ends.

        What nobody has asked for yet, ``is_ahead``, does not open the circuit: several such GETs at once
        would by one bad moment. Nor does an answer that is cut short after its first piece.
        """
        if not self.circuit.admits():
            self._count(_GETS, "refused", 1)
            raise StorageUnavailableError(
                "S3 has not answered several times; it is asked again within "
                f"{self.circuit.seconds_left:.0f} s."
            )
        is_excused = is_ahead
        try:
            begun, size, piece = await self._begun(key, start, end)
            expected = min(end, size) - start
            async with contextlib.aclosing(begun):
                while True:
                    expected -= len(piece)
                    is_excused = True
                    yield size, piece
                    if expected <= 0:
                        break
                    piece = await asyncio.wait_for(anext(begun), _STALL_SECONDS)
        except StopAsyncIteration:
            self._failed(is_excused)
            raise StorageUnavailableError(f"S3 has sent less of {key} than it announced.") from None
        except TimeoutError:
            self._failed(is_ahead)
            raise StorageUnavailableError(
                f"S3 has sent nothing of {key} for {_STALL_SECONDS:.0f} s; check the network and its server."
            ) from None
        except Exception as error:
            explained = error if isinstance(error, StorageError) else self._explain(key, error)
            if isinstance(explained, StorageUnavailableError):
                self._failed(is_excused)
            else:
                self._succeeded()  # it is there, and says no
            raise explained from error
        self._succeeded()

    def _failed(self, is_excused: bool) -> None:
        self._count(_GETS, "failed", 1)
        if not is_excused and self.circuit.failed():
            self._count(_CIRCUIT, "opened", 1)

    def _succeeded(self) -> None:
        self._count(_GETS, "answered", 1)
        if self.circuit.succeeded():
            self._count(_CIRCUIT, "closed", 1)

    async def _begun(self, key: str, start: int, end: int) -> tuple[Any, int, Any]:
        """The stream of an answer, the size of the object, and the first piece; by two GETs if one takes
        unusually long."""
        attempts = {asyncio.ensure_future(self._attempt(key, start, end))}
        give_up = time.monotonic() + _STALL_SECONDS
        self._hedges = min(self._hedges + _HEDGES, 10.0)
        try:
            done, _ = await asyncio.wait(attempts, timeout=min(self._patience(), _STALL_SECONDS))
            if not done and self._hedges >= 1:
                self._hedges -= 1
                self._count(_GETS, "hedged", 1)
                attempts.add(asyncio.ensure_future(self._attempt(key, start, end)))
            while True:
                left = give_up - time.monotonic()
                done, waiting = await asyncio.wait(
                    attempts, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    raise TimeoutError
                winner = next((each for each in done if each.exception() is None), None)
                if winner is not None or not waiting:
                    return (winner or done.pop()).result()
                attempts = waiting
        finally:
            for each in attempts:
                each.cancel()

    def open(self) -> S3Store:
        """The bucket, opened at the first call, which takes some hundredths of a second."""
        if self._store is None:
            import obstore  # noqa: F401  # which takes most of them

            self._store = self._open_store()
        return self._store

    async def _attempt(self, key: str, start: int, end: int) -> tuple[Any, int, Any]:
        import obstore

        store = self.open()
        began = time.monotonic()
        result = await obstore.get_async(store, key, options={"range": (start, end)})
        stream = _pieces(result, _PIECES[end - start > _SHORT])
        piece = await anext(stream)
        self._waits.append(time.monotonic() - began)
        return stream, result.meta["size"], piece

    def _patience(self) -> float:
        """How long the first bytes may take before the GET is sent again: 95 % took less."""
        if len(self._waits) < 16:
            return _HEDGE_MOST
        usual = sorted(self._waits)[int(0.95 * len(self._waits))]
        return min(max(1.5 * usual, _HEDGE_LEAST), _HEDGE_MOST)


async def _pieces(result: Any, size: int) -> AsyncGenerator[Any, None]:
    async for piece in result.stream(min_chunk_size=size):
        yield memoryview(piece)
