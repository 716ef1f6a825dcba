"""PostgreSQL, or what stands before it, takes what it is sent and says nothing: nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from lightwell.errors import CommitUnknownError, StorageUnavailableError
from lightwell.stores.db import drivers
from lightwell.stores.db.database import Database
from lightwell.stores.db.look_up import LookUp
from tests.support.tcp_proxies import TcpProxy

ONE = LookUp("SELECT 1")


class Silent(TcpProxy):
    """Swallows what a connection sends once that has ``word`` in it; if it ``swallows``, what all send."""

    def __init__(self, host: str, port: int) -> None:
        self.word: bytes | None = None
        self.swallows = False
        self._silent: set[Any] = set()
        super().__init__(host, port)

    def asked(self, link: Any, data: bytes) -> None:
        if self.word is not None and self.word in data:
            self.word = None
            self._silent.add(link)
        if not self.swallows and link not in self._silent:
            super().asked(link, data)


@pytest.fixture
def way(migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Silent, Database]]:
    monkeypatch.setattr(drivers, "_SILENT_SECONDS", 0.2)
    monkeypatch.setattr(drivers, "_probes", drivers._Probes())
    parts = urlsplit(migrated_postgres_url)
    assert parts.hostname and parts.port
    proxy = Silent(parts.hostname, parts.port)
    with closing(Database(migrated_postgres_url.replace(f":{parts.port}/", f":{proxy.port}/"))) as db:
        yield proxy, db
    proxy.end()


def _insert(db: Database, key: int) -> None:
    db.write(lambda conn: conn.execute(text(f"INSERT INTO dictionary (key, bytes) VALUES ({key}, 'x')")))


def _count(db: Database) -> int:
    with db.read() as conn:
        return int(conn.execute(text("SELECT count(*) FROM dictionary")).scalar() or 0)


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked whether the server answers says no."""
    monkeypatch.setattr(drivers._Probes, "fault", lambda self, key, ask: "no answer")


@pytest.mark.usefixtures("dead")
def test_runs_again_what_was_swallowed_before_its_commit(way: tuple[Silent, Database]) -> None:
    proxy, db = way
    _insert(db, 1)
    proxy.word = b"INSERT"
    _insert(db, 2)
    proxy.word = b"SELECT 1"
    assert db.look_up(ONE, ()) == (1,)
    proxy.word = b"SELECT count"
    with pytest.raises(StorageUnavailableError, match="does not answer any more"):
        _count(db)
    assert _count(db) == 2


@pytest.mark.usefixtures("dead")
def test_says_that_nobody_knows_of_a_commit_without_an_answer(way: tuple[Silent, Database]) -> None:
    proxy, db = way
    _insert(db, 1)
    proxy.word = b"COMMIT\x00"
    with pytest.raises(CommitUnknownError, match="nobody knows"):
        _insert(db, 2)
    _insert(db, 3)


def test_finds_out_that_a_server_does_not_answer(
    way: tuple[Silent, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "_PROBE_SECONDS", 1.0)
    proxy, db = way
    silent = "does not answer any more: connection timeout"
    with pytest.raises(StorageUnavailableError, match=silent), db.read() as conn:
        conn.execute(text("SELECT 1"))
        proxy.swallows = True
        conn.execute(text("SELECT 1"))
    proxy.swallows = False
    assert _count(db) == 0


def test_waits_for_a_long_statement_of_a_server_that_answers_others(
    way: tuple[Silent, Database], migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "_PROBE_SECONDS", 60.0)  # however busy this machine is
    _, db = way
    asked = drivers._probes
    locked, done = threading.Event(), threading.Event()

    def hold(conn: Any) -> None:
        conn.execute(text("LOCK TABLE dictionary IN ACCESS EXCLUSIVE MODE"))
        locked.set()
        done.wait(60)

    with closing(Database(migrated_postgres_url)) as other:
        holder = threading.Thread(target=lambda: other.write(hold))
        holder.start()
        locked.wait(60)
        counted: list[int] = []
        waiter = threading.Thread(target=lambda: counted.append(_count(db)))
        waiter.start()
        while not asked._found:  # it has been asked whether it answers
            waiter.join(0.02)
        done.set()
        holder.join(60)
        waiter.join(60)
    assert counted == [0]
