"""SQLite's log is copied into the file once it is long, and only what is as it was written."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from lightwell.errors import DamagedError
from lightwell.stores.db.database import Database
from lightwell.stores.page_checksums import log_keeping, write_ahead_log
from lightwell.stores.page_checksums.vfs import PAGE
from lightwell.stores.page_checksums.write_ahead_log import damaged_frame, waiting

HEAD, FRAME = 32, 24 + PAGE
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks of open files are Linux's")


@pytest.fixture
def db(migrated_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(log_keeping, "LONG", 40)
    return Database(migrated_sqlite_url)


def file_of(db: Database) -> Path:
    return Path(db.url.removeprefix("sqlite:///"))


def log_of(db: Database) -> Path:
    return Path(f"{file_of(db)}-wal")


def add(db: Database, pages: int) -> None:
    many = f"WITH n(x) AS (SELECT 1 UNION SELECT x + 1 FROM n LIMIT {pages})"
    values = f"{many} SELECT (SELECT coalesce(max(key), 0) FROM dictionary) + x, randomblob(3500) FROM n"
    db.write(lambda conn: conn.execute(text(f"INSERT INTO dictionary {values}")))


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        value = file.read(1)[0]
        file.seek(place)
        file.write(bytes((value ^ 8,)))


def count(db: Database) -> int:
    with db.read() as conn:
        return int(conn.execute(text("SELECT count(*) FROM dictionary")).scalar_one())


def test_copies_a_log_once_it_is_long(db: Database) -> None:
    with closing(db):
        add(db, 10)
        assert 10 <= waiting(file_of(db)) < 40
        add(db, 35)
        assert waiting(file_of(db)) == 0
        # Behind what is copied, and at the start of a log that begins anew.
        for _ in range(8):
            add(db, 12)
            assert waiting(file_of(db)) < 40
        assert count(db) == 45 + 96


def test_tries_again_when_a_reader_has_gone(db: Database) -> None:
    with closing(db):
        add(db, 5)
        with db.read() as conn:
            conn.execute(text("SELECT count(*) FROM dictionary")).scalar_one()
            add(db, 45)
            assert waiting(file_of(db)) >= 40
        add(db, 45)
        assert waiting(file_of(db)) == 0


@pytest.mark.parametrize("place", [HEAD + 2 * FRAME + 300, HEAD + 3 * FRAME + 2, HEAD + 4 * FRAME - 1])
def test_copies_nothing_of_a_damaged_log_and_uses_it_no_more(db: Database, place: int) -> None:
    add(db, 10)
    before = file_of(db).read_bytes()
    flip(log_of(db), place)
    add(db, 35)  # what is committed is committed
    for call in (lambda: count(db), lambda: add(db, 1), db.raw, db.shorten_log):
        with pytest.raises(DamagedError, match=r"frame \d+ is not as it was written"):
            call()
    kept = log_of(db).read_bytes()
    db.close()
    assert file_of(db).read_bytes() == before
    assert log_of(db).read_bytes() == kept


def test_compares_a_log_that_a_reader_keeps_from_being_copied_seldom_and_then_all_of_it(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def counted(path: Path, **how: bool) -> int | None:
        compared.append(waiting(path))
        return damaged_frame(path, **how)

    with closing(db):
        add(db, 5)
        with db.read() as conn:
            conn.execute(text("SELECT count(*) FROM dictionary")).scalar_one()
            add(db, 20)
            flip_at = log_of(db).stat().st_size
            monkeypatch.setattr(write_ahead_log, "damaged_frame", counted)
            for _ in range(30):
                add(db, 41)
            # Each time it is half as long again, not at each of them: in all about thrice its length.
            assert 5 < len(compared) < 15 and sum(compared) <= 3.5 * waiting(file_of(db))
            # What has changed since it was compared is not copied, once the reader lets it be.
            flip(log_of(db), flip_at - 99)
        with pytest.raises(DamagedError):
            for _ in range(30):
                add(db, 41)


def test_lets_sqlite_copy_a_log_whose_length_cannot_be_told_and_says_so_once(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_keeping, "_UNTOLD", 5)
    with closing(db):
        add(db, 5)
        with monkeypatch.context() as blind:
            blind.setattr(write_ahead_log, "_index", lambda path: None)
            for _ in range(4):
                add(db, 45)
            blind.undo()
            assert waiting(file_of(db)) >= 180
            blind.setattr(write_ahead_log, "_index", lambda path: None)
            add(db, 45)
        assert waiting(file_of(db)) == 0
        with monkeypatch.context() as blind:
            blind.setattr(write_ahead_log, "_index", lambda path: None)
            for _ in range(5):
                add(db, 1)
        assert waiting(file_of(db)) == 0
        with monkeypatch.context() as blind:
            for _ in range(9):  # now and then is not for long
                add(db, 1)
                blind.setattr(write_ahead_log, "_index", lambda path: None)
                add(db, 1)
                blind.undo()
        assert waiting(file_of(db)) >= 18
        assert [record.message for record in caplog.records] == ["write_ahead_log_not_compared"]
        assert count(db) == 5 + 5 * 45 + 5 + 18


def test_looks_at_a_short_log_before_it_is_emptied_and_before_it_is_closed(db: Database) -> None:
    add(db, 10)
    before = file_of(db).read_bytes()
    flip(log_of(db), HEAD + 5 * FRAME + 99)
    with pytest.raises(DamagedError):
        db.shorten_log()
    assert file_of(db).read_bytes() == before
    log_keeping._damage.clear()
    db.close()
    assert file_of(db).read_bytes() == before


def test_what_is_left_open_is_not_copied_when_its_process_exits(tmp_path: Path) -> None:
    script = """
import sqlite3, sys
from lightwell.stores.page_checksums.log_keeping import leave_open
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in ("PRAGMA journal_mode=WAL", "CREATE TABLE t (a)", "BEGIN", "INSERT INTO t VALUES (1)"):
    connection.execute(statement)
if len(sys.argv) > 2:
    leave_open(connection)
    assert not connection.in_transaction
"""
    for path, *left in ((tmp_path / "closed",), (tmp_path / "left", "open")):
        subprocess.run([sys.executable, "-c", script, path, *left], check=True)
        assert Path(f"{path}-wal").exists() is bool(left)
