"""Servers of one database: who runs, whose root key holds, and which jobs wait for one."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from lightwell.clock import Ids
from lightwell.domain.states import JobPhase, ServerRole
from lightwell.errors import ConfigurationError
from lightwell.stores.background import servers
from lightwell.stores.background.servers import ALIVE_MS, AwaitedNode, Server
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import server
from tests.stores.jobs.test_jobs import _job

A, B = Server("nodeaaaa", "a (/a)", "run1"), Server("nodebbbb", "b (/b)", "run1")


def enter(db: Database, one: Server, *, changes: bool = False) -> None:
    db.write(lambda conn: servers.register(conn, one, "AKIA", changes_root=changes))


def silence(db: Database, one: Server) -> None:
    """As if nothing had been heard of it for long."""
    db.write(
        lambda conn: conn.execute(
            update(server).where(server.c.node == one.node).values(seen_at=server.c.seen_at - ALIVE_MS - 1000)
        )
    )


def test_keeps_the_root_key_while_another_server_runs(database: Database) -> None:
    enter(database, A)
    enter(database, A, changes=True)
    with pytest.raises(ConfigurationError, match=r"a \(/a\).*LIGHTWELL_ROOT_ACCESS_KEY_ID"):
        enter(database, B, changes=True)
    enter(database, B)
    database.write(lambda conn: servers.deregister(conn, A))
    enter(database, B, changes=True)
    enter(database, A)
    silence(database, A)
    enter(database, B, changes=True)
    assert database.write(lambda conn: servers.renew(conn, A))
    with pytest.raises(ConfigurationError):
        enter(database, B, changes=True)


def test_tells_a_start_from_the_previous_one(database: Database) -> None:
    again = replace(A, run="run2")
    enter(database, A)
    enter(database, again)
    assert not database.write(lambda conn: servers.renew(conn, A))
    database.write(lambda conn: servers.deregister(conn, A))
    with pytest.raises(ConfigurationError):
        enter(database, B, changes=True)


def test_tells_which_jobs_wait_for_a_server(database: Database) -> None:
    def add(phase: JobPhase, *nodes: str | None) -> None:
        database.write(lambda conn: _job(conn, phase=phase, input_node=nodes[0], output_node=nodes[1]))

    def awaited() -> list[AwaitedNode]:
        with database.read() as conn:
            return [replace(one, unheard_ms=None) for one in servers.awaited_nodes(conn)]

    for phase, nodes in (
        (JobPhase.LIST, (A.node, A.node)),
        (JobPhase.LIST, ("", A.node)),
        (JobPhase.LIST, (B.node, "")),
        (JobPhase.DONE, (B.node, B.node)),
        (JobPhase.COMMIT, ("", "")),
        (JobPhase.LIST, (None, None)),
    ):
        add(phase, *nodes)
    nobody = [AwaitedNode(A.node, None, None, 2), AwaitedNode(B.node, None, None, 1)]
    assert awaited() == nobody
    enter(database, A)
    assert awaited() == nobody[1:]
    silence(database, A)
    enter(database, B)
    assert awaited() == [AwaitedNode(A.node, A.place, None, 2)]
    database.write(lambda conn: servers.deregister(conn, B))
    assert awaited() == [AwaitedNode(A.node, A.place, None, 2), AwaitedNode(B.node, B.place, None, 1)]


def test_counts_who_works_and_what_waits(database: Database) -> None:
    def found() -> tuple[int, int, int]:
        with database.read() as conn:
            seen = servers.workforce(conn)
        return seen.working, seen.serving_only, seen.jobs

    assert found() == (0, 0, 0)
    for phase in (JobPhase.LIST, JobPhase.COMMIT, JobPhase.DONE):
        database.write(partial(_job, phase=phase))
    enter(database, replace(A, role=ServerRole.HTTP))
    assert found() == (0, 1, 2)
    enter(database, A)
    enter(database, replace(B, role=ServerRole.WORKER))
    assert found() == (2, 1, 2)
    silence(database, B)
    database.write(lambda conn: servers.deregister(conn, A))
    assert found() == (0, 1, 2)


def test_reports_two_servers_with_the_same_data_folder_id(
    migrated_postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:

    from lightwell.settings import Settings
    from lightwell.stores import open_stores
    from lightwell.work.server_heartbeat import ServerHeartbeat

    stores = open_stores(Settings(data=tmp_path, database_url=migrated_postgres_url))
    enter(stores.db, A)
    presence = ServerHeartbeat(stores, A, seconds=0.01)
    presence.begin()
    enter(stores.db, replace(A, run=Ids().id()))
    with caplog.at_level(logging.ERROR):
        until = time.monotonic() + 240
        while "node.id" not in caplog.text and time.monotonic() < until:
            time.sleep(0.01)
    presence.end()
    assert caplog.text.count("is one a copy of the other") == 1
    stores.close()
