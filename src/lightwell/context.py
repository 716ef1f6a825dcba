"""What an operation may touch: the stores, the clock, new ids, the settings and who called."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightwell.ingest.pool import Pool
    from lightwell.settings import Settings
    from lightwell.stores import Stores


class Clock:
    """Time from the system; tests put their own in its place."""

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class Ids:
    """New keys and ids from the system's random source."""

    def key(self) -> int:
        """A random 63-bit integer above 0, the key of a row."""
        return secrets.randbits(63) or 1

    def id(self) -> str:
        """32 lowercase hex digits, an id that the API shows."""
        return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed the request."""

    account: str
    arn: str
    access_key_id: str


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to every operation, and to nothing below `operations`, `ingest` and `work`.

    ``pool`` asks codec workers; None in commands, which have no work process. ``reach`` are the ids of the
    image sets that the caller's policies let the operation change without being named in the request; None
    for all.
    """

    stores: Stores
    settings: Settings
    clock: Clock
    ids: Ids
    caller: Caller
    pool: Pool | None = None
    reach: frozenset[str] | None = None

    @property
    def is_restricted(self) -> bool:
        """Whether the caller has policies."""
        return self.reach is not None
