"""Room for decoded frames: who finds none waits, and is told to come again."""

from __future__ import annotations

import asyncio

import pytest

from lightwell.errors import UnavailableError
from lightwell.web.requests import decoded_bytes
from lightwell.web.requests.decoded_bytes import DecodedBytes


def test_lets_wait_what_finds_no_room_until_there_is_some() -> None:
    async def run() -> list[str]:
        room, order, may_end = DecodedBytes(100), list[str](), asyncio.Event()

        async def hold(name: str, count: int) -> None:
            async with room.taken(count):
                order.append(f"{name} begins")
                await may_end.wait()
            order.append(f"{name} ends")

        held = [asyncio.create_task(hold(name, count)) for name, count in (("a", 60), ("b", 40), ("c", 1))]
        for _ in range(20):
            await asyncio.sleep(0)
        order.append("full")
        assert room.used == 100
        may_end.set()
        await asyncio.gather(*held)
        assert room.used == 0
        return order

    order = asyncio.run(run())
    assert order[:3] == ["a begins", "b begins", "full"]
    assert order.index("c begins") > min(order.index("a ends"), order.index("b ends"))


def test_gives_all_room_to_what_is_larger_and_gives_it_back_after_a_fault() -> None:
    async def run() -> None:
        room = DecodedBytes(100)
        with pytest.raises(ZeroDivisionError):
            async with room.taken(1000):
                assert room.used == 100
                raise ZeroDivisionError
        assert room.used == 0

    asyncio.run(run())


def test_says_that_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded_bytes, "_PATIENCE", 0)

    async def run() -> None:
        room = DecodedBytes(100)
        async with room.taken(60):
            with pytest.raises(UnavailableError, match="all memory") as refused:
                async with room.taken(50):
                    raise AssertionError
            assert refused.value.retry_after == 5 and room.used == 60
            async with room.taken(40):
                assert room.used == 100

    asyncio.run(run())
