"""Damage that reads meet: told once, off the read's way, whatever becomes of the report."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from lightwell.domain.events import EventHeader
from lightwell.errors import DamagedError, StorageUnavailableError
from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.stores.db.bulk import insert_many
from lightwell.stores.integrity import faults
from lightwell.stores.integrity.damage_reports import DamageReports
from lightwell.stores.objects import checked_reads
from lightwell.stores.objects.checked_reads import CheckedSpan, read_part
from lightwell.stores.objects.pack_objects import pack_name
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltInstance


def header(datastore_id: str) -> EventHeader:
    return EventHeader(id="0" * 32, now=NOW, region="us-east-1", account="1" * 12, datastore_id=datastore_id)


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    checked_reads.tell(None)
    found.close()


def events(stores: Stores) -> list[dict[str, Any]]:
    with stores.db.read() as conn:
        return [json.loads(event) for event in conn.execute(select(tables.outbox.c.event)).scalars()]


def read_damaged(stores: Stores, name: str) -> None:
    with pytest.raises(DamagedError, match="are damaged"):
        read_part(stores.objects, CheckedSpan(name, 3, 10, 12345), 0, 10)


def test_tells_of_a_damaged_place_once_however_often_it_is_read(stores: Stores) -> None:
    built = image_set_builders.image_set(
        stores, [BuiltInstance("1.2", 1, frames=[b"x" * 40])], series_instance_uid="1.2.77",
        series={"SeriesInstanceUID": "1.2.77", "Modality": "CT"},
    )  # fmt: skip
    with stores.db.read() as conn:
        pack, datastore = conn.execute(select(tables.pixels.c.pack, tables.pixels.c.datastore)).one()
    name = pack_name(pack)
    row = {"key": pack, "datastore": datastore, "state": "LIVE", "size": 56, "checksum": 0, "created_at": NOW}
    stores.db.write(lambda conn: insert_many(conn, tables.pack, [row]))
    for _ in range(2):  # another process tells of it, too
        reports = DamageReports(stores.db, lambda: NOW, header)
        checked_reads.tell(reports.note)
        for _ in range(50):
            read_damaged(stores, name)
        reports.close()
    (event,) = events(stores)
    assert (event["detail-type"], event["source"]) == ("Data Integrity Fault", "lightwell")
    assert event["detail"] == {
        "imagingVersion": "1.0",
        "datastoreId": built.datastore_id,
        "imagesetIds": [built.id],
        "place": f"{name} 3",
        "reason": f"10 bytes of {name} at 3 are not the ones that were stored",
    }
    with stores.db.read() as conn:
        fault = conn.execute(select(tables.integrity_fault)).one()
    assert (fault.place, fault.kind, fault.found_at, fault.run) == (f"{name} 3", "damaged", NOW, None)
    # Once it is whole again, the next damage there is news.
    stores.db.write(lambda conn: faults.forget(conn, [fault.place]))
    reports = DamageReports(stores.db, lambda: NOW, header)
    checked_reads.tell(reports.note)
    read_damaged(stores, name)
    reports.close()
    assert len(events(stores)) == 2


def test_keeps_no_read_waiting_and_tells_again_when_the_database_is_back(stores: Stores) -> None:
    goes_on, is_away = threading.Event(), True

    class Database:
        read = stores.db.read

        def write(self, work: Callable[[Connection], object]) -> object:
            assert threading.current_thread().name == "damage-reports"
            goes_on.wait()
            if is_away:
                raise StorageUnavailableError("the database is away")
            return stores.db.write(work)

    stores.objects.put("packs/ab/00000000000000ab.pack", b"y" * 40)
    reports = DamageReports(Database(), lambda: NOW, header)  # type: ignore[arg-type]
    checked_reads.tell(reports.note)
    for _ in range(5):
        read_damaged(stores, "packs/ab/00000000000000ab.pack")
    goes_on.set()
    reports.close()
    with stores.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(tables.integrity_fault)).scalar() == 0
    is_away = False
    read_damaged(stores, "packs/ab/00000000000000ab.pack")
    reports.close()
    with stores.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(tables.integrity_fault)).scalar() == 1
    assert events(stores) == []  # it is of no data store


def test_keeps_no_more_of_a_reason_than_a_person_reads(stores: Stores) -> None:
    fault = faults.Fault(place="here", reason="what a file holds " * 100_000)
    stores.db.write(lambda conn: faults.note(conn, fault, NOW, header, None))
    with stores.db.read() as conn:
        (reason,) = conn.execute(select(tables.integrity_fault.c.reason)).scalars()
    assert reason.startswith("what a file holds") and reason.endswith("…") and len(reason) < 1000
