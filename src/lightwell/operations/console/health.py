"""How the installation is: where it keeps what, who works, what waits."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from lightwell.operations.context import Context
from lightwell.setting_urls import masked_url
from lightwell.stores.account.usage import database_bytes
from lightwell.stores.background import servers
from lightwell.stores.background.servers import AwaitedNode, KnownServer, Workforce
from lightwell.stores.db.schema import schema_state
from lightwell.stores.jobs import queue_view
from lightwell.stores.jobs.queue_view import Depth


@dataclass(frozen=True, slots=True)
class Health:
    """What the database and this server's disk say.

    On SQLite servers do not register: ``servers`` is empty, and ``workforce`` None.
    """

    database: str
    database_address: str
    database_bytes: int
    schema: str
    storage: str
    disk_free: int
    disk_total: int
    servers: list[KnownServer]
    workforce: Workforce | None
    awaited: list[AwaitedNode]
    queue: list[Depth]


def health(ctx: Context) -> Health:
    """How the installation is now. Blocks; takes some milliseconds."""
    db = ctx.stores.db
    is_shared = db.dialect != "sqlite"
    with db.read() as conn:
        queue = queue_view.depths(conn)
        found = servers.known(conn) if is_shared else []
        workforce = servers.workforce(conn) if is_shared else None
        awaited = servers.awaited_nodes(conn) if is_shared else []
    disk = shutil.disk_usage(ctx.settings.data)
    return Health(
        database=db.dialect,
        database_address=db.address,
        database_bytes=database_bytes(db),
        schema=schema_state(db),
        storage=masked_url(ctx.settings.storage),
        disk_free=disk.free,
        disk_total=disk.total,
        servers=found,
        workforce=workforce,
        awaited=awaited,
        queue=queue,
    )


def server_name(ctx: Context) -> str:
    """What tells this server's metrics from another one's."""
    return ctx.stores.node.id[:8]
