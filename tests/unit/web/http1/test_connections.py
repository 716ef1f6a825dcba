"""Who goes where there are too many connections."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable

import pytest

from lightwell.web.http1.connections import Connections, Rank, connection_limit


class Made:
    """A connection of which a test says what it does."""

    def __init__(self, rank: Rank | None) -> None:
        self.now = rank
        self.dropped = False

    def rank(self) -> Rank | None:
        return self.now

    def drop(self) -> None:
        self.dropped = True


class Book:
    """Connections of which each is given its rank as it comes."""

    def __init__(self, most: int, exempt: Callable[[str], bool] = lambda address: False) -> None:
        self.counts: list[int] = []
        self.held = Connections(most, exempt, self.counts.append)

    def come(self, rank: Rank | None, address: str = "a", now: float = 0) -> Made | None:
        """None where there is no room."""
        if not (self.held.has_room(now) and self.held.has_room_for(address, now)):
            return None
        made = Made(rank)
        self.held.add(address, now).begin(made)
        return made


def dropped(made: list[Made | None]) -> list[int]:
    return [number for number, each in enumerate(made) if each is not None and each.dropped]


def test_drops_the_connection_idle_for_longest() -> None:
    book = Book(8)
    made = [book.come((0, since), f"{since}") for since in (5, 1, 4, 2, 8, 7, 3, 6)]
    for number in range(3):
        assert book.come((0, 10 + number), "new") is not None
    assert dropped(made) == [1, 3, 6]
    assert len(book.held) == 8 and max(book.counts) == 8


def test_skips_a_connection_active_since_it_was_ranked() -> None:
    book = Book(4)
    made = [book.come((0, since), f"{since}") for since in (1, 2, 3, 4)]
    assert book.come((0, 5), "e") is not None
    assert made[1] is not None
    made[1].now = (0, 6)
    assert book.come((0, 7), "f") is not None
    assert dropped(made) == [0, 2]


def test_keeps_connections_that_wait_for_a_response() -> None:
    book = Book(4)
    made = [book.come(None, f"{number}") for number in range(4)]
    assert book.come((0, 1), "new") is None
    assert made[2] is not None
    made[2].now = (0, 1)
    assert book.come((0, 2), "new") is not None
    assert dropped(made) == [2]


def test_drops_idle_connections_before_those_sending_a_head() -> None:
    book = Book(4)
    made = [book.come(rank, f"{rank}") for rank in ((1, 1.0), (0, 9.0), None, (0, 8.0))]
    for number in range(3):
        assert book.come((1, 20 + number), f"new{number}") is not None
    assert dropped(made) == [0, 1, 3]


def test_limits_an_address_to_half_and_drops_only_its_own() -> None:
    book = Book(8)
    others = [book.come((0, 0), "b")]
    made = [book.come((0, since), "a") for since in (1, 2, 3, 4, 5, 6)]
    assert dropped(made) == [0, 1] and dropped(others) == []
    busy = Book(8)
    for _ in range(4):
        assert busy.come(None, "a") is not None
    assert busy.come(None, "a") is None
    assert busy.come(None, "b") is not None


def test_takes_all_addresses_of_a_network_of_ipv6_for_one() -> None:
    busy = Book(8)
    for number in range(4):
        assert busy.come(None, f"2001:db8::{number}:1") is not None
    assert busy.come(None, "2001:db8::9") is None
    assert busy.come(None, "2001:db8:0:1::9") is not None
    assert busy.come(None, "::ffff:192.0.2.1") is not None


def test_does_not_limit_a_proxy() -> None:
    book = Book(8, lambda address: address == "proxy")
    assert all(book.come(None, "proxy") for _ in range(8))


def test_forgets_closed_connections() -> None:
    book = Book(4)
    entry = book.held.add("a", 0)
    book.held.remove(entry)
    book.held.remove(entry)
    assert len(book.held) == 0 and book.counts == [1, 0]
    assert not book.held._by_network and not book.held._queues


def test_drops_unfinished_handshakes() -> None:
    async def main() -> None:
        book = Book(2)
        entry = book.held.add("a", 3)
        assert entry.rank() is None  # it is about to begin
        entry.handshake = asyncio.create_task(asyncio.sleep(3600))
        assert entry.rank() == (0, 3)
        assert book.come((0, 5), "b") is not None
        assert book.come((0, 6), "c") is not None
        with pytest.raises(asyncio.CancelledError):
            await entry.handshake

    asyncio.run(main())


@pytest.mark.parametrize(
    ("files", "most"), [(512, 256), (1024, 768), (4096, 3072), (1 << 20, 16_384), (100, 32), (-1, 16_384)]
)
def test_reserves_descriptors_for_everything_else(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (files, files))
    assert connection_limit() == most
