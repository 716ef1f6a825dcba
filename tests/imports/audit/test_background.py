"""What is on record of work without a client: of each image set once, whoever had asked for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec
import pytest

from lightwell.clock import Clock
from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.manifests import OutcomeCounts
from lightwell.errors import StorageUnavailableError
from lightwell.observe.audit.record import AuditRecord, decode_line
from lightwell.observe.audit.trail import AuditTrail, TrailOptions
from lightwell.operations.context import Caller
from lightwell.stores.background import audit_owed
from lightwell.stores.background.records import BackgroundRecords
from lightwell.work.collector import Collector
from lightwell.work.imports.import_phases import ImportPhases
from tests.imports.codec_pool.test_requests import ARN, opened, store_request, stored
from tests.support.collector import delete, living
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.imports import ROLE, Importing
from tests.support.server import until
from tests.unit.web.audit.audited import Kept

ADA = "arn:aws:sts::000000000000:assumed-role/Reader/ada"


@contextmanager
def kept_trail(options: TrailOptions | None = None) -> Iterator[tuple[AuditTrail, Kept]]:
    chain = Kept()
    trail = AuditTrail(lambda: chain, Clock().now, options or TrailOptions())
    trail.begin()
    try:
        yield trail, chain
    finally:
        chain.is_broken = False
        trail.close()


@pytest.fixture
def trail() -> Iterator[tuple[AuditTrail, Kept]]:
    with kept_trail() as made:
        yield made


def test_an_import_job_has_a_record_for_each_image_set_that_it_writes(
    sqlite: Importing, trail: tuple[AuditTrail, Kept]
) -> None:
    server, (sqlite.trail, chain) = sqlite, trail
    server.context = replace(server.context, caller=Caller("000000000000", ADA, "AK"))
    for study in ("1", "2"):
        write_series(server.input / "in" / study, 5, study=study, PatientID=f"P{study}")
    (server.input / "in" / "junk.dcm").write_bytes(b"junk")
    report = server.run("in/")
    until(lambda: any(each.operation == "ImportJobEnded" for each in chain.records))
    *sets, end = chain.records
    assert sorted((each.patient, each.study, each.series, each.version, each.instances) for each in sets) == [
        (f"P{study}", f"{ROOT}.{study}", f"{ROOT}.{study}.1", 1, 5) for study in ("1", "2")
    ]
    assert {each.image_set for each in sets} == {
        each["imageSetId"] for each in report.manifest["imageSetsSummary"]
    }
    assert not any(each.emergency for each in chain.records)
    for record in chain.records:
        said = (record.via, record.kind, record.who, record.role, record.job, record.store, record.at > 0)
        assert said == ("engine", "change", ADA, ROLE, report.job.id, server.datastore, True)
    assert {each.operation for each in sets} == {"ImportIntoImageSet"}
    assert (end.operation, end.error) == ("ImportJobEnded", None)
    assert end.query == {"status": "COMPLETED", "imported": 10, "failed": 1}
    # What is there already makes no version, and so no record of a write; what joins a set does.
    chain.records.clear()
    write(server.input / "in" / "1" / "more.dcm", ct(6, study="1", PatientID="P1"))
    server.run("in/")
    until(lambda: any(each.operation == "ImportJobEnded" for each in chain.records))
    (grown, _) = chain.records
    assert (grown.patient, grown.version, grown.instances) == ("P1", 2, 1)


def test_the_end_of_a_job_is_on_record_though_its_files_cannot_be_counted_any_more(
    sqlite: Importing, trail: tuple[AuditTrail, Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, (sqlite.trail, chain) = sqlite, trail
    write(server.input / "in" / "1.dcm", ct(1))
    real, asked = ImportPhases._counts, list[str]()

    def counts(self: ImportPhases, job: Job) -> OutcomeCounts:
        asked.append(job.id)
        if len(asked) > 1:
            raise StorageUnavailableError("the database is away")
        return real(self, job)

    monkeypatch.setattr(ImportPhases, "_counts", counts)
    server.run("in/")
    until(lambda: any(each.operation == "ImportJobEnded" for each in chain.records))
    assert len(asked) == 2
    assert chain.records[-1].query == {"status": "COMPLETED", "imported": 1, "failed": 0}


def test_a_job_waits_while_nothing_can_be_recorded(
    sqlite: Importing, trail: tuple[AuditTrail, Kept], caplog: pytest.LogCaptureFixture
) -> None:
    server, (sqlite.trail, chain) = sqlite, trail
    chain.is_broken = True
    sqlite.trail.put(AuditRecord())
    until(lambda: not trail[0].has_room())
    write(server.input / "in" / "1.dcm", ct(1))
    job = server.start("in/")
    engine = server.engine()
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        until(lambda: "audit trail" in caplog.text and "import job" in caplog.text)
        assert living(server) == []
        chain.is_broken = False
        until(lambda: server.job(job.id).status == "COMPLETED")
    finally:
        engine.stop()
        thread.join()
    assert len(living(server)) == 1


def test_what_a_request_has_stored_is_on_record_where_it_is_committed(
    sqlite: Importing, trail: tuple[AuditTrail, Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that answers may die before it has written its own record, and so may this one."""
    server, (sqlite.trail, chain) = sqlite, trail
    # As if it had died before the disk had it.
    monkeypatch.setattr(trail[0], "tell_when_kept", lambda tell: None)
    with opened(server, trail=sqlite.trail) as (pool, _):
        asked = store_request(server, ct(1, PatientID="P1"), ct(2, PatientID="P1"))
        first, _ = stored(pool.ask(msgspec.structs.replace(asked, emergency=True), 30))
    sqlite.trail.flush()
    (record,) = chain.records
    assert (record.via, record.operation, record.who) == ("engine", "StoreIntoImageSet", ARN)
    assert (record.patient, record.instances, record.store) == ("P1", 2, server.datastore)
    assert record.emergency
    assert record.image_set == getattr(first, "image_set", None)
    with server.stores.db.read() as conn:
        (debt,) = audit_owed.get(conn, [record.id or ""])
    assert (debt.id, debt.at, decode_line(debt.records.encode()).image_set) == (
        record.id, record.at, record.image_set,
    )  # fmt: skip


def test_what_is_removed_is_on_record_a_record_for_many(
    sqlite: Importing, trail: tuple[AuditTrail, Kept]
) -> None:
    server, (made, chain) = sqlite, trail
    for study in ("1", "2", "3"):
        write_series(server.input / "in" / study, 1, study=study)
    server.run("in/")
    with server.stores.db.read() as conn:
        packs = conn.exec_driver_sql("SELECT count(*) FROM pack").scalar()
    sets = living(server)
    for each in sets:
        delete(server, each)
    records = BackgroundRecords(made, server.context.clock.now)
    settings = replace(server.settings, collect_grace=0)
    Collector(server.stores, settings, server.context.clock, server.context.ids, records=records).remove_now()
    made.flush()
    emptied, *removed = chain.records
    assert (emptied.operation, emptied.kind, emptied.store) == ("RemoveImageSets", "change", server.datastore)
    assert sorted(emptied.image_sets) == sorted(sets)
    assert {each.operation for each in removed} == {"RemovePacks"}
    assert sum(len(each.items) for each in removed) == packs


def test_what_was_deleted_makes_room_on_a_full_disk_and_is_recorded_later(
    sqlite: Importing, trail: tuple[AuditTrail, Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, (made, chain) = sqlite, trail
    write_series(server.input / "in", 1)
    server.run("in/")
    (id,) = living(server)
    delete(server, id)
    chain.is_broken = True
    made.put(AuditRecord())
    until(lambda: not made.has_room())
    records = BackgroundRecords(made, server.context.clock.now)
    settings = replace(server.settings, collect_grace=0)
    collector = Collector(server.stores, settings, server.context.clock, server.context.ids, records=records)
    with monkeypatch.context() as patched:
        patched.setattr("lightwell.observe.audit.trail.MOST_MEMBERS", 0)
        with pytest.raises(StorageUnavailableError, match="audit trail"):
            collector.collect()
    collector.remove_now()
    assert list(server.stores.objects.list("packs")) == []
    # What makes no room waits until it can be recorded.
    with pytest.raises(StorageUnavailableError, match="audit trail"):
        collector.do_round()
    chain.is_broken = False
    until(lambda: any(each.operation == "RemovePacks" for each in chain.records))
    assert [each.image_sets for each in chain.records if each.operation == "RemoveImageSets"] == [(id,)]


def test_with_audit_sync_what_was_done_waits_for_its_record() -> None:
    with kept_trail(TrailOptions(is_sync=True)) as (made, chain):
        BackgroundRecords(made, lambda: 5).put([AuditRecord(operation="ImportIntoImageSet")])
        assert (chain.synced, chain.records[0].at, chain.records[0].via) == (1, 5, "engine")
