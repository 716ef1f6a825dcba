"""PostgreSQL's own tools take the database back to a moment, as docs/operate.md says; its packs are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from lightwell.clock import Ids
from lightwell.settings import Settings
from lightwell.stores import open_stores
from lightwell.stores.background.installation import agree_on_storage, check_storage
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import migrate
from tests.support import invariants, services
from tests.support.collector import collector, delete, living
from tests.support.ct_files import write_series
from tests.support.imports import importing
from tests.support.server import until


def asked(url: str, sql: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(sql.encode()).fetchone()
        assert row is not None
        return row[0]


@pytest.mark.timeout(600)
def test_goes_back_to_the_moment_before_an_accident(tmp_path: Path) -> None:
    with (
        services.temporary_folder("lightwell-archive-") as archive,
        services.temporary_folder("lightwell-first-") as first,
        services.temporary_folder("lightwell-second-") as second,
    ):
        archive.chmod(0o777)  # PostgreSQL runs as another user
        keeps = {
            "archive_mode": "on",
            "archive_command": f"test ! -f {archive}/%f && cp %p {archive}/%f",
        }
        port, other = services.free_ports(2)
        with services.wanted(services.postgres_in(first, port, **keeps)) as url:
            db = Database(url)
            migrate(db)
            db.close()
            place = importing(tmp_path / "data", url)
            agree_on_storage(place.stores.db, place.stores.objects, Ids().id())
            write_series(place.input / "a", 2, series="1")
            place.run("a/")
            services.base_backup(url, second)
            write_series(place.input / "b", 2, series="2")
            place.run("b/")
            sets = living(place)
            moment = asked(url, "SELECT CAST(clock_timestamp() AS TEXT)")
            for each in sets:
                delete(place, each)
            collector(place, grace=86_400).collect()
            assert living(place) == []
            segment = asked(url, "SELECT pg_walfile_name(pg_switch_wal())")
            archived = f"SELECT coalesce(last_archived_wal, '') >= '{segment}' FROM pg_stat_archiver"
            until(lambda: asked(url, archived))
            place.close()
        (second / "data" / "recovery.signal").touch()
        goes_back = {
            "restore_command": f"cp {archive}/%f %p",
            "recovery_target_time": moment,
            "recovery_target_action": "promote",
        }
        with services.wanted(services.postgres_in(second, other, **goes_back)) as url:
            until(lambda: not asked(url, "SELECT pg_is_in_recovery()"))
            settings = Settings(data=tmp_path / "new", database_url=url, storage_url=place.settings.storage)
            stores = open_stores(settings)
            try:
                check_storage(stores.db, stores.objects)
                invariants.check(stores, decode=True)
                with stores.db.read() as conn:
                    found = conn.exec_driver_sql("SELECT id FROM image_set WHERE state = 'ACTIVE'").all()
                assert sorted(row[0] for row in found) == sorted(sets) and len(sets) == 2
            finally:
                stores.close()
