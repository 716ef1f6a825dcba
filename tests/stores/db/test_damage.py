"""Damage that the database itself finds: told as such, never as a database that is away."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from lightwell.codec_pool.failures import CHUNK, PHASE, cause_of
from lightwell.errors import DamagedError, StorageUnavailableError
from lightwell.observe import metrics
from lightwell.stores.db.database import Database
from lightwell.stores.db.errors import explain
from lightwell.stores.db.look_up import LookUp


def test_refuses_a_malformed_page_of_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "lightwell.db"
    db = Database(f"sqlite:///{path}")
    db.write(lambda conn: conn.execute(text("CREATE TABLE t (key INTEGER PRIMARY KEY, value TEXT)")))
    many = text(
        "INSERT INTO t WITH n(x) AS (SELECT 1 UNION SELECT x+1 FROM n LIMIT 999) SELECT x, hex(x) FROM n"
    )
    db.write(lambda conn: conn.execute(many))
    db.close()
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = shell.execute("SELECT rootpage FROM sqlite_master WHERE name = 't'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff")
    meter = metrics.Meter((), 1)
    meter.join(0)
    with pytest.raises(DamagedError, match=r"database is damaged.*data verify"), db.read() as conn:
        conn.execute(text("SELECT sum(key) FROM t")).all()
    with pytest.raises(DamagedError):
        db.look_up(LookUp("SELECT value FROM t WHERE key = ?"), (7,))
    with pytest.raises(DamagedError):
        db.write(lambda conn: conn.execute(text("UPDATE t SET value = 'x'")))
    assert b'lightwell_damaged_reads_total{of="database"} 3\n' in meter.render(())
    db.close()


@pytest.mark.parametrize("state", ["XX001", "XX002"])
def test_refuses_what_postgresql_finds_damaged(migrated_postgres_url: str, state: str) -> None:
    raises = text(f"DO $$ BEGIN RAISE EXCEPTION 'invalid page in block 7' USING ERRCODE = '{state}'; END $$")

    def work(conn: Connection) -> None:
        conn.execute(raises)

    with closing(Database(migrated_postgres_url)) as db:
        with pytest.raises(DamagedError, match="invalid page in block 7"):
            db.write(work)
        with pytest.raises(DamagedError), db.read() as conn:
            work(conn)


def test_takes_a_wrong_page_checksum_for_damage_and_a_failing_disk_for_a_pause() -> None:
    def failing(code: int) -> sqlite3.OperationalError:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        return error

    damaged = explain(failing(10 | 32 << 8), "sqlite:///x")
    assert isinstance(damaged, DamagedError) and not isinstance(damaged, StorageUnavailableError)
    # What ends, after so many tries, is never what pauses for as long as it takes.
    assert CHUNK[cause_of(damaged)].tries is not None and PHASE[cause_of(damaged)].tries is not None
    away = explain(failing(sqlite3.SQLITE_IOERR_READ), "sqlite:///x")
    assert isinstance(away, StorageUnavailableError)
