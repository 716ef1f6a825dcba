"""Rows of ``server``: which servers and workers use a PostgreSQL database, by data folder and role.

A server registers its row when it starts, renews it while it runs, and clears it when it stops. The row
stays, so that it can be told what a job is waiting for. Times are the database's, whose clock all servers
share.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    case,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from lightwell.domain.states import JobPhase, ServerRole
from lightwell.errors import ConfigurationError
from lightwell.stores.db.tables import import_job, server

RENEW_SECONDS = 10.0
ALIVE_MS = 60_000
"""A server that has not renewed its row for this long counts as dead."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server or worker. ``place`` names machine and data folder; ``run`` is new at each start."""

    node: str
    place: str
    run: str
    role: ServerRole = ServerRole.SERVE


@dataclass(frozen=True, slots=True)
class AwaitedNode:
    """A node on whose folders nobody works, and how many jobs only a server or worker there can continue.

    ``place`` is None if none ever ran on this database; ``unheard_ms`` is how long ago the last that worked
    there renewed its row, None if none ever did.
    """

    node: str
    place: str | None
    unheard_ms: int | None
    jobs: int


def register(conn: Connection, one: Server, root: str, *, changes_root: bool) -> None:
    """Register a server that starts with this root key. The caller holds `principals.lock_all`.

    Raises `ConfigurationError` if it would change the root key while other servers run.
    """
    if changes_root:
        others = conn.execute(
            select(server.c.place)
            .where(server.c.node != one.node, server.c.role != ServerRole.WORKER, _is_alive(conn))
            .order_by(server.c.place)
        )
        if names := list(others.scalars()):
            raise ConfigurationError(
                "The root key of this server differs from that of the server that runs on "
                f"{', '.join(names)} with the same database: give both the same "
                "LIGHTWELL_ROOT_ACCESS_KEY_ID and LIGHTWELL_ROOT_SECRET_ACCESS_KEY, or, to change the key, "
                "stop that server first. A server that was killed counts as stopped after "
                f"{ALIVE_MS // 1000} seconds."
            )
    values = {"place": one.place, "run": one.run, "root": root, "seen_at": _now(conn)}
    if not conn.execute(update(server).where(*_is(one)).values(**values)).rowcount:
        conn.execute(insert(server).values(node=one.node, role=one.role, **values))


def renew(conn: Connection, one: Server) -> bool:
    """Report that the server still runs; False if another one has registered for the same node."""
    done = conn.execute(update(server).where(*_is(one), server.c.run == one.run).values(seen_at=_now(conn)))
    return done.rowcount == 1


def deregister(conn: Connection, one: Server) -> None:
    """Report that the server stops."""
    conn.execute(
        update(server).where(*_is(one), server.c.run == one.run).values(run=None, seen_at=_now(conn))
    )


def others(conn: Connection, one: Server) -> list[str]:
    """The places of other servers and workers that run now."""
    found = conn.execute(
        select(server.c.place)
        .where(or_(server.c.node != one.node, server.c.role != one.role), _is_alive(conn))
        .order_by(server.c.place)
    )
    return list(found.scalars())


@dataclass(frozen=True, slots=True)
class Workforce:
    """How many servers and workers work on jobs, how many servers do not, and how many jobs are open."""

    working: int
    serving_only: int
    jobs: int


@dataclass(frozen=True, slots=True)
class KnownServer:
    """A server or worker that has registered. ``heard_ms``: how long ago it last renewed its row."""

    place: str
    role: ServerRole
    is_alive: bool
    heard_ms: int


def known(conn: Connection, most: int = 200) -> list[KnownServer]:
    """At most ``most`` servers and workers, the last heard of first; none on SQLite."""
    alive = case((_is_alive(conn), 1), else_=0)
    rows = conn.execute(
        select(server.c.place, server.c.role, alive, _now(conn) - server.c.seen_at)
        .order_by(server.c.seen_at.desc(), server.c.node, server.c.role)
        .limit(most)
    )
    return [KnownServer(row[0], ServerRole(row[1]), bool(row[2]), max(0, int(row[3]))) for row in rows]


def workforce(conn: Connection) -> Workforce:
    """Of a PostgreSQL database; on SQLite servers do not register."""
    roles = Counter(conn.execute(select(server.c.role).where(_is_alive(conn))).scalars())
    jobs = conn.scalar(select(func.count()).where(import_job.c.phase != JobPhase.DONE)) or 0
    http = roles.pop(ServerRole.HTTP, 0)
    return Workforce(sum(roles.values()), http, jobs)


def awaited_nodes(conn: Connection) -> list[AwaitedNode]:
    """The nodes that jobs wait for and on whose folders nobody works."""
    node = func.coalesce(func.nullif(import_job.c.input_node, ""), import_job.c.output_node)
    waiting = (
        select(node.label("node"), func.count().label("jobs"))
        .where(import_job.c.phase != JobPhase.DONE, node != "")
        .group_by(node)
        .subquery()
    )
    works = server.c.role != ServerRole.HTTP
    known = (
        select(
            server.c.node,
            func.max(server.c.place).label("place"),
            func.max(case((works, server.c.seen_at))).label("heard_at"),
            func.count(case((and_(works, _is_alive(conn)), 1))).label("alive"),
        )
        .group_by(server.c.node)
        .subquery()
    )
    rows = conn.execute(
        select(waiting.c.node, known.c.place, _now(conn) - known.c.heard_at, waiting.c.jobs)
        .select_from(waiting.outerjoin(known, known.c.node == waiting.c.node))
        .where(func.coalesce(known.c.alive, 0) == 0)
        .order_by(waiting.c.node)
    )
    return [AwaitedNode(*row) for row in rows]


def _is(one: Server) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return server.c.node == one.node, server.c.role == one.role


def _is_alive(conn: Connection) -> ColumnElement[bool]:
    # Whoever was seen in the future was so before the clock was set back, and has not been since.
    now = _now(conn)
    return and_(server.c.run.is_not(None), server.c.seen_at.between(now - ALIVE_MS + 1, now + ALIVE_MS))


def _now(conn: Connection) -> ColumnElement[int]:
    """Milliseconds since the epoch by the database's clock."""
    sql = (
        "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
        if conn.dialect.name == "sqlite"
        else "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
    )
    return literal_column(sql, BigInteger)
