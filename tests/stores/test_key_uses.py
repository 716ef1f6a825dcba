"""When keys were last used: noted in memory, written together, never set back."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import event

from lightwell.stores.account import principals
from lightwell.stores.account.key_uses import KeyUses
from lightwell.stores.account.principals import AccessKey
from lightwell.stores.db.database import Database
from tests.support.server import until

ANA, BOB = "AKLW" + "A" * 16, "AKLW" + "B" * 16


def _made(database: Database) -> None:
    for id in (ANA, BOB):
        made = AccessKey(id, "me", b"", None, is_root=False, created_at=1, expires_at=None, revoked_at=None)
        database.write(lambda conn, made=made: principals.insert(conn, made))  # type: ignore[misc]


def _used(database: Database, id: str) -> tuple[int | None, str | None]:
    with database.read() as conn:
        found = principals.get(conn, id)
    assert found is not None
    return found.last_used_at, found.last_used_from


def test_writes_what_was_noted_some_time_later(database: Database) -> None:
    _made(database)
    uses = KeyUses(database, interval=0.01)
    uses.note(ANA, "10.0.0.1", 100)
    until(lambda: _used(database, ANA) == (100, "10.0.0.1"))
    assert _used(database, BOB) == (None, None)
    uses.note(BOB, None, 200)
    until(lambda: _used(database, BOB) == (200, None))


def test_notes_the_last_address_and_the_first_use_of_each(database: Database) -> None:
    _made(database)
    uses = KeyUses(database, interval=3600)
    for at, client in ((1, "10.0.0.1"), (2, "10.0.0.2"), (3, "10.0.0.2")):
        uses.note(ANA, client, at)
    assert _used(database, ANA) == (None, None)
    uses.flush()
    assert _used(database, ANA) == (2, "10.0.0.2")


def test_never_sets_a_use_back_that_another_server_has_written(database: Database) -> None:
    _made(database)
    early, late = KeyUses(database, interval=3600), KeyUses(database, interval=3600)
    early.note(ANA, "10.0.0.1", 100)
    late.note(ANA, "10.0.0.2", 200)
    late.flush()
    early.flush()
    assert _used(database, ANA) == (200, "10.0.0.2")


def test_asks_nothing_of_the_database_to_note_a_use(database: Database) -> None:
    _made(database)
    uses, asked = KeyUses(database, interval=3600), list[str]()
    database.write(
        lambda conn: event.listen(conn.engine, "before_cursor_execute", lambda *of: asked.append(of[2]))
    )
    for at in range(1000):
        uses.note(ANA, "10.0.0.1", at)
    assert asked == []
    uses.flush()
    assert [text.split()[0] for text in asked if not text.startswith("BEGIN")] == ["UPDATE"]


def test_goes_on_where_the_database_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    db = Database(f"sqlite:///{tmp_path}/empty.db")  # without tables
    uses = KeyUses(db, interval=3600)
    for at in (1, 2):
        uses.note(ANA, "10.0.0.1", at)
        uses.flush()
    db.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
