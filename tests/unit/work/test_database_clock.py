"""A machine whose clock is wrong removes nothing too early."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from lightwell.clock import Clock, Ids
from lightwell.settings import Settings
from lightwell.stores.db import tables
from lightwell.stores.db.now import Skew
from lightwell.stores.objects import packs
from lightwell.work.collector import Collector
from tests.support.image_set_builders import open_at

DAY = 86_400_000


def test_a_clock_that_is_ahead_dooms_no_pack_that_is_being_written(
    tmp_path: Path, migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, system_now = open_at(tmp_path, migrated_postgres_url), Clock.now
    stores.db.write(lambda conn: packs.insert_open(conn, [7], 1, Clock().now()))
    monkeypatch.setattr(Clock, "now", lambda self: system_now(self) + 3 * DAY)
    collector = Collector(stores, Settings(data=tmp_path), Clock(), Ids())
    collector.doom_packs()
    with stores.db.read() as conn:
        assert conn.execute(select(tables.pack.c.state)).scalar_one() == "open"
        assert abs(Skew(Clock().now).of(conn) + 3 * DAY) < DAY
    monkeypatch.setattr(Clock, "now", lambda self: system_now(self) - 3 * DAY)
    with stores.db.read() as conn:
        assert abs(Skew(Clock().now).of(conn) - 3 * DAY) < DAY
    stores.close()


def test_on_sqlite_the_machine_s_clock_is_the_database_s(tmp_path: Path, migrated_sqlite_url: str) -> None:
    stores = open_at(tmp_path, migrated_sqlite_url)
    with stores.db.read() as conn:
        assert Skew(lambda: 0).of(conn) == 0
    stores.close()
