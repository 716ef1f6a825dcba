"""Reads S3 through the cache of blocks, on the event loop of an HTTP process or in a thread of its own.

What a hundred requests want at once is fetched once, by one process of this machine, and handed out while it
arrives. One GET brings a run of neighbouring blocks, longer where a series is read; windows ahead of it are
under way before they are asked for (`read_ahead`). A GET whose first bytes
take longer than nearly all others did is sent a second time; one that stops is given up after some seconds,
and tried again once. While S3 is away, the circuit refuses reads at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.objects.block_cache import BLOCK, BlockCache, cut
from lightwell.stores.objects.hedged_gets import Count, HedgedGets
from lightwell.stores.objects.read_ahead import WINDOW, ReadAhead

if TYPE_CHECKING:
    from obstore.store import S3Store

_READ_SECONDS = 120.0
_GETS = 32
_GETS_AHEAD = 4
_AHEAD, _AHEAD_IN_MEMORY = 5, 2  # windows, with the one that is being read
_PIECE = 4 << 20  # a longer read is made in pieces
_CLAIM_SECONDS, _CLAIM_PAUSE, _CLAIM_EVERY = 3.0, 0.002, 10
_DROPPED, _HELD_UP = 4096, 256
_UNWRITTEN = 128  # blocks; of a disk that is slower than S3, the rest is not cached

READS, BYTES = "lightwell_storage_reads_total", "lightwell_storage_bytes_total"


class BlockReader:
    """Reads objects of one bucket. ``explain`` makes a `StorageError` of what obstore raises."""

    def __init__(
        self,
        open_store: Callable[[], S3Store],
        cache: BlockCache,
        explain: Callable[[str, Exception], StorageError],
        too_short: Callable[[str, int, int, int], StorageError],
        count: Count,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._cache = cache
        self._s3 = HedgedGets(open_store, explain, count)
        self._explain = explain
        self._too_short = too_short
        self._count = count
        self._flights: dict[tuple[str, int], asyncio.Future[bytes]] = {}
        self._ahead = ReadAhead(_AHEAD)
        self._held_up: OrderedDict[str, None] = OrderedDict()  # objects whose next windows have to wait
        self._unwritten: list[tuple[str, int, bytes]] = []
        self._dropped: set[str] = set()  # objects that are gone, until somebody asks for them again
        self._drop_again: set[str] = set()  # because blocks of them were being written
        self._claims: list[tuple[str, int, int]] = []
        self._is_writing = self._is_closing = self._writes_soon = False
        self._fetching_ahead = 0
        self._gets = asyncio.Semaphore(_GETS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._disk = ThreadPoolExecutor(4, thread_name_prefix="lightwell-cache")
        self._loop = loop or asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        if loop is None:
            self._thread = threading.Thread(target=self._run, name="lightwell-s3", daemon=True)
            self._thread.start()
        cache.on_mark = lambda key, block: self._call(self._go_on, key, block)
        cache.on_load = lambda length: count(BYTES, "disk", length)

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Exactly these bytes, or a `StorageError`. Not to be called on the reader's own event loop."""
        future = asyncio.run_coroutine_threadsafe(self.fetch(key, offset, length), self._loop)
        try:
            return future.result(_READ_SECONDS)
        except (TimeoutError, CancelledError):
            future.cancel()
            raise StorageUnavailableError("S3 did not answer in time.") from None

    def runs_on(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether `fetch` may be awaited on ``loop``."""
        return loop is self._loop

    def prepare(self) -> None:
        """Do now, in a thread, what the first read would wait for. Raises nothing."""
        with contextlib.suppress(Exception):  # the first read says what is wrong
            self._s3.open()

    def follow(self, objects: Sequence[tuple[str, int]]) -> None:
        """These objects, with their lengths, are read one after the other."""
        self._call(self._follow, objects)

    def _follow(self, objects: Sequence[tuple[str, int]]) -> None:
        self._ahead.follow(objects)
        for key, _ in objects:
            self._top_up(key)

    def forget(self, key: str) -> None:
        """The object is gone: so are its blocks."""
        self._cache.drop(key)
        self._call(self._forget, key)

    def close(self) -> None:
        """End the thread; reads under way fail."""
        self._is_closing = True
        if self._thread is not None:
            self._call(self._loop.stop)
            self._thread.join(5)
        self._disk.shutdown(wait=True)

    def _call(self, work: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(work, *arguments)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    # Blocks -----------------------------------------------------------------------------------------------

    async def fetch(self, key: str, offset: int, length: int) -> bytes:
        """The same on the reader's event loop."""
        pieces = [
            await self._piece(key, start, min(_PIECE, offset + length - start))
            for start in range(offset, offset + length, _PIECE)
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _piece(self, key: str, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        for is_last in (False, True):
            try:
                blocks = await self._blocks(key, first, last)
                break
            except StorageUnavailableError:
                if is_last or self._s3.circuit.is_open:
                    self._count(READS, "failed", 1)
                    raise
            await asyncio.sleep(random.uniform(0.02, 0.1))
        data = cut(blocks, offset - first * BLOCK, length)
        if len(data) != length:
            raise self._too_short(key, offset, len(data), length)
        return data

    async def _blocks(self, key: str, first: int, last: int) -> list[bytes]:
        """These blocks; fewer where the object ends before."""
        found: dict[int, bytes] = {}
        waiting: dict[int, asyncio.Future[bytes]] = {}
        on_disk: list[int] = []
        wanted: list[int] = []
        written: set[int] | None = None
        # Nothing is awaited before every block that is missing has a flight.
        for number in range(first, last + 1):
            data = self._cache.memory.get(key, number)
            if data is not None:
                found[number] = data
            elif (flight := self._flights.get((key, number))) is not None:
                waiting[number] = flight
            else:
                if written is None:
                    written = self._cache.written(key, first, last + 1)
                (on_disk if number in written else wanted).append(number)
        self._count(READS, "s3" if wanted else "disk" if on_disk else "joined", 1)
        if on_disk:
            at_once = self._cache.load(key, on_disk, waits=False)
            found |= at_once
            if len(at_once) < len(on_disk):
                on_disk = [number for number in on_disk if number not in at_once]
                waiting |= self._take_off(key, on_disk)
                self._begin(self._load(key, on_disk))
        if wanted:
            # Blocks that are here between two that are missing are fetched again: a second GET costs more.
            waiting |= self._launch(key, wanted, self._ahead.missed(key, wanted[0], wanted[-1] + 1))
            self._top_up(key)
        for number, flight in waiting.items():
            found[number] = await asyncio.shield(flight)
        return [found[number] for number in sorted(found)]

    def _take_off(self, key: str, numbers: Iterable[int]) -> dict[int, asyncio.Future[bytes]]:
        """Flights for blocks that have none."""
        flights: dict[int, asyncio.Future[bytes]] = {}
        for number in numbers:
            if (key, number) not in self._flights:
                flights[number] = self._flights[key, number] = self._loop.create_future()
                flights[number].add_done_callback(_look_at_its_error)
        return flights

    async def _load(self, key: str, numbers: Sequence[int]) -> None:
        """Settle the flights of blocks that are on the disk; fetch those that turn out to be damaged."""
        found = await self._loop.run_in_executor(self._disk, self._cache.load, key, numbers)
        for number in numbers:
            if number in found:
                self._settle(key, number, found[number])
            else:
                await self._fetch(key, number, number + 1)

    def _launch(self, key: str, wanted: Sequence[int], most: int) -> dict[int, asyncio.Future[bytes]]:
        """Begin to fetch the blocks that are ``wanted``, and those behind them up to ``most``."""
        first, last = wanted[0], wanted[-1]
        end = last + 1
        here = self._here(key, end, most)
        while end < most and end not in here:
            end += 1
        if not self._cache.claim(key, first, end - first):
            end = last + 1  # what follows is for the process that was first
        self._dropped.discard(key)
        flights = self._take_off(key, [*wanted, *range(last + 1, end)])
        if end > last + 1:
            self._cache.mark(key, (last + 1) * BLOCK)
        self._begin(self._fetch(key, first, end))
        return {number: flights[number] for number in wanted}

    def _here(self, key: str, first: int, end: int) -> set[int]:
        """Which of these blocks are here or on their way."""
        return self._cache.written(key, first, end).union(
            number
            for number in range(first, end)
            if (key, number) in self._flights or self._cache.memory.has(key, number)
        )

    def _go_on(self, key: str, block: int) -> None:
        """What was fetched ahead is being read."""
        self._ahead.read(key, block)
        self._top_up(key)

    def _top_up(self, key: str) -> None:
        """Fetch what is missing of the windows that are read next, and have the last of them noticed."""
        self._ahead.depth = _AHEAD if self._cache.writes else _AHEAD_IN_MEMORY
        for of, window in self._ahead.windows(key):
            if not self._fetch_window(of, window):
                if len(self._held_up) < _HELD_UP:
                    self._held_up[key] = None
                break
        turn = self._ahead.turn(key)
        if turn is not None:
            self._cache.mark(turn[0], turn[1] * WINDOW * BLOCK)

    def _fetch_window(self, key: str, window: int) -> bool:
        """Fetch what of a window is not here and in nobody's hands; False if that has to wait."""
        size = self._ahead.size(key)
        if size is None or key in self._dropped:
            return True
        number, end = window * WINDOW, min((window + 1) * WINDOW, -(-size // BLOCK))
        here = self._here(key, number, end)
        while number < end:
            first = number
            while number < end and number not in here:
                number += 1
            if number > first:
                if self._fetching_ahead >= _GETS_AHEAD or self._s3.circuit.is_open:
                    return False
                if self._cache.claim(key, first, number - first):
                    self._take_off(key, range(first, number))
                    self._fetching_ahead += 1
                    self._begin(self._fetch_ahead(key, first, number))
            number += 1
        return True

    async def _fetch_ahead(self, key: str, first: int, end: int) -> None:
        try:
            await self._fetch(key, first, end, is_ahead=True)
        finally:
            self._fetching_ahead -= 1
        if self._held_up:
            self._top_up(self._held_up.popitem(last=False)[0])

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _forget(self, key: str) -> None:
        if len(self._dropped) >= _DROPPED:
            self._dropped.clear()
        self._dropped.add(key)
        self._unwritten = [block for block in self._unwritten if block[0] != key]
        if self._is_writing:
            self._drop_again.add(key)
        self._ahead.forget(key)
        self._held_up.pop(key, None)

    # Fetching -----------------------------------------------------------------------------------------------

    async def _fetch(self, key: str, first: int, end: int, *, is_ahead: bool = False) -> None:
        """Fetch a run of blocks and settle their flights."""
        begun = first
        try:
            begun = await self._claimed(key, first, end)
            if begun < end:
                async with self._gets:
                    await self._get(key, begun, end, is_ahead)
        except Exception as error:
            self._fail(key, begun, end, error)
        except BaseException:
            self._fail(key, begun, end, StorageUnavailableError("This server is stopping."))
            raise
        finally:
            # Whoever waits for the claim looks for the blocks on the disk next.
            self._claims.append((key, first, end - first))
            self._write_soon()

    def _fail(self, key: str, first: int, end: int, error: Exception) -> None:
        if not isinstance(error, StorageError):
            error = self._explain(key, error)
        for number in range(first, end):
            flight = self._flights.pop((key, number), None)
            if flight is not None and not flight.done():
                flight.set_exception(error)

    def _settle(self, key: str, number: int, data: bytes) -> None:
        flight = self._flights.pop((key, number), None)
        if flight is not None and not flight.done():
            flight.set_result(data)

    async def _claimed(self, key: str, first: int, end: int) -> int:
        """Claim these blocks; the first one to fetch, after what another process has fetched meanwhile."""
        give_up = self._loop.time() + _CLAIM_SECONDS
        looks = 0
        while first < end:
            is_mine = looks % _CLAIM_EVERY == 0 and self._cache.claim(key, first, end - first)
            found: dict[int, bytes] = {}
            in_memory = self._cache.memory.get(key, first)
            if in_memory is not None:
                found[first] = in_memory
            elif self._cache.has(key, first):
                found = self._cache.load(key, [first], waits=False) or await self._loop.run_in_executor(
                    self._disk, self._cache.load, key, [first]
                )
            if found:
                self._settle(key, first, found[first])
                if is_mine:
                    self._cache.release(key, first, 1)
                first += 1
                if len(found[first - 1]) < BLOCK:  # the object ends here
                    self._ahead.learn(key, (first - 1) * BLOCK + len(found[first - 1]))
                    for beyond in range(first, end):
                        self._settle(key, beyond, b"")
                    first = end
                looks = 0
            elif is_mine or self._loop.time() > give_up:
                break
            else:
                looks += 1
                await asyncio.sleep(_CLAIM_PAUSE)
        return first

    async def _get(self, key: str, first: int, end: int, is_ahead: bool) -> None:
        """One GET, whose blocks are handed out as they arrive."""
        number, pieces, held = first, deque[memoryview](), 0
        stream = self._s3.stream(key, first * BLOCK, end * BLOCK, is_ahead=is_ahead)
        async with contextlib.aclosing(stream):
            async for size, piece in stream:
                is_new = self._ahead.learn(key, size)
                self._count(BYTES, "s3", len(piece))
                pieces.append(piece)
                held += len(piece)
                while held >= BLOCK or (held and number * BLOCK + held >= size):
                    block = _take(pieces, min(BLOCK, held))
                    held -= len(block)
                    self._arrived(key, number, block)
                    number += 1
                if is_new:
                    self._top_up(key)
        for beyond in range(number, end):
            self._settle(key, beyond, b"")

    def _arrived(self, key: str, number: int, data: bytes) -> None:
        self._settle(key, number, data)
        if key in self._dropped:
            return
        self._cache.memory.keep(key, number, data)
        if self._cache.writes and len(self._unwritten) < _UNWRITTEN:
            self._unwritten.append((key, number, data))
            self._write_soon()

    def _write_soon(self) -> None:
        if not self._writes_soon:
            self._writes_soon = True
            self._loop.call_soon(self._write_next)

    def _write_next(self) -> None:
        """Write what has arrived to the disk, in one thread; then give up the claims on it."""
        self._writes_soon = False
        if self._is_closing or self._is_writing or not (self._unwritten or self._claims):
            return
        blocks, self._unwritten = self._unwritten, []
        claims, self._claims = self._claims, []
        self._is_writing = True

        def write() -> None:
            for block in blocks:
                self._cache.store(*block)
            for claim in claims:
                self._cache.release(*claim)

        def written(_: object) -> None:
            self._is_writing = False
            for key in self._drop_again:
                self._cache.drop(key)
            self._drop_again.clear()
            self._write_next()

        self._loop.run_in_executor(self._disk, write).add_done_callback(written)


def _take(pieces: deque[memoryview], length: int) -> bytes:
    """The first ``length`` bytes of pieces that have as many, which leave them."""
    taken: list[memoryview] = []
    while length:
        piece = pieces.popleft()
        if len(piece) > length:
            pieces.appendleft(piece[length:])
            piece = piece[:length]
        taken.append(piece)
        length -= len(piece)
    return b"".join(taken)


def _look_at_its_error(flight: asyncio.Future[bytes]) -> None:
    if not flight.cancelled():
        flight.exception()
