"""A collector for tests: no grace period, small batches, and what it must leave behind."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import func, select

from lightwell.clock import Clock, Ids
from lightwell.operations.delete_image_set import delete_image_set
from lightwell.stores.db import tables
from lightwell.wire import shapes
from lightwell.work.collector import Collector
from tests.support.imports import Importing


class Later(Clock):
    """A clock that is ``ms`` ahead of the system's."""

    def __init__(self, ms: int = 1) -> None:
        self._ms = ms

    def now(self) -> int:
        return super().now() + self._ms


def collector(server: Importing, *, grace: int = 0, batch: int = 2, ahead: int = 1) -> Collector:
    """A collector whose clock is ``ahead`` ms, so that rows of this millisecond count as older."""
    settings = replace(server.settings, collect_grace=grace)
    return Collector(server.stores, settings, Later(ahead), Ids(), batch=batch)


def delete(server: Importing, image_set: str) -> None:
    """DeleteImageSet."""
    request = shapes.DeleteImageSetRequest(datastore_id=server.datastore, image_set_id=image_set)
    delete_image_set(server.context, request)


def living(server: Importing) -> list[str]:
    """The ids of the image sets that are not deleted, oldest first."""
    t = tables.image_set.c
    with server.stores.db.read() as conn:
        rows = conn.execute(select(t.id).where(t.state == "ACTIVE").order_by(t.created_at, t.key))
        return list(rows.scalars())


def counts(server: Importing) -> dict[str, int]:
    """The number of rows in each table with data of image sets, tombstones left out."""
    names = ("member", "level", "record", "pixels", "frame_table", "level_value", "dictionary", "instance")
    with server.stores.db.read() as conn:
        return {
            name: conn.execute(select(func.count()).select_from(tables.metadata.tables[name])).scalar_one()
            for name in (*names, "study", "pack")
        }
