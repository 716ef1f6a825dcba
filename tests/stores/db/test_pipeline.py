"""Look-ups on PostgreSQL from an event loop: the same rows as `look_up`, and what lost connections do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.db import pipeline
from lightwell.stores.db.database import Database
from lightwell.stores.db.drivers import PostgresqlOptions
from lightwell.stores.db.look_up import LookUp
from tests.support.tcp_proxies import InterruptibleProxy

T = TypeVar("T")

ECHO = LookUp("SELECT CAST(? AS bigint) + 1, CAST(? AS text), pg_backend_pid()")
KINDS = LookUp(
    "SELECT 1 = ?, CAST(NULL AS text), CAST(-7 AS smallint), CAST(-70000 AS integer), "
    "CAST(-9007199254740993 AS bigint), decode('00ff10', 'hex'), CAST('ab' AS varchar)"
)
NOTHING = LookUp("SELECT 1 WHERE CAST(? AS text) = 'x'")
SLEEP = LookUp("SELECT pg_sleep(5)")


def run(db: Database, work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        try:
            return await work()
        finally:
            db.close()

    return asyncio.run(main())


@pytest.fixture(params=["prepared", "unprepared"])
def db(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[Database]:
    found = Database(postgres_url, PostgresqlOptions(prepares=request.param == "prepared"))
    yield found
    found.close()


def test_returns_what_look_up_returns(db: Database) -> None:
    async def work() -> list[Any]:
        asks = [(ECHO, (n, f"text {n} ü")) for n in range(200)] + [(KINDS, (1,)), (NOTHING, ("y",))]
        return list(await asyncio.gather(*(db.look_up_here(*ask) for ask in asks)))

    *echoed, kinds, nothing = run(db, work)
    assert [row[:2] for row in echoed] == [(n + 1, f"text {n} ü") for n in range(200)]
    assert len({row[2] for row in echoed}) == 1  # by one connection
    assert kinds == db.look_up(KINDS, (1,))
    assert kinds == (True, None, -7, -70000, -9007199254740993, b"\x00\xff\x10", "ab")
    assert nothing is None


def test_a_text_that_postgresql_cannot_have_finds_nothing(db: Database) -> None:
    async def work() -> list[Any]:
        return [await db.look_up_here(NOTHING, (text,)) for text in ("x", "x\0", "x\ud800")]

    assert run(db, work) == [(1,), None, None]


def test_a_number_that_the_column_cannot_have_finds_nothing(db: Database) -> None:
    few = LookUp("SELECT 1 WHERE CAST(5 AS integer) = ?")

    async def work() -> list[Any]:
        return [await db.look_up_here(few, (number,)) for number in (5, 1 << 40, -(1 << 40))]

    assert run(db, work) == [(1,), None, None]


def test_the_failure_of_one_look_up_leaves_the_others_alone(db: Database) -> None:
    async def work() -> list[Any]:
        asks = [
            (ECHO, (1, "a")),
            (ECHO, ("no number", "b")),
            (LookUp("SELECT nothing"), ()),
            (ECHO, (2, "c")),
        ]
        return list(await asyncio.gather(*(db.look_up_here(*ask) for ask in asks), return_exceptions=True))

    one, two, three, four = run(db, work)
    assert one[:2] == (2, "a") and four[:2] == (3, "c")
    assert isinstance(two, StorageError) and isinstance(three, StorageError)


def test_a_lost_connection_is_replaced(db: Database, postgres_url: str) -> None:
    async def work() -> tuple[Any, list[Any], list[Any]]:
        first: Any = await db.look_up_here(ECHO, (1, "a"))
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (first[2],))
        idle: list[Any] = await asyncio.gather(*(db.look_up_here(ECHO, (n, "b")) for n in range(5)))
        # And with look-ups under way.
        waiting = [asyncio.ensure_future(db.look_up_here(ECHO, (n, "c"))) for n in range(5)]
        await asyncio.sleep(0)
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (idle[0][2],))
        return first, idle, list(await asyncio.gather(*waiting))

    first, idle, under_way = run(db, work)
    assert [row[:2] for row in idle] == [(n + 1, "b") for n in range(5)]
    assert [row[:2] for row in under_way] == [(n + 1, "c") for n in range(5)]
    assert idle[0][2] != first[2]


def test_prepared_statements_that_a_pooler_does_not_keep_are_done_without(postgres_url: str) -> None:
    db = Database(postgres_url)

    async def work() -> list[Any]:
        await db.look_up_here(ECHO, (1, "a"))
        with contextlib.suppress(StorageError):  # it has no rows
            await db.look_up_here(LookUp("DEALLOCATE ALL"), ())
        return list(await asyncio.gather(*(db.look_up_here(ECHO, (n, "b")) for n in range(9))))

    assert [row[:2] for row in run(db, work)] == [(n + 1, "b") for n in range(9)]


def test_a_database_that_is_away_is_said_at_once_and_found_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_SECONDS", 120)
    parts = psycopg.conninfo.conninfo_to_dict(postgres_url)
    way = InterruptibleProxy(str(parts["host"]), int(str(parts["port"])))
    db = Database(postgres_url.replace(f":{parts['port']}/", f":{way.port}/"))

    async def work() -> None:
        await db.look_up_here(ECHO, (1, "a"))
        way.close()
        begun = time.monotonic()
        found = await asyncio.gather(
            *(db.look_up_here(ECHO, (n, "b")) for n in range(20)), return_exceptions=True
        )
        assert all(isinstance(each, StorageUnavailableError) for each in found), found
        assert time.monotonic() - begun < 60
        way.is_open = True
        assert (await db.look_up_here(ECHO, (1, "a")) or ())[:2] == (2, "a")

    try:
        run(db, work)
    finally:
        way.end()


def test_a_database_that_does_not_answer_is_given_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_SECONDS", 0.3)
    db = Database(postgres_url)

    async def work() -> None:
        with pytest.raises(StorageUnavailableError, match="has not answered"):
            await db.look_up_here(SLEEP, ())
        monkeypatch.setattr(pipeline, "_SECONDS", 60)
        assert await db.look_up_here(NOTHING, ("x",)) == (1,)

    run(db, work)


def test_a_new_event_loop_gets_a_connection_of_its_own(postgres_url: str) -> None:
    db = Database(postgres_url)

    async def work() -> Any:
        return await db.look_up_here(ECHO, (1, "a"))

    assert asyncio.run(work())[:2] == asyncio.run(work())[:2] == (2, "a")
    db.close()
