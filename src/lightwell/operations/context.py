"""What an operation may touch: the stores, the clock, new ids, the settings and who called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.clock import Clock, Ids

if TYPE_CHECKING:
    from lightwell.codec_pool.client import CodecPoolClient
    from lightwell.settings import Settings
    from lightwell.stores import Stores


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed the request."""

    account: str
    arn: str
    access_key_id: str


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to every operation, and to nothing below `operations`.

    ``pool`` asks codec workers; None in commands, which have no work process. ``reach`` are the ids of the
    image sets that the caller's policies let the operation change without being named in the request; None
    for all.
    """

    stores: Stores
    settings: Settings
    clock: Clock
    ids: Ids
    caller: Caller
    pool: CodecPoolClient | None = None
    reach: frozenset[str] | None = None

    @property
    def is_restricted(self) -> bool:
        """Whether the caller has policies."""
        return self.reach is not None
