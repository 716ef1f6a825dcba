"""What a write transaction asks is asked while it is not open, and the transaction run again."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from functools import partial
from itertools import count

import pytest
from sqlalchemy import Connection, select

from lightwell.stores.db.bulk import insert_many
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import dictionary
from lightwell.stores.image_sets.changes import attempt
from lightwell.stores.transactions import outside
from lightwell.stores.transactions.after_commit import after_commit


def insert(conn: Connection, key: int) -> None:
    insert_many(conn, dictionary, [{"key": key, "bytes": b"x"}])


def keys(conn: Connection) -> list[int]:
    return sorted(conn.execute(select(dictionary.c.key)).scalars())


def test_it_is_asked_in_the_thread_of_the_caller_with_nothing_open_and_undone(database: Database) -> None:
    """Also where failures are handled: in a savepoint of `attempt`, which makes failed versions of them."""
    tries, told, asked = list[list[int]](), list[str](), list[tuple[str, bool]]()

    def question() -> int:
        asked.append((threading.current_thread().name, outside.is_inside()))
        database.write(lambda conn: insert(conn, 2))  # which is refused within another
        return 5

    def work(conn: Connection) -> int:
        tries.append(keys(conn))
        after_commit(conn, lambda: told.append("committed"))
        insert(conn, 1)
        found = []

        def change() -> None:
            insert(conn, 3)
            found.append(outside.ask("what", question))
            assert outside.ask("what", question) == 5

        assert outside.is_inside() and attempt(conn, change) is None
        return found[0]

    assert database.write(work) == 5
    assert asked == [(threading.current_thread().name, False)]
    assert tries == [[], [2]] and told == ["committed"]
    with database.read() as conn:
        assert keys(conn) == [1, 2, 3]
    assert not outside.is_inside()


def test_a_question_that_fails_raises_where_it_was_asked(database: Database) -> None:
    asked = []

    def question() -> int:
        asked.append(1)
        raise ValueError("nobody is there")

    def work(conn: Connection, *, handles: bool = True) -> str:
        insert(conn, 1)
        try:
            outside.ask("what", question)
        except ValueError as error:
            if not handles:
                raise
            return str(error)
        return "nothing"

    with pytest.raises(ValueError, match="nobody"):
        database.write(partial(work, handles=False))
    with database.read() as conn:
        assert keys(conn) == []
    assert database.write(work) == "nobody is there" and len(asked) == 2
    with database.read() as conn:
        assert keys(conn) == [1]


def test_a_failure_leaves_nothing_of_the_transaction_in_memory(database: Database) -> None:
    class Batch:
        """What a transaction writes."""

    batch = Batch()
    kept = weakref.ref(batch)

    def question() -> int:
        raise ValueError("nobody is there")

    def work(conn: Connection, batch: Batch) -> int:
        return outside.ask("what", question)

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="nobody"):
            database.write(partial(work, batch=batch))
        del batch
        assert kept() is None
    finally:
        gc.enable()


def test_outside_of_transactions_it_is_asked_each_time(database: Database) -> None:
    numbers = count()
    ask = partial(outside.ask, "what", lambda: next(numbers))
    with database.read():
        assert [ask(), ask()] == [0, 1]
    # Nor does one transaction know what another one has asked.
    assert [database.write(lambda conn: (ask(), ask())) for _ in range(2)] == [(2, 2), (3, 3)]


@pytest.mark.parametrize("fails", [None, 2])
def test_what_several_have_to_ask_is_asked_in_one_go_up_to_the_first_failure(
    database: Database, fails: int | None
) -> None:
    tries, asked = [], list[int]()

    def question(number: int) -> int:
        asked.append(number)
        if number == fails:
            raise ValueError(number)
        return -number

    def work(conn: Connection) -> list[int]:
        tries.append(1)
        return outside.together([1, 2, 3], lambda number: outside.ask(number, partial(question, number)))

    if fails is None:
        assert database.write(work) == [-1, -2, -3] and asked == [1, 2, 3]
    else:
        with pytest.raises(ValueError, match="2"):
            database.write(work)
        assert asked == [1, 2]
    assert len(tries) == 2


def test_what_asks_for_something_else_each_time_comes_to_an_end(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A test fails by it; a server asks all the same, and says so once."""
    monkeypatch.setattr(outside, "_MOST_ROUNDS", 3)
    numbers, inside = count(), list[bool]()

    def work(conn: Connection) -> int:
        number = next(numbers)
        outside.ask(number, lambda: inside.append(outside.is_inside()))
        return number

    with pytest.raises(AssertionError, match="write transaction is open"):
        database.write(work)
    assert next(numbers) == 4 and inside == [False] * 3
    monkeypatch.setattr(outside, "is_strict", False)
    monkeypatch.setattr(outside, "_has_told", False)
    with caplog.at_level(logging.WARNING):
        database.write(work)
        database.write(work)
    assert inside[3:] == [*[False] * 3, True] * 2
    assert [record.message for record in caplog.records] == ["asked_in_transaction"]
