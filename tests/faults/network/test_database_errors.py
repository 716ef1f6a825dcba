"""What PostgreSQL does to transactions: each that may succeed if it is tried again says so to the caller."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import pytest
from sqlalchemy import Connection, text

from lightwell.errors import CommitUnknownError, StorageError, StorageUnavailableError
from lightwell.stores.db import drivers
from lightwell.stores.db.database import Database
from lightwell.stores.db.drivers import PostgresqlOptions
from lightwell.stores.db.look_up import LookUp


def with_options(url: str, **settings: object) -> str:
    return f"{url}?options=" + quote(" ".join(f"-c {name}={value}" for name, value in settings.items()))


@pytest.fixture
def db(migrated_postgres_url: str) -> Iterator[Database]:
    with closing(Database(migrated_postgres_url)) as made:
        yield made


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("08006", "check that it runs"),
        ("25006", "read-only, perhaps a replica"),
        ("25P03", "stood still for too long"),
        ("25P04", "exceeded a time limit"),
        ("40001", "other transactions got in its way"),
        ("40P01", "other transactions got in its way"),
        ("53100", "its disk is full: make room, nothing was lost"),
        ("53200", "some text"),
        ("53300", "no connection left"),
        ("55P03", "held a lock for too long"),
        ("57014", "exceeded the time limit"),
        ("57P01", "check that it runs"),
        ("57P05", "check that it runs"),
        ("58030", "its disk failed"),
    ],
)
def test_says_of_what_may_pass_that_it_may(db: Database, state: str, advice: str) -> None:
    raises = text(f"DO $$ BEGIN RAISE EXCEPTION 'some text' USING ERRCODE = '{state}'; END $$")

    def work(conn: Connection) -> None:
        conn.execute(raises)

    with pytest.raises(StorageUnavailableError, match=advice) as caught:
        db.write(work)
    assert not isinstance(caught.value, CommitUnknownError)
    with pytest.raises(StorageUnavailableError, match=advice), db.read() as conn:
        work(conn)


@pytest.mark.parametrize("state", ["0A000", "42501", "42P01", "54000", "XX000"])
def test_promises_nothing_of_what_stays(db: Database, state: str) -> None:
    raises = text(f"DO $$ BEGIN RAISE EXCEPTION 'some text' USING ERRCODE = '{state}'; END $$")
    with pytest.raises(StorageError, match="some text") as caught:
        db.write(lambda conn: conn.execute(raises))
    assert not isinstance(caught.value, StorageUnavailableError)


def test_writes_again_what_postgresql_ended_for_standing_still(migrated_postgres_url: str) -> None:
    url = with_options(migrated_postgres_url, idle_in_transaction_session_timeout="400ms")
    one, pids = text("SELECT 1"), []

    def work(conn: Connection, *, sleeps: bool) -> None:
        pids.append(conn.execute(text("SELECT pg_backend_pid()")).scalar())
        if sleeps:
            _wait_until_gone(migrated_postgres_url, pids[-1])
        conn.execute(one)

    with closing(Database(url)) as db:
        db.write(lambda conn: work(conn, sleeps=not pids))
        assert len(pids) == 2 and pids[0] != pids[1]
        with pytest.raises(StorageUnavailableError, match="stood still for too long"):
            db.write(lambda conn: work(conn, sleeps=True))
        with pytest.raises(StorageUnavailableError, match="stood still for too long"), db.read() as conn:
            work(conn, sleeps=True)
        with db.read() as conn:
            work(conn, sleeps=False)


def test_says_that_a_statement_or_a_lock_took_too_long(migrated_postgres_url: str) -> None:
    url = with_options(migrated_postgres_url, statement_timeout="20ms")
    with closing(Database(url)) as db:
        with pytest.raises(StorageUnavailableError, match="exceeded the time limit"):
            db.look_up(LookUp("SELECT pg_sleep(60)"), ())
        assert db.look_up(LookUp("SELECT 1"), ()) == (1,)
    locks = text("LOCK TABLE dictionary IN ACCESS EXCLUSIVE MODE")
    url = with_options(migrated_postgres_url, lock_timeout="20ms")
    with closing(Database(url)) as db, closing(Database(migrated_postgres_url)) as other:

        def work(conn: Connection) -> None:
            conn.execute(locks)
            with pytest.raises(StorageUnavailableError, match="held a lock for too long"):
                db.write(lambda waiting: waiting.execute(locks))

        other.write(work)
        db.write(lambda conn: conn.execute(locks))


def test_waits_for_a_connection_and_says_that_there_are_too_many(
    migrated_postgres_url: str, postgres_server: str
) -> None:
    name = migrated_postgres_url.rpartition("/")[2]
    admin = Database(postgres_server)
    admin.write(lambda conn: conn.execute(text(f'ALTER DATABASE "{name}" CONNECTION LIMIT 1')))
    # The limit is not for superusers.
    role = f"role_{name}"
    admin.write(lambda conn: conn.execute(text(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'x'")))
    url = f"postgresql://{role}:x@{postgres_server.rpartition('@')[2].rpartition('/')[0]}/{name}"
    with closing(Database(url, PostgresqlOptions(pool=1))) as db, db.read() as conn:
        conn.execute(text("SELECT 1"))
        another = Database(url)
        with pytest.raises(StorageUnavailableError, match="too many connections"):
            another.look_up(LookUp("SELECT 1"), ())
        another.close()
    with closing(Database(url)) as db:
        _until_answered(db)
    admin.write(lambda conn: conn.execute(text(f'DROP ROLE "{role}"')))
    admin.close()


def _until_answered(db: Database) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            assert db.look_up(LookUp("SELECT 1"), ()) == (1,)
            return
        except StorageUnavailableError:
            assert time.monotonic() < end
            time.sleep(0.02)


def _wait_until_gone(url: str, pid: object) -> None:
    connection = drivers.connect_listener(url)
    end = time.monotonic() + 60
    with closing(connection):
        while connection.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone():
            assert time.monotonic() < end
            time.sleep(0.01)
