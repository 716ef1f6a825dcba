"""Turns of addresses: one that asks a thousand times waits behind itself only."""

from __future__ import annotations

import asyncio
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from lightwell.web.authorizers.fair_queue import FairQueue


def test_serves_addresses_in_turns() -> None:
    async def use() -> None:
        queue: FairQueue[int] = FairQueue(100)
        order: list[str] = []
        for address in ["a"] * 4 + ["b", "c", "b"]:
            future = queue.join(address)
            assert future is not None
            future.add_done_callback(partial(lambda address, _: order.append(address), address))
        while queue.give(1):
            await asyncio.sleep(0)
        assert order == ["a", "b", "c", "a", "b", "a", "a"]
        assert len(queue) == 0 and not queue.give(1)

    asyncio.run(use())


def test_leaves_room_for_others_than_the_one_that_fills_it() -> None:
    async def use() -> None:
        queue: FairQueue[int] = FairQueue(8)
        greedy = [queue.join("a") for _ in range(10)]
        assert [future is not None for future in greedy] == [True] * 2 + [False] * 8
        assert all(queue.join(address) is not None for address in "bcdefg")
        assert queue.join("h") is None, "it is full"
        first = greedy[0]
        assert first is not None
        first.cancel()
        queue.leave("a", first)
        queue.leave("a", first)  # twice changes nothing
        assert len(queue) == 7 and queue.join("h") is not None
        assert len(queue.clear()) == 8 and len(queue) == 0

    asyncio.run(use())


@given(st.lists(st.one_of(st.sampled_from("abc"), st.integers(0, 9), st.none()), max_size=60))
def test_loses_and_invents_nobody(steps: list[str | int | None]) -> None:
    """Letters join, numbers leave, None is a place that has become free."""

    async def use() -> None:
        queue: FairQueue[int] = FairQueue(1000)
        waiting: list[tuple[str, asyncio.Future[int]]] = []
        for step in steps:
            if isinstance(step, str):
                future = queue.join(step)
                assert future is not None
                waiting.append((step, future))
            elif step is not None and waiting:
                address, future = waiting.pop(step % len(waiting))
                queue.leave(address, future)
                assert not future.done()
            elif step is None:
                assert queue.give(1) is bool(waiting)
                waiting = [each for each in waiting if not each[1].done()]
            assert len(queue) == len(waiting)

    asyncio.run(use())
