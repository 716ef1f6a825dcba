"""How much each data store holds, counted in bounded time."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from lightwell.errors import NotFoundError
from lightwell.stores.account import datastores
from lightwell.stores.account.usage import Usage, usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightwell.clock import Clock
    from lightwell.operations.context import Context
    from lightwell.stores import Stores

_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Counted:
    """The usage by the keys of data stores; those that hold nothing are missing.

    ``at`` is milliseconds since the epoch, ``seconds`` how long it took.
    """

    usage: Mapping[int, Usage]
    at: int
    seconds: float


def usage_of(ctx: Context, datastore_id: str, counted: Counted) -> Usage:
    """What one data store holds, of what was counted. Raises `NotFoundError`."""
    with ctx.stores.db.read() as conn:
        store = datastores.get(conn, datastore_id)
    if store is None:
        raise NotFoundError(f"There is no data store {datastore_id[:64]}.")
    return counted.usage.get(store.key, Usage())


def count_all(stores: Stores, clock: Clock) -> Counted:
    """Count what all data stores hold; what there is no time for is estimated. Blocks, for 2 s at most."""
    at, started = clock.now(), monotonic()
    found = usage(stores.db, lambda: monotonic() - started > _SECONDS)
    return Counted(found, at, monotonic() - started)
