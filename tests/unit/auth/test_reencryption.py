"""Putting the secrets of all keys and sessions under the newest secret key, interrupted anywhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from itertools import count as numbers
from typing import Any

import pytest
from sqlalchemy import event

from lightwell.auth.administration.reencryption import count, reencrypt
from lightwell.auth.principals import encrypted_key, new_credentials
from lightwell.auth.secret_box import SecretBox
from lightwell.stores.account import principals as table
from lightwell.stores.db.database import Database

OLD = SecretBox(b"o" * 32, "a test")
RING = SecretBox(b"n" * 32, "a test", [b"o" * 32])
NEW = SecretBox(b"n" * 32, "a test")
LOST = SecretBox(b"x" * 32, "elsewhere")


def _fill(database: Database, box: SecretBox, many: int) -> dict[str, tuple[str, str | None]]:
    """Keys and sessions in turn; what is secret of each, by its id."""
    made: dict[str, tuple[str, str | None]] = {}
    for number in range(many):
        key = new_credentials(temporary=bool(number % 2))
        token = f"token of {key.access_key_id}" if number % 2 else None
        row = encrypted_key(box, key, "ana", is_root=False, now=number)
        row = replace(row, session_token=None if token is None else box.encrypt(token), expires_at=10**15)
        database.write(lambda conn, row=row: table.insert(conn, row))  # type: ignore[misc]
        made[key.access_key_id] = key.secret_access_key, token
    return made


def _opened(database: Database, box: SecretBox, made: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    opened = {}
    with database.read() as conn:
        for id in made:
            key = table.get(conn, id)
            assert key is not None
            token = None if key.session_token is None else box.decrypt(key.session_token)
            opened[id] = box.decrypt(key.secret), token
    return opened


def test_puts_all_under_the_newest_key(database: Database) -> None:
    made = {**_fill(database, OLD, 7), **_fill(database, NEW, 2)}
    with database.read() as conn:
        found = count(conn, RING, batch=2)
        keys = count(conn, RING, batch=2, with_sessions=False)
    assert (found.by_key, found.old, found.unreadable, found.lost) == ({0: 2, 1: 7}, 7, [], 0)
    assert keys.by_key == {0: 1, 1: 4}
    assert reencrypt(database, RING, batch=3) == 7
    assert _opened(database, NEW, made) == made
    assert reencrypt(database, RING, batch=3) == 0
    with database.read() as conn:
        assert count(conn, RING).by_key == {0: 9}


def test_leaves_what_no_key_opens_and_names_the_keys_among_it(database: Database) -> None:
    made = _fill(database, OLD, 2)
    strange = _fill(database, LOST, 3)
    assert reencrypt(database, RING) == 2
    with database.read() as conn:
        found = count(conn, RING)
    keys = sorted(id for id in strange if id.startswith("AKLW"))
    assert (sorted(found.unreadable), found.lost, found.by_key) == (keys, 1, {0: 2})
    assert _opened(database, NEW, made) == made and _opened(database, LOST, strange) == strange


def _die_at(url: str, step: int) -> None:
    """Begin to re-encrypt, and be killed before statement or commit number ``step``."""
    steps = numbers()

    def next_step(*_: object) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    db = Database(url)
    for name in ("before_cursor_execute", "commit"):
        db.write(lambda conn, name=name: event.listen(conn.engine, name, next_step))  # type: ignore[misc]
    reencrypt(db, RING, batch=2)
    os._exit(0)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_is_resumed_after_it_was_killed_anywhere(database: Database, database_url: str) -> None:
    made = _fill(database, OLD, 5)
    # What a child of a fork inherits of open connections, it would end with itself.
    database.close()
    for step in numbers():
        child = multiprocessing.get_context("fork").Process(target=_die_at, args=(database_url, step))
        child.start()
        child.join()
        assert _opened(database, RING, made) == made, f"killed at step {step}"
        database.close()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
    assert step > 8
    assert _opened(database, NEW, made) == made
