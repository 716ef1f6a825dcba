"""Where SQLite's temporary files lie: below the data folder, never in the system's, and none is left."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from lightwell.stores.db import drivers, purge
from lightwell.stores.db.database import Database
from lightwell.stores.page_checksums import vfs
from lightwell.stores.page_checksums.conversion import convert
from lightwell.stores.page_checksums.temporary_files import use_files

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="shows open files in /proc")
MANY = "WITH n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {}) "


def temporary_files() -> set[Path]:
    """The folders of the temporary files of SQLite that this process has open, all of which have no name."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target = descriptor.readlink()
            if target.name.startswith("etilqs_"):
                assert target.name.endswith(" (deleted)")
                found.add(target.parent)
    return found


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Where temporary files were while anything ran on a connection that was made meanwhile."""
    seen: set[Path] = set()
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def watched(*given: Any, **more: Any) -> sqlite3.Connection:
        made = connect(*given, **more)
        made.set_progress_handler(lambda: seen.update(temporary_files()), 20_000)
        return made

    monkeypatch.setattr(sqlite3, "connect", watched)
    return seen


def filled(url: str) -> Database:
    db = Database(url)
    many = MANY.format(4000)
    rows = f"INSERT INTO dictionary {many} SELECT x, randomblob(2000) FROM n"
    tags = f"INSERT INTO tag {many} SELECT 'arn ' || x, 'key ' || hex(randomblob(400)), 'v' FROM n"
    db.write(lambda conn: [conn.execute(text(each)) for each in (rows, tags)])
    return db


@needs_proc
def test_a_large_database_is_rewritten_by_a_copy_in_the_spool(
    migrated_sqlite_url: str, tmp_path: Path, seen: set[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "sp'ool"
    spool.mkdir()
    monkeypatch.setattr(purge, "_IN_MEMORY", 0)
    with closing(filled(migrated_sqlite_url)) as db:
        assert purge.purge(db, spool) is purge.Purged.DONE
    assert seen == {spool}
    assert list(spool.iterdir()) == []


@needs_proc
@pytest.mark.skipif(vfs._extension() is None, reason="apsw, a dependency, is not installed")
def test_a_database_is_given_checksums_by_files_beside_it(
    migrated_sqlite_url: str, tmp_path: Path, seen: set[Path]
) -> None:
    filled(migrated_sqlite_url).close()
    path = drivers.sqlite_path(migrated_sqlite_url)
    old = tmp_path / "old" / "lightwell.db"
    old.parent.mkdir()
    with closing(sqlite3.connect(old, isolation_level=None)) as conn:
        conn.execute("ATTACH ? AS new", (str(path),))
        for (sql,) in conn.execute(
            "SELECT sql FROM new.sqlite_schema WHERE name IN ('dictionary', 'tag', 'installation')"
        ).fetchall():
            conn.execute(sql)
        for table in ("dictionary", "tag"):
            conn.execute(f"INSERT INTO main.{table} SELECT * FROM new.{table}")
    seen.clear()
    assert convert(old)
    assert seen == {old.parent}
    assert [path.name for path in old.parent.iterdir()] == ["lightwell.db"]


def test_stays_in_memory_where_the_folder_cannot_be_used(tmp_path: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        assert not use_files(connection, tmp_path / "none")
        assert connection.execute("PRAGMA temp_store").fetchone() == (2,)
