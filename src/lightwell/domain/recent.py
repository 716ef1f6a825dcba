"""What was looked up a moment ago and is taken to be true still: keys, roles, authorizers.

Nothing tells a process that one of them has changed. Each forgets so soon instead that a change is seen by
every process of every server in time, whatever stands between them and the database: a pooler, a connection
that is half open. What nobody asks for costs nothing.
"""

from __future__ import annotations

from typing import Generic, TypeVar

FRESH_MS = 800
"""How long a look-up holds. A key that is revoked is refused everywhere within a second; what rests on two
look-ups, one made from the other, has changed everywhere within two.
"""

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most ``most`` values by their keys, each for ``fresh_ms``. Safe to use from several threads.

    ``now`` is milliseconds since the epoch. If the clock is set back, what was put later is forgotten.
    """

    def __init__(self, most: int, fresh_ms: int = FRESH_MS) -> None:
        self._most = most
        self._fresh_ms = fresh_ms
        self._values: dict[K, tuple[int, V]] = {}

    def get(self, key: K, now: int) -> V | None:
        """The value, if it was put not long ago."""
        entry = self._values.get(key)
        return entry[1] if entry is not None and 0 <= now - entry[0] < self._fresh_ms else None

    def put(self, key: K, value: V, now: int) -> None:
        """Keep a value that was true at ``now``, which is before it was looked up."""
        if len(self._values) >= self._most:
            self._values.clear()
        self._values[key] = (now, value)

    def __len__(self) -> int:
        return len(self._values)

    def drop(self, key: K) -> None:
        self._values.pop(key, None)
