"""A read replica of PostgreSQL: asked while it is fresh, and never believed when it is not."""

from __future__ import annotations

import contextlib

import psycopg
from sqlalchemy import Connection, select, text

from lightwell.errors import NotFoundError
from lightwell.stores.db.database import Database, Replica, insert_many
from lightwell.stores.db.schema import migrate
from lightwell.stores.db.tables import dictionary
from tests.support import services
from tests.support.server import until


def is_replica(conn: Connection) -> bool:
    return bool(conn.execute(text("SELECT pg_is_in_recovery()")).scalar())


def keys(conn: Connection) -> list[int]:
    return list(conn.execute(select(dictionary.c.key).order_by(dictionary.c.key)).scalars())


def add(db: Database, key: int) -> None:
    db.write(lambda conn: insert_many(conn, dictionary, [{"key": key, "bytes": b""}]))


def test_is_asked_only_while_it_is_fresh() -> None:
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(services.wanted(services.postgres()))
        of_replica = stack.enter_context(contextlib.ExitStack())
        replica = of_replica.enter_context(services.postgres_standby(primary))
        db = Database(primary, replica=Replica(replica, 3))
        migrate(db)
        stack.callback(db.close)
        assert db.read_behind(is_replica) is False  # nothing is known about it yet
        until(lambda: db.read_behind(is_replica))
        add(db, 1)
        until(lambda: db.read_behind(keys) == [1])

        def misses_something(conn: Connection) -> str:
            if is_replica(conn):
                raise NotFoundError("it is on the primary only")
            return "found"

        assert db.read_behind(misses_something) == "found"
        with psycopg.connect(replica, autocommit=True) as standby:
            # Behind, though it believes to have everything: what it shows is never older than allowed.
            standby.execute("SELECT pg_wal_replay_pause()")
            until(lambda: standby.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",))
            add(db, 2)
            until(lambda: not db.read_behind(is_replica))
            assert db.read_behind(keys) == [1, 2]
            standby.execute("SELECT pg_wal_replay_resume()")
        until(lambda: db.read_behind(is_replica))
        assert db.read_behind(keys) == [1, 2]
        of_replica.close()
        assert db.read_behind(keys) == [1, 2]
        assert db.read_behind(is_replica) is False
        add(db, 3)
        assert db.read_behind(keys) == [1, 2, 3]
