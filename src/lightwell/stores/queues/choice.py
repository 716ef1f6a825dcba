"""Which queue the units of work of import jobs are in, as the setting ``engine`` says."""

from __future__ import annotations

from typing import Literal

from lightwell.errors import ConfigurationError
from lightwell.stores.db.database import Database
from lightwell.stores.jobs import units
from lightwell.stores.jobs.units import Enqueue

QueueKind = Literal["table", "pgqueuer"]


def kind_of(engine: str, db: Database) -> QueueKind:
    """``auto`` is PgQueuer on PostgreSQL, the tables themselves on SQLite; ``local`` means these, too."""
    if engine == "pgqueuer" and db.dialect != "postgresql":
        raise ConfigurationError(
            "LIGHTWELL_ENGINE is pgqueuer, which needs PostgreSQL: leave it at auto, or set "
            "LIGHTWELL_DATABASE_URL to postgresql://USER@HOST/NAME."
        )
    if engine == "auto":
        return "pgqueuer" if db.dialect == "postgresql" else "table"
    return "pgqueuer" if engine == "pgqueuer" else "table"


def enqueue_of(kind: QueueKind) -> Enqueue:
    """What queues units, in the transaction that has written their rows."""
    if kind == "table":
        return units.announce
    from lightwell.stores.queues import pgqueuer_queue

    return pgqueuer_queue.enqueue
