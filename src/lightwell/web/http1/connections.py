"""The open connections of one HTTP worker: how many, in all and per address, and which to drop first.

Each takes a file descriptor, and so do packs, the database and uploads, which must never have to wait for
one. A single address, of IPv6 a /64, may have half of them: a hospital may be behind it, and others need
room, too. When a limit is reached, the connection that has been idle for longest is dropped, since its client
can simply open another one. Those waiting for a response, or sending a body, stay. A client that does not
read its response keeps its connection only for a moment.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from lightwell.observe.logs import event
from lightwell.web.requests.proxies import client_network

log = logging.getLogger(__name__)

# Reserved for everything else: a quarter of the descriptors, between these limits. Open packs alone take 128.
_RESERVED = (256, 4096)
_MIN, _MAX = 32, 16_384
_LOG_SECONDS = 60.0

Rank: TypeAlias = tuple[int, float]
"""The lowest is dropped first: 0 for an idle client, 1 for one that is sending a head, 2 for one that does
not read its response; and since when.
"""


class Droppable(Protocol):
    """A connection that can be ranked and dropped."""

    def rank(self) -> Rank | None:
        """None as long as it must stay."""

    def drop(self) -> None:
        """Close it, whatever it is doing."""


class OpenConnection:
    """One connection, from when it was accepted. ``handshake`` is the task of its TLS handshake, if any."""

    __slots__ = ("_protocol", "handshake", "network", "since")

    def __init__(self, address: str, since: float) -> None:
        self.network = client_network(address)
        self.since = since
        self.handshake: asyncio.Task[object] | None = None
        self._protocol: Droppable | None = None

    def begin(self, protocol: Droppable) -> None:
        """It is established. From now on only the protocol may close it, so that it knows."""
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
    """At most ``limit`` connections, half of them per address unless it is ``exempt`` (a trusted proxy)."""

    def __init__(self, limit: int, exempt: Callable[[str], bool], on_change: Callable[[int], None]) -> None:
        self._limit = limit
        self._limit_per_network = limit // 2
        self._exempt = exempt
        self._on_change = on_change
        self._all: set[OpenConnection] = set()
        self._by_network: dict[str, set[OpenConnection]] = {}
        # Which to drop next, as of the last sorting; one that has been active since is skipped.
        self._queues: dict[str | None, deque[tuple[Rank, OpenConnection]]] = {}
        self._dropped = 0
        self._logged_at = float("-inf")

    def __len__(self) -> int:
        return len(self._all)

    def add(self, address: str, now: float) -> OpenConnection:
        entry = OpenConnection(address, now)
        self._all.add(entry)
        self._by_network.setdefault(entry.network, set()).add(entry)
        self._on_change(len(self._all))
        return entry

    def remove(self, entry: OpenConnection) -> None:
        """It is closed. A second call does nothing."""
        if entry not in self._all:
            return
        self._all.remove(entry)
        of_network = self._by_network[entry.network]
        of_network.remove(entry)
        if not of_network:
            del self._by_network[entry.network]
            self._queues.pop(entry.network, None)
        self._on_change(len(self._all))

    def has_room(self, now: float) -> bool:
        """Whether one more may be accepted; another one may be dropped for it."""
        return len(self._all) < self._limit or self.drop_one(now)

    def has_room_for(self, address: str, now: float) -> bool:
        """Whether one more may be accepted from this address; another of its own may be dropped for it."""
        network = client_network(address)
        of_network = self._by_network.get(network)
        if of_network is None or len(of_network) < self._limit_per_network or self._exempt(address):
            return True
        return self.drop_one(now, network)

    def drop_one(self, now: float, network: str | None = None) -> bool:
        """Drop the connection that has been idle for longest; False if none may be dropped."""
        entries = self._all if network is None else self._by_network.get(network, set())
        entry = self._first_to_go(network, entries)
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
                limit=self._limit if network is None else self._limit_per_network,
                address=network,
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
    """How many connections this process may have, given how many files it may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX
    least, limit = _RESERVED
    return max(_MIN, min(_MAX, soft - max(least, min(limit, soft // 4))))
