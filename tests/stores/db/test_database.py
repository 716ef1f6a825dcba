"""The database: the same behaviour on SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import IntegrityError

from lightwell.errors import CommitUnknownError, ConfigurationError, StorageError, StorageUnavailableError
from lightwell.stores.db import database as module
from lightwell.stores.db import drivers
from lightwell.stores.db.database import Database, Replica, insert_many, insert_missing
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.tables import dictionary, level_value, pack, tag
from lightwell.stores.transactions.after_commit import after_commit
from tests.support.tcp_proxies import InterruptibleProxy


def rows(*keys: int) -> list[dict[str, object]]:
    return [{"key": key, "bytes": b"\x00\xff"} for key in keys]


def add(db: Database, *keys: int) -> None:
    db.write(lambda conn: insert_many(conn, dictionary, rows(*keys)))


def keys_in(db: Database) -> list[int]:
    with db.read() as conn:
        return list(conn.execute(select(dictionary.c.key).order_by(dictionary.c.key)).scalars())


def test_commits_what_returns_and_undoes_what_raises(database: Database) -> None:
    def fails(conn: Connection) -> None:
        insert_many(conn, dictionary, rows(2))
        raise KeyError("on purpose")

    add(database, 1)
    with pytest.raises(KeyError):
        database.write(fails)
    assert keys_in(database) == [1]
    assert database.write(lambda conn: "a value") == "a value"


def test_passes_integrity_errors_on(database: Database) -> None:
    add(database, 1)
    with pytest.raises(IntegrityError):
        add(database, 1)
    add(database, 2)


def test_reads_one_state_throughout(database: Database) -> None:
    add(database, 1)
    count = select(func.count()).select_from(dictionary)
    with database.read() as conn:
        assert conn.execute(count).scalar() == 1
        add(database, 2)
        assert conn.execute(count).scalar() == 1
    assert keys_in(database) == [1, 2]


def test_reads_each_statement_singly(database: Database) -> None:
    count = select(func.count()).select_from(dictionary)
    with database.read_singly() as conn:
        assert conn.execute(count).scalar() == 0
        add(database, 1)
        assert conn.execute(count).scalar() == (database.dialect == "postgresql")
    # The connection is one for transactions again.
    with pytest.raises(ZeroDivisionError):
        database.write(lambda conn: conn.execute(dictionary.delete()).rowcount / 0)
    assert keys_in(database) == [1]


def test_tells_what_has_been_committed(database: Database) -> None:
    told: list[str] = []

    def work(conn: Connection, name: str) -> None:
        after_commit(conn, lambda: told.append(name))
        assert name not in told
        if name == "broken":
            raise ZeroDivisionError

    database.write(lambda conn: work(conn, "first"))
    assert told == ["first"]
    with pytest.raises(ZeroDivisionError):
        database.write(lambda conn: work(conn, "broken"))
    database.write(lambda conn: work(conn, "last"))
    assert told == ["first", "last"]


def test_refuses_to_write_in_a_read(database: Database) -> None:
    with pytest.raises(StorageError), database.read() as conn:
        conn.execute(dictionary.insert(), rows(1))
    assert keys_in(database) == []


def test_refuses_a_transaction_inside_a_write(database: Database) -> None:
    def reads(conn: Connection) -> None:
        with database.read():
            pass

    with pytest.raises(RuntimeError, match=r"read inside Database\.write"):
        database.write(reads)
    with pytest.raises(RuntimeError, match=r"write inside Database\.write"):
        database.write(lambda conn: database.write(lambda inner: None))
    add(database, 1)


def test_counts_the_rows_of_an_insert(database: Database) -> None:
    assert database.write(lambda conn: conn.execute(dictionary.insert(), rows(1, 2, 3)).rowcount) == 3
    statement = dictionary.update().where(dictionary.c.key > 1).values(bytes=b"y")
    assert database.write(lambda conn: conn.execute(statement).rowcount) == 2


@pytest.mark.parametrize("count", [0, 1, 19, 20, 500])
def test_inserts_many_rows_of_every_kind(database: Database, count: int) -> None:
    given = [
        {
            "key": (1 << 62) + number,
            "datastore": number,
            "state": "open 'quoted' \\ tab\t line\nübung",
            "size": None if number % 2 else 1 << 40,
            "checksum": 0xFFFFFFFF,
            "created_at": 0,
            "data_key": None if number % 2 else -5,
            "seal": None if number % 3 else bytes(range(256)),
        }
        for number in range(count)
    ]
    database.write(lambda conn: insert_many(conn, pack, given))
    with database.read() as conn:
        found = [dict(row._mapping) for row in conn.execute(select(pack).order_by(pack.c.key))]
    assert found == given


def test_inserts_only_what_is_missing(database: Database) -> None:
    def row(key: int, digest: bytes) -> dict[str, object]:
        return {"key": key, "datastore": 1, "hash": digest, "body_z": b"\x00" * 5}

    def insert(*given: dict[str, object]) -> int:
        return database.write(lambda conn: insert_missing(conn, level_value, given, ["datastore", "hash"]))

    assert insert() == 0
    assert insert(row(1, b"a")) == 1
    assert insert(row(2, b"c"), row(3, b"a"), row(4, b"b"), row(5, b"b")) == 2
    assert insert(row(6, b"a")) == 0
    with database.read() as conn:
        statement = select(level_value.c.hash, level_value.c.key).order_by(level_value.c.hash)
        assert [tuple(found) for found in conn.execute(statement)] == [(b"a", 1), (b"b", 4), (b"c", 2)]


def test_refuses_rows_that_differ_in_their_columns(database: Database) -> None:
    with pytest.raises(ValueError, match="differ"):
        database.write(lambda conn: insert_many(conn, dictionary, [*rows(1), {"key": 2}]))
    with pytest.raises(ValueError, match="differ"):
        database.write(lambda conn: insert_many(conn, dictionary, [{"key": 2}, *rows(1)]))
    with pytest.raises(ValueError, match="no column"):
        database.write(lambda conn: insert_many(conn, dictionary, [{"nokey": 2}]))


def test_orders_text_by_its_bytes(database: Database) -> None:
    given = ["B", "a", "A", "b", "ä", "Z", "_", "1.2.10", "1.2.9"]
    database.write(
        lambda conn: insert_many(conn, tag, [{"resource": r, "key": "k", "value": "v"} for r in given])
    )
    with database.read() as conn:
        assert list(conn.execute(select(tag.c.resource).order_by(tag.c.resource)).scalars()) == sorted(given)


def test_looks_one_row_up(database: Database) -> None:
    add(database, 5)
    by_key = LookUp("SELECT key, bytes FROM dictionary WHERE key = ?")
    for _ in range(10):
        assert database.look_up(by_key, (5,)) == (5, b"\x00\xff")
    assert database.look_up(by_key, (6,)) is None
    add(database, 6)
    assert database.look_up(by_key, (6,)) is not None
    with pytest.raises(StorageError):
        database.look_up(LookUp("DELETE FROM dictionary WHERE key = ?"), (5,))
    with pytest.raises(StorageError, match="migrate"):
        database.look_up(LookUp("SELECT 1 FROM no_such_table WHERE 1 = ?"), (1,))
    assert database.look_up(by_key, (5,)) is not None


def test_keeps_statements_prepared_from_one_transaction_to_the_next(migrated_postgres_url: str) -> None:
    db = Database(migrated_postgres_url)
    kept = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT%%pack%%'"
    with contextlib.closing(db):
        for _ in range(7):
            with db.read() as conn:
                conn.execute(select(pack.c.key)).all()
                plans = conn.exec_driver_sql("SHOW plan_cache_mode").scalar()
        assert db.write(lambda conn: conn.exec_driver_sql(kept).scalar()) == 1
        assert plans == "force_custom_plan"
        with pytest.raises(RuntimeError, match="undone"):
            db.write(_undo)
        for _ in range(2):
            with db.read() as conn:
                assert conn.execute(select(pack.c.key)).all() == []


def _undo(conn: Connection) -> None:
    conn.execute(select(pack.c.key)).all()
    raise RuntimeError("undone")


def test_returns_what_was_read_though_the_connection_is_lost_then(migrated_postgres_url: str) -> None:
    db = Database(migrated_postgres_url)
    with contextlib.closing(db):
        with db.read() as conn:
            own = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            with psycopg.connect(migrated_postgres_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (own,))
        with db.read() as conn:
            assert conn.exec_driver_sql("SELECT pg_backend_pid()").scalar() != own


def test_serves_forty_threads(database: Database) -> None:
    by_key = LookUp("SELECT key FROM dictionary WHERE key = ?")

    def work(number: int) -> None:
        for step in range(5):
            key = number * 100 + step
            add(database, key)
            with database.read() as conn:
                assert conn.execute(select(dictionary.c.key).where(dictionary.c.key == key)).scalar() == key
            if number % 4 == 0:
                assert database.look_up(by_key, (key,)) == (key,)

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(work, range(40)))
    assert len(keys_in(database)) == 200


def test_closes_the_connections_of_threads_that_ended(database: Database) -> None:
    def look(_: int) -> object:
        thread = threading.Thread(target=database.look_up, args=(LookUp("SELECT 1"), ()))
        thread.start()
        thread.join()
        return database._state and len(database._state.raws)

    assert list(map(look, range(5))) == [1] * 5


def test_loses_no_update_of_many_threads(database: Database) -> None:
    add(database, 0)

    def grow(_: int) -> None:
        def work(conn: Connection) -> None:
            found = conn.execute(select(dictionary.c.bytes).with_for_update()).scalar_one()
            conn.execute(dictionary.update().values(bytes=found + b"x"))

        database.write(work)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(grow, range(40)))
    with database.read() as conn:
        assert len(conn.execute(select(dictionary.c.bytes)).scalar_one()) == 42


def test_runs_a_deadlocked_transaction_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 100)
    add(database, 1, 2)
    meeting = threading.Barrier(2)

    def cross(first: int, second: int) -> Callable[[Connection], None]:
        attempts = iter(range(10))

        def work(conn: Connection) -> None:
            attempt = next(attempts)
            for key in (first, second):
                conn.execute(dictionary.update().where(dictionary.c.key == key).values(bytes=b"z"))
                if key == first and attempt == 0 and conn.dialect.name == "postgresql":
                    meeting.wait(100)

        return work

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(database.write, cross(1, 2)), pool.submit(database.write, cross(2, 1))]
        for future in both:
            future.result()


def test_survives_the_loss_of_its_connections(migrated_postgres_url: str, postgres_server: str) -> None:
    import psycopg

    db = Database(migrated_postgres_url)
    by_key = LookUp("SELECT key FROM dictionary WHERE key = ?")
    add(db, 1)
    assert db.look_up(by_key, (1,)) == (1,)
    name = migrated_postgres_url.rpartition("/")[2]
    attempts: list[Callable[[], object]] = [
        lambda: db.look_up(by_key, (1,)),
        lambda: db.select_at_once(by_key.postgresql, (1,)),
        lambda: keys_in(db),
        lambda: add(db, 2),
    ]
    for attempt in attempts:
        with psycopg.connect(postgres_server, autocommit=True) as admin:
            query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
            assert admin.execute(query, (name,)).fetchall()
        attempt()
    assert keys_in(db) == [1, 2]
    assert db.select_at_once("SELECT key FROM dictionary ORDER BY key DESC", ()) == [(2,), (1,)]
    with pytest.raises(StorageError):
        db.select_at_once("DELETE FROM dictionary RETURNING key", ())
    db.close()


def test_selects_at_once_where_that_keeps_the_limits_of_a_statement() -> None:
    url = "postgresql://127.0.0.1:1/none"
    pooled = Database(url, drivers.PostgresqlOptions(is_pooled=True))
    found = [each.selects_at_once for each in (Database(url), pooled, Database("sqlite:///x.db"))]
    assert found == [True, False, False]
    assert not Database(url, replica=Replica(url, 3)).selects_at_once


def test_does_nothing_twice_where_the_answer_is_lost(migrated_postgres_url: str) -> None:
    address = migrated_postgres_url.rpartition("@")[2].partition("/")[0]
    host, _, port = address.partition(":")
    proxy = InterruptibleProxy(host, int(port))
    db = Database(migrated_postgres_url.replace(address, f"127.0.0.1:{proxy.port}"))
    runs: list[int] = []

    def work(conn: Connection) -> None:
        runs.append(len(runs))
        key = text("INSERT INTO dictionary (key, bytes) SELECT count(*), 'x' FROM dictionary")
        conn.execute(key)

    db.write(work)
    proxy.cut_after = [b"INSERT"]  # before the commit: it is run again on another connection
    db.write(work)
    assert (keys_in(db), len(runs)) == ([0, 1], 3)
    proxy.cut_after = [b"COMMIT\x00"]  # it is committed, but nobody says so
    with pytest.raises(CommitUnknownError, match="nobody knows"):
        db.write(work)
    assert (keys_in(db), len(runs)) == ([0, 1, 2], 4)
    proxy.cut_after = [b"INSERT", b"INSERT"]  # again and again
    with pytest.raises(StorageUnavailableError):
        db.write(work)
    assert (keys_in(db), len(runs)) == ([0, 1, 2], 6)
    db.close()
    proxy.end()


def test_can_be_forked_before_and_after_its_first_use(database_url: str) -> None:
    code = f"""
import os
from lightwell.stores.db.database import *
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.tables import dictionary
from sqlalchemy import select
db = Database({database_url!r})
def add(key): db.write(lambda conn: insert_many(conn, dictionary, [dict(key=key, bytes=b"")]))
def use(key):
    add(key)
    with db.read() as conn: conn.execute(select(dictionary)).all()
    assert db.look_up(LookUp("SELECT key FROM dictionary WHERE key = ?"), (key,)) == (key,)
def fork(key):
    child = os.fork()
    if child == 0:
        try: use(key)
        except BaseException as error: print(error, flush=True); os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
fork(1)
use(2)
fork(3)
use(4)
db.close()
fork(5)
use(6)
db.close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=240)
    db = Database(database_url)
    assert keys_in(db) == [1, 2, 3, 4, 5, 6]
    db.close()


def test_opens_again_after_it_was_closed(database: Database) -> None:
    database.close()
    add(database, 1)
    database.close()
    database.close()
    assert keys_in(database) == [1]


def test_makes_sqlite_durable(migrated_sqlite_url: str) -> None:
    db = Database(migrated_sqlite_url)

    def pragmas(conn: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "temp_store", "busy_timeout")
        return [conn.execute(text(f"PRAGMA {name}")).scalar() for name in names]

    assert db.write(pragmas) == ["wal", 2, 2, 10_000]
    db.close()


def test_says_that_another_process_holds_the_lock(
    migrated_sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "_BUSY_SECONDS", 0.05)
    other = sqlite3.connect(migrated_sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    db = Database(migrated_sqlite_url)
    with pytest.raises(StorageError, match="another process has locked it"):
        add(db, 1)
    other.execute("ROLLBACK")
    add(db, 1)
    other.close()
    db.close()


def test_says_what_to_do_about_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_bytes(b"not a database, and longer than a header is" * 50)
    for url, advice in (
        (f"sqlite:///{tmp_path}/missing.db", "check that its folder exists"),
        (f"sqlite:///{tmp_path}/no.db", "not an SQLite database"),
        (f"sqlite:///{tmp_path}", "check that its folder exists"),
    ):
        db = Database(url)
        with pytest.raises(StorageError, match=advice):
            keys_in(db)
        db.close()


@pytest.mark.parametrize("call", ["read", "write", "look_up"])
def test_says_that_postgresql_cannot_be_reached_and_hides_the_password(call: str) -> None:
    calls: dict[str, Callable[[Database], object]] = {
        "read": keys_in,
        "write": lambda db: add(db, 1),
        "look_up": lambda db: db.look_up(LookUp("SELECT 1"), ()),
    }
    db = Database("postgresql://me:hidden%40word@127.0.0.1:9/x")
    with pytest.raises(StorageError, match=r"cannot be reached.*check that it runs") as raised:
        calls[call](db)
    assert "hidden" not in str(raised.value)
    assert "hidden" not in repr(db)
    db.close()


def test_says_that_a_password_or_a_database_is_wrong(postgres_server: str) -> None:
    wrong = postgres_server.replace("test%3Asecret", "wrongword")
    db = Database(wrong)
    with pytest.raises(StorageError, match="check user and password") as raised:
        keys_in(db)
    assert "wrongword" not in str(raised.value)
    db.close()
    db = Database(postgres_server.rpartition("/")[0] + "/nosuchname")
    with pytest.raises(StorageError, match="create the database first"):
        keys_in(db)
    db.close()


def test_shows_no_value_in_an_error(database: Database) -> None:
    secret = b"DOE^JANE"

    def twice(conn: Connection) -> None:
        conn.execute(dictionary.insert(), [{"key": 1, "bytes": secret}, {"key": 1, "bytes": secret}])

    with pytest.raises(IntegrityError) as raised:
        database.write(twice)
    assert "DOE" not in str(raised.value)


def test_refuses_a_url_of_another_kind() -> None:
    with pytest.raises(ConfigurationError, match="takes sqlite:") as raised:
        Database("mysql://me:hidden@host/x")
    assert "hidden" not in str(raised.value)


def test_writes_from_two_processes(database_url: str) -> None:
    code = (
        "import sys\n"
        "from lightwell.stores.db.database import *\n"
        "from lightwell.stores.db.tables import dictionary\n"
        f"db = Database({database_url!r}); first = int(sys.argv[1])\n"
        "for key in range(first, first + 60):\n"
        "    db.write(lambda conn: insert_many(conn, dictionary, [dict(key=key, bytes=b'')]))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(n * 1000)]) for n in range(2)]
    assert [process.wait(240) for process in running] == [0, 0]
    db = Database(database_url)
    assert len(keys_in(db)) == 120
    db.close()
