"""Checksums of the pages of an SQLite file: every flipped bit of it is refused when it is read."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from lightwell.errors import ConfigurationError, DamagedError, StorageError
from lightwell.settings import Settings
from lightwell.stores.db import drivers
from lightwell.stores.db.database import Database
from lightwell.stores.db.open import check_pages
from lightwell.stores.db.schema import migrate
from lightwell.stores.page_checksums import state, vfs
from lightwell.stores.page_checksums.conversion import convert
from lightwell.stores.page_checksums.pages import damaged_pages

PAGE, RESERVED_AT = 4096, 20

pytestmark = pytest.mark.skipif(vfs._extension() is None, reason="apsw, a dependency, is not installed")


@pytest.fixture
def path(migrated_sqlite_url: str) -> Path:
    """A migrated database with some rows, all of them in the file, and none of them in its log."""
    db = Database(migrated_sqlite_url)
    fill(db)
    db.shorten_log()
    db.close()
    return drivers.sqlite_path(migrated_sqlite_url)


def fill(db: Database) -> None:
    many = "WITH n(x) AS (SELECT 1 UNION SELECT x + 1 FROM n LIMIT 400)"
    statements = (
        f"INSERT INTO dictionary {many} SELECT x, randomblob(10 + 37 * (x % 40)) FROM n",
        f"INSERT INTO tag {many} SELECT 'arn ' || (x / 4), 'key ' || x, hex(randomblob(20)) FROM n",
    )
    db.write(lambda conn: [conn.execute(text(each)) for each in statements])


def everything(path: Path) -> list[list[tuple[object, ...]]]:
    """All rows by their tables, and all entries of indexes that have all columns that are wanted."""
    with closing(Database(f"sqlite:///{path}")) as db, db.read() as conn:
        found: list[list[tuple[object, ...]]] = []
        for kind, name, table in conn.execute(
            text(
                "SELECT type, name, tbl_name FROM sqlite_schema"
                " WHERE name NOT LIKE 'sqlite_%' AND rootpage ORDER BY name"
            )
        ).all():
            if kind == "table":
                rows = f'SELECT * FROM "{name}" NOT INDEXED'
                found.append([tuple(row) for row in conn.execute(text(rows))])
            elif kind == "index":
                columns = conn.execute(text("SELECT name FROM pragma_index_info(:index)"), {"index": name})
                listed = ", ".join(f'"{column}"' for (column,) in columns)
                where = conn.execute(
                    text("SELECT partial FROM pragma_index_list(:table) WHERE name = :index"),
                    {"table": table, "index": name},
                ).scalar()
                if not where:
                    rows = f'SELECT {listed} FROM "{table}" INDEXED BY "{name}" ORDER BY {listed}'
                    found.append([tuple(row) for row in conn.execute(text(rows))])
        return found


@contextlib.contextmanager
def flipped(path: Path, place: int, bit: int) -> Iterator[None]:
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(1)[0]
        file.seek(place)
        file.write(bytes((old ^ 1 << bit,)))
        file.flush()
        try:
            yield
        finally:
            file.seek(place)
            file.write(bytes((old,)))


def test_makes_new_databases_with_checksums(path: Path) -> None:
    data = path.read_bytes()
    pages = [data[start : start + PAGE] for start in range(0, len(data), PAGE)]
    assert len(pages) > 100
    assert [page[-8:] for page in pages] == [vfs.checksum(page[:-8]) for page in pages]
    with closing(Database(f"sqlite:///{path}")) as db, db.read() as conn:
        assert state.missing(conn) is None
        assert (
            conn.execute(text("SELECT value FROM installation WHERE name = 'pages'")).scalar() == "checksums"
        )
        assert conn.execute(text("PRAGMA integrity_check")).scalar() == "ok"


def test_serves_the_rows_of_no_page_with_a_flipped_bit(path: Path) -> None:
    seed = random.randrange(2**32)
    random_ = random.Random(seed)
    golden = everything(path)
    refused = 0
    for _ in range(24):
        place, bit = random_.randrange(path.stat().st_size), random_.randrange(8)
        with flipped(path, place, bit):
            found = [number for part in damaged_pages(path) for number in part.damaged]
            assert found == [place // PAGE + 1], f"seed {seed}"
            try:
                assert everything(path) == golden, f"seed {seed}: page {place // PAGE + 1}, bit {bit}"
            except DamagedError:
                refused += 1
    # The others are pages that nothing of this reads, such as partial indexes.
    assert refused > 8, f"seed {seed}"
    assert everything(path) == golden
    assert [number for part in damaged_pages(path) for number in part.damaged] == []


@pytest.mark.parametrize("bit", range(8))
def test_notices_that_the_header_denies_the_checksums(path: Path, bit: int) -> None:
    with flipped(path, RESERVED_AT, bit), pytest.raises(DamagedError, match="header no longer says"):
        everything(path)


def test_notices_it_on_a_connection_that_was_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "_PAGES_SECONDS", -1.0)
    with closing(Database(f"sqlite:///{path}")) as db:
        connection = db.raw()
        assert connection.execute("SELECT count(*) FROM tag").fetchone() == (400,)
        with flipped(path, RESERVED_AT, 3):
            connection.execute("PRAGMA shrink_memory")
            # Another process has changed something, so that this one reads the header again.
            with contextlib.suppress(StorageError), closing(Database(f"sqlite:///{path}")) as other:
                other.write(lambda conn: conn.execute(text("DELETE FROM tag WHERE key = 'key 1'")))
            assert connection.compares_pages
            with pytest.raises(DamagedError):
                for _ in range(3):
                    db.raw().execute("SELECT count(*) FROM dictionary").fetchone()


def test_refuses_a_database_with_checksums_where_they_cannot_be_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = path.with_name("plain")
    with closing(sqlite3.connect(plain)) as shell:
        shell.executescript(
            "CREATE TABLE installation (name TEXT PRIMARY KEY, value TEXT);"
            "INSERT INTO installation VALUES ('pages', 'checksums')"
        )
    monkeypatch.setattr(vfs, "why_unavailable", lambda: "there is no apsw")
    with closing(Database(f"sqlite:///{plain}")) as db, pytest.raises(ConfigurationError, match="no apsw"):
        db.raw()


def test_works_without_extensions_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (vfs, state):
        monkeypatch.setattr(module, "why_unavailable", lambda: "this Python was built without extensions")
    path = tmp_path / "lightwell.db"
    with closing(Database(f"sqlite:///{path}")) as db:
        migrate(db)
        fill(db)
        settings = Settings(data=tmp_path)
        check_pages(settings, db)
        assert "this Python was built without extensions" in caplog.text
        with pytest.raises(ConfigurationError, match="LIGHTWELL_REQUIRE_PAGE_CHECKSUMS is on"):
            check_pages(Settings(data=tmp_path, require_page_checksums=True), db)
    assert path.read_bytes()[RESERVED_AT] == 0
    # Once they can be had, all is copied, and every row is there.
    monkeypatch.undo()
    before = everything(path)
    assert convert(path) is True
    assert convert(path) is False
    assert path.read_bytes()[RESERVED_AT] == 8
    after = [[row for row in rows if row[0] != "pages"] for rows in everything(path)]
    assert after == before
    assert sum(map(len, after)) > 800
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lightwell.db", "lightwell.db.lock"]


def test_copies_no_database_that_others_use(tmp_path: Path, path: Path) -> None:
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as shell:
        shell.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        assert shell.execute("SELECT * FROM t").fetchall() == [(1,)]
        with pytest.raises(StorageError, match="server or a shell"):
            convert(old)
    assert not (tmp_path / "old.db.checksums").exists()


def test_leaves_the_old_database_where_it_is_damaged(path: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as shell:
        shell.executescript(
            "CREATE TABLE installation (name TEXT, value TEXT); CREATE TABLE t (a TEXT);"
            "WITH n(x) AS (SELECT 1 UNION SELECT x + 1 FROM n LIMIT 900) INSERT INTO t SELECT hex(x) FROM n"
        )
    data = bytearray(old.read_bytes())
    data[-PAGE] ^= 0xFF
    old.write_bytes(data)
    with pytest.raises(StorageError, match="could not be copied"):
        convert(old)
    assert old.read_bytes() == data


def test_copies_and_backups_keep_the_checksums(path: Path, tmp_path: Path) -> None:
    copy, backup = tmp_path / "copy.db", tmp_path / "backup.db"
    shutil.copy(path, copy)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    for each in (copy, backup):
        assert everything(each) == everything(path)
        with flipped(each, 3 * PAGE + 77, 1):
            assert [number for part in damaged_pages(each) for number in part.damaged] == [4]


def test_empties_the_log_as_soon_as_nobody_reads_what_was_before(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    with closing(Database(f"sqlite:///{path}")) as db:
        with db.read() as conn:
            assert conn.execute(text("SELECT count(*) FROM tag")).scalar() == 400
            db.write(lambda conn: conn.execute(text("DELETE FROM tag WHERE key = 'key 7'")))
            db.shorten_log()
            assert log.stat().st_size > 0
            assert conn.execute(text("SELECT count(*) FROM tag")).scalar() == 400
        db.shorten_log()
        assert log.stat().st_size == 0
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("DELETE FROM tag WHERE key = 'key 8'")
            db.shorten_log()
            other.execute("COMMIT")
        with db.read() as conn:
            assert conn.execute(text("SELECT count(*) FROM tag")).scalar() == 398


def test_tells_of_checksums_of_postgresql(migrated_postgres_url: str) -> None:
    with closing(Database(migrated_postgres_url)) as db, db.read() as conn:
        assert state.missing(conn) is None
        conn.execute(text("SET LOCAL ignore_checksum_failure = on"))
        assert "ignore_checksum_failure is on" in str(state.missing(conn))
