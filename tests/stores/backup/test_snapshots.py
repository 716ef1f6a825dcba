"""Copies of a database that is in use: whole, with their checksums, and none of one that is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, update

from lightwell.errors import StorageError
from lightwell.stores.backup.snapshots import revision, snapshot
from lightwell.stores.db.database import Database
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.db.schema import REVISIONS
from lightwell.stores.db.tables import outbox
from lightwell.stores.page_checksums import vfs
from lightwell.stores.page_checksums.pages import damaged_pages

_ROWS = 1500


@pytest.fixture
def filled(migrated_sqlite_url: str) -> Database:
    """More pages than a connection keeps in memory, the newest in the write-ahead log."""
    db = Database(migrated_sqlite_url)
    rows = [{"event": f"{number}" * 700} for number in range(1000, _ROWS + 1000)]
    db.write(lambda conn: conn.execute(insert(outbox), rows))
    return db


def test_copies_what_is_in_the_log_yet_and_leaves_nothing_in_the_spool(
    filled: Database, tmp_path: Path
) -> None:
    def change(conn: Connection) -> None:
        conn.execute(update(outbox).where(outbox.c.number % 50 == 0).values(delivered_at=7))

    filled.write(change)
    spool, copied = tmp_path / "spool", tmp_path / "copied.db"
    spool.mkdir()
    with snapshot(filled, spool) as taken:
        filled.write(lambda conn: conn.execute(update(outbox).values(delivered_at=9)))
        assert revision(taken.conn) == REVISIONS[-1]
        copied.write_bytes(b"".join(taken.blocks()))
    assert list(spool.iterdir()) == []
    copy = Database(f"sqlite:///{copied}")
    with copy.read() as conn:
        found = conn.execute(select(outbox.c.event, outbox.c.delivered_at)).all()
    assert len(found) == _ROWS and sum(row.delivered_at == 7 for row in found) == _ROWS // 50
    assert not any(row.delivered_at == 9 for row in found), "what came later is not in it"
    if vfs.why_unavailable() is None:
        parts = list(damaged_pages(copied))
        assert parts[-1].end > 500 and not any(part.damaged for part in parts)
    for db in (copy, filled):
        db.close()


def test_is_none_of_a_damaged_database(filled: Database, tmp_path: Path) -> None:
    filled.close()  # which empties its log
    path = sqlite_path(filled.url)
    data = bytearray(path.read_bytes())
    place = data.index(b"1234" * 500) // 4096 * 4096  # where its page begins: what it holds
    data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StorageError, match="is damaged"), snapshot(filled, tmp_path):
        raise AssertionError("a snapshot")
    assert not list(tmp_path.glob("backup-*"))
    filled.close()
