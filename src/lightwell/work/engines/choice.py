"""The queue that the setting ``engine`` names."""

from __future__ import annotations

from lightwell.stores import Stores
from lightwell.stores.queues.choice import kind_of
from lightwell.work.engines.table_dispatch import TableDispatch


def make_dispatch(engine: str, stores: Stores, owner: str) -> TableDispatch:
    """The dispatch that goes with ``stores.enqueue``; ``owner`` is a name that no other process has."""
    if kind_of(engine, stores.db) == "table":
        return TableDispatch(stores, owner)
    from lightwell.work.engines.pgqueuer_dispatch import PgQueuerDispatch

    return PgQueuerDispatch(stores, owner)
