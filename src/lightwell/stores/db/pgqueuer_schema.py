"""PgQueuer's own tables in our database: their names, the library's statements, and how they are made.

They hold nothing that our own rows do not say as well. So tables of an older release, or damaged ones, are
made anew; whoever works fills them again from those rows.

The library's `Queries` are used without its workers, in the caller's transaction, on the caller's connection.
"""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, text

if TYPE_CHECKING:
    from pgqueuer.adapters.persistence.qb import QueryQueueBuilder
    from pgqueuer.domain.settings import DBSettings
    from pgqueuer.queries import Queries

T = TypeVar("T")

TABLE = "lightwell_pgqueuer"
LOG_TABLE = TABLE + "_log"
_TRIGGER = "lightwell_tg_pgqueuer_changed"


class _OnConnection:
    """PgQueuer's driver over a connection that has a transaction open. Its methods never wait."""

    def __init__(self, conn: Connection) -> None:
        self._connection: Any = conn.connection.driver_connection

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        from psycopg import RawCursor
        from psycopg.rows import dict_row

        with RawCursor(self._connection, row_factory=dict_row) as cursor:
            cursor.execute(query, args or None)
            return cursor.fetchall()

    async def execute(self, query: str, *args: object) -> str:
        from psycopg import RawCursor

        with RawCursor(self._connection) as cursor:
            cursor.execute(query, args or None)
            return cursor.statusmessage or ""


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine of `queries`, which needs no event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a statement of PgQueuer waited for something other than the database")


@functools.cache
def _names() -> DBSettings:
    """The names of PgQueuer's objects: ours alone, whatever its environment variables say."""
    from pgqueuer.domain.settings import DBSettings, Durability
    from pgqueuer.domain.types import Channel

    return DBSettings(
        prefix="lightwell_",
        db_schema=None,
        channel=Channel("lightwell_ch_pgqueuer"),
        function="lightwell_fn_pgqueuer_changed",
        statistics_table=TABLE + "_statistics",
        queue_status_type=TABLE + "_status",
        queue_table=TABLE,
        queue_table_log=LOG_TABLE,
        trigger=_TRIGGER,
        schedules_table=TABLE + "_schedules",
        # What has become of entries that are gone is for people to look at, and may be lost in a crash.
        durability=Durability.balanced,
        widen_id=True,
    )


@functools.cache
def _builder() -> QueryQueueBuilder:
    """Keeps the text of statements."""
    from pgqueuer.adapters.persistence.qb import QueryQueueBuilder

    return QueryQueueBuilder(_names())


def queries(conn: Connection) -> Queries:
    """PgQueuer's statements on this connection; run them by `at_once`.

    Importing the library takes 0.3 s, so that waits till a process needs it.
    """
    from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QuerySchedulerBuilder
    from pgqueuer.queries import Queries

    return Queries(
        _OnConnection(conn),  # type: ignore[arg-type]
        QueryBuilderEnvironment(_names()),
        _builder(),
        QuerySchedulerBuilder(_names()),
    )


@functools.cache
def _release() -> tuple[int, ...]:
    return _numbers(metadata.version("pgqueuer"))


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".")[:3] if part.isdigit())


def is_current(conn: Connection) -> bool:
    """Whether the tables are there, made by the installed release or by a newer one on another machine."""
    made_by = conn.execute(
        text("SELECT obj_description(to_regclass(:table), 'pg_class')"), {"table": TABLE}
    ).scalar()
    return made_by is not None and _numbers(made_by.removeprefix("pgqueuer ")) >= _release()


def prepare(conn: Connection) -> bool:
    """Make the tables, or make them anew where they are not as the installed release needs them.

    False if nothing had to be done. For whoever holds the lock of migrations.
    """
    if is_current(conn) and _is_whole(conn):
        return False
    queue = queries(conn)
    at_once(queue.uninstall())
    at_once(queue.install())
    at_once(queue.optimize_autovacuum())
    # It would wake every worker whenever any unit is done; who queues units says so himself.
    conn.execute(text(f"ALTER TABLE {TABLE} DISABLE TRIGGER {_TRIGGER}"))
    release = ".".join(map(str, _release()))
    conn.execute(text(f"COMMENT ON TABLE {TABLE} IS 'pgqueuer {release}'"))
    return True


def _is_whole(conn: Connection) -> bool:
    """Whether nothing of what the installed release declares is missing or different."""
    from pgqueuer.domain.errors import SchemaDriftError

    try:
        return not at_once(queries(conn).plan_upgrade()).statements
    except SchemaDriftError:
        return False
