"""The open connections of one HTTP worker: how many, how many of one address, and who goes for want of room.

Each takes a file descriptor, and so do packs, the database and uploads, which must not wait for one. One
address may have half of what there is: behind one may be a hospital, and there should be room beside it.
Where a limit is reached, the connection goes that has said nothing for longest, since a client that comes
back to it makes another one; those that wait for an answer, or are sending a body, stay. An answer of which
nobody takes anything keeps a connection for a moment only.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from lightwell.observe.logs import event

log = logging.getLogger(__name__)

# Kept from connections: a quarter of the descriptors, of which open packs alone take 128.
_RESERVED = (256, 4096)
_MIN, _MAX = 32, 16_384
_LOG_SECONDS = 60.0

Rank: TypeAlias = tuple[int, float]
"""The least goes first: 0 for who says nothing, 1 for who is in the middle of something, 2 for who takes
nothing of an answer; and since when."""


class Droppable(Protocol):
    """A connection as far as it matters here."""

    def rank(self) -> Rank | None:
        """None while it must stay."""

    def drop(self) -> None:
        """End it, whatever it is at."""


class OpenConnection:
    """One connection, from when it was taken. ``handshake`` is what waits for that of TLS, if any does."""

    __slots__ = ("_protocol", "address", "handshake", "since")

    def __init__(self, address: str, since: float) -> None:
        self.address = address
        self.since = since
        self.handshake: asyncio.Task[object] | None = None
        self._protocol: Droppable | None = None

    def begin(self, protocol: Droppable) -> None:
        """It is made. From now on only the protocol may end it, which would else not hear of its end."""
        self._protocol = protocol

    def rank(self) -> Rank | None:
        if self._protocol is not None:
            return self._protocol.rank()
        return None if self.handshake is None else (0, self.since)

    def drop(self) -> None:
        if self._protocol is not None:
            self._protocol.drop()
        elif self.handshake is not None:
            self.handshake.cancel()


class Connections:
    """``limit`` connections, half of them of one address unless it is ``exempt`` (a trusted proxy)."""

    def __init__(self, limit: int, exempt: Callable[[str], bool], on_change: Callable[[int], None]) -> None:
        self._limit = limit
        self._limit_per_address = limit // 2
        self._exempt = exempt
        self._on_change = on_change
        self._all: set[OpenConnection] = set()
        self._by_address: dict[str, set[OpenConnection]] = {}
        # Who goes next, as it was when that was last asked; whoever has spoken since is passed over.
        self._queues: dict[str | None, deque[tuple[Rank, OpenConnection]]] = {}
        self._dropped = 0
        self._logged_at = float("-inf")

    def __len__(self) -> int:
        return len(self._all)

    def add(self, address: str, now: float) -> OpenConnection:
        entry = OpenConnection(address, now)
        self._all.add(entry)
        self._by_address.setdefault(address, set()).add(entry)
        self._on_change(len(self._all))
        return entry

    def remove(self, entry: OpenConnection) -> None:
        """It is closed; a second call does nothing."""
        if entry not in self._all:
            return
        self._all.remove(entry)
        of_address = self._by_address[entry.address]
        of_address.remove(entry)
        if not of_address:
            del self._by_address[entry.address]
            self._queues.pop(entry.address, None)
        self._on_change(len(self._all))

    def has_room(self, now: float) -> bool:
        """Whether one more may be taken, for which another may have to go."""
        return len(self._all) < self._limit or self.drop_one(now)

    def has_room_for(self, address: str, now: float) -> bool:
        """Whether one more may be taken from this address, for which another of it may have to go."""
        of_address = self._by_address.get(address)
        if of_address is None or len(of_address) < self._limit_per_address or self._exempt(address):
            return True
        return self.drop_one(now, address)

    def drop_one(self, now: float, address: str | None = None) -> bool:
        """End the connection that has said nothing for longest; False if there is none that may go."""
        entries = self._all if address is None else self._by_address.get(address, set())
        entry = self._first_to_go(address, entries)
        if entry is not None:
            self._dropped += 1
            entry.drop()
            self.remove(entry)
        if now - self._logged_at > _LOG_SECONDS:
            event(
                log,
                logging.WARNING,
                "connections are at their limit",
                open=len(self._all),
                limit=self._limit if address is None else self._limit_per_address,
                address=address,
                dropped=self._dropped,
            )
            self._logged_at, self._dropped = now, 0
        return entry is not None

    def _first_to_go(self, key: str | None, entries: set[OpenConnection]) -> OpenConnection | None:
        queue = self._queues.get(key)
        for is_rebuilt in (False, True):
            if is_rebuilt:
                ranked = [(rank, entry) for entry in entries if (rank := entry.rank()) is not None]
                queue = self._queues[key] = deque(sorted(ranked, key=lambda each: each[0]))
            while queue:
                rank, entry = queue.popleft()
                if entry in entries and entry.rank() == rank:
                    return entry
        return None


def connection_limit() -> int:
    """How many connections this process may have, by how many files it may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX
    least, limit = _RESERVED
    return max(_MIN, min(_MAX, soft - max(least, min(limit, soft // 4))))
