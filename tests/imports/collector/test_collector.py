"""The collector, step by step: what it takes, and what it leaves."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete as delete_rows
from sqlalchemy import select, update

from lightwell.clock import Ids
from lightwell.domain.states import JobPhase
from lightwell.stores.background import gc_candidates
from lightwell.stores.backup import claim
from lightwell.stores.db import tables
from lightwell.stores.objects import packs
from lightwell.stores.objects.pack_objects import PackWriter, pack_name
from lightwell.work.stray_search import StraySearch
from tests.support import invariants
from tests.support.collector import Later, collector, counts, delete, living
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing, taken

NOTHING = dict.fromkeys(
    ("member", "level", "record", "pixels", "frame_table", "level_value", "dictionary", "instance", "study",
     "pack"), 0
)  # fmt: skip


def objects(server: Importing) -> list[str]:
    return [name for name, _ in server.stores.objects.list("packs")]


def test_leaves_nothing_of_a_deleted_set_but_its_versions(server: Importing) -> None:
    write_series(server.input / "a", 5)
    server.run("a/")
    (made,) = living(server)
    delete(server, made)
    removed = collector(server).collect()
    assert counts(server) == NOTHING
    assert objects(server) == []
    assert removed["records"] == removed["pixels"] == removed["instances"] == 5
    with server.stores.db.read() as conn:
        assert conn.execute(select(tables.version.c.number)).scalars().all() == [1]
    invariants.check(server.stores)
    invariants.check_collected(server.stores)
    assert collector(server).collect() == Counter()


def test_keeps_what_other_sets_reference(server: Importing) -> None:
    """Two series of one study and patient share level values; both hold one SOP Instance UID."""
    write(server.input / "a" / "1.dcm", ct(1))
    write(server.input / "a" / "2.dcm", ct(2))
    twin = ct(1, series="2")
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = ct(1).SOPInstanceUID
    write(server.input / "b" / "1.dcm", twin)
    server.run("a/")
    server.run("b/")
    first, second = living(server)
    delete(server, first)
    collector(server).collect()
    assert living(server) == [second]
    assert counts(server) == {
        **dict.fromkeys(("member", "record", "pixels", "frame_table", "instance", "study", "pack"), 1),
        **{"level": 3, "level_value": 3, "dictionary": 0},
    }
    invariants.check(server.stores, decode=True)
    invariants.check_collected(server.stores)


def test_keeps_every_version_of_a_living_set(server: Importing) -> None:
    write_series(server.input / "a", 3)
    write(server.input / "b" / "x.dcm", ct(2, PatientName="NEW^NAME"))
    server.run("a/")
    server.run("b/")
    before = counts(server)
    assert before["record"] == 4
    collector(server).collect()
    assert counts(server) == before
    invariants.check(server.stores, decode=True)


def test_removes_the_instances_that_duplicates_replaced(server: Importing) -> None:
    write(server.input / "a" / "1.dcm", ct(1, PatientComments="first"))
    write(server.input / "a" / "2.dcm", ct(1, PatientComments="second"))
    server.run("a/")
    assert counts(server)["record"] == 2
    collector(server).collect()
    assert counts(server)["record"] == counts(server)["pixels"] == 1
    invariants.check(server.stores, decode=True)
    invariants.check_collected(server.stores)


def test_removes_what_failed_jobs_have_staged(server: Importing) -> None:
    write_series(server.input / "a", 3)
    job = server.start("a/")
    engine = server.engine()
    engine._run_phases = lambda phases: None  # type: ignore[method-assign]  # no phase but reading is worked at
    # List it by hand, then let the engine read.
    engine._phases.work(taken(engine, JobPhase.LIST))
    engine.run(lambda: server.job(job.id).phase == JobPhase.COMMIT)
    assert counts(server)["record"] == 3
    token = taken(engine, JobPhase.COMMIT)
    collector(server).collect()
    assert counts(server)["record"] == 3, "staged rows name them"
    engine._phases.give_up(token, "nothing works")
    collector(server).collect()
    assert counts(server) == NOTHING
    assert objects(server) == []
    invariants.check(server.stores)
    invariants.check_collected(server.stores)


def test_makes_a_new_set_of_the_same_series_afterwards(server: Importing) -> None:
    write_series(server.input / "a", 2)
    server.run("a/")
    (first,) = living(server)
    delete(server, first)
    server.run("a/")
    (second,) = living(server)
    assert first != second
    collector(server).collect()
    invariants.check(server.stores, decode=True)
    invariants.check_collected(server.stores)
    delete(server, second)
    collector(server).collect()
    server.run("a/")
    assert len(living(server)) == 1
    invariants.check(server.stores, decode=True)
    invariants.check_collected(server.stores)


def test_waits_for_the_grace_period_with_bytes_alone(server: Importing) -> None:
    write_series(server.input / "a", 2)
    server.run("a/")
    delete(server, living(server)[0])
    collector(server, grace=60).collect()
    assert counts(server) == {**NOTHING, "pack": 1}
    assert len(objects(server)) == 1
    invariants.check_collected(server.stores, older_than=0)
    collector(server, grace=60, ahead=61_000).collect()
    assert counts(server) == NOTHING
    assert objects(server) == []


def test_removes_packs_that_were_begun_and_never_referenced(server: Importing) -> None:
    written, unwritten = 0x1234567890ABCDEF, 0x1234567890ABCDE0
    server.stores.db.write(lambda conn: packs.insert_open(conn, [written, unwritten], 1, 0))
    with PackWriter(server.stores.objects, server.stores.spool, written) as writer:
        writer.append(b"bytes")
        writer.finish()
    collector(server).collect()
    assert counts(server) == NOTHING
    assert objects(server) == []


def test_lets_a_writer_that_was_too_slow_commit_nothing(server: Importing) -> None:
    from lightwell.errors import StorageError

    key = Ids().key()
    server.stores.db.write(lambda conn: packs.insert_open(conn, [key], 1, 0))
    collector(server).doom_packs()
    with pytest.raises(StorageError, match="has to be done again"):
        server.stores.db.write(lambda conn: packs.make_live(conn, {key: (5, 1)}))
    collector(server).remove_packs()
    with pytest.raises(StorageError, match="has to be done again"):
        server.stores.db.write(lambda conn: packs.make_live(conn, {key: (5, 1)}))


def test_removes_bytes_without_a_row_but_not_most_of_a_storage(server: Importing) -> None:
    write_series(server.input / "a", 2)
    server.run("a/")
    (kept,) = objects(server)
    server.stores.objects.put(pack_name(7), b"a writer slept")
    server.stores.objects.put("packs/00/readme", b"not ours")
    collector(server, grace=60).collect(housekeeping=True)
    assert len(objects(server)) == 3, "too young"
    collector(server, ahead=5_000).collect(housekeeping=True)
    assert set(objects(server)) == {kept, "packs/00/readme"}
    server.stores.db.write(lambda conn: conn.execute(delete_rows(tables.pack)))
    collector(server, ahead=5_000).collect(housekeeping=True)
    assert kept in objects(server), "a database that knows none of the packs is not theirs"


def test_searches_strays_a_part_at_a_time(server: Importing) -> None:
    write_series(server.input / "a", 2)
    server.run("a/")
    (kept,) = objects(server)
    for key in (7, 0x1FF, 0x2A0):
        server.stores.objects.put(pack_name(key), b"a writer slept")
    with server.stores.db.read() as conn:
        known = dict(conn.execute(select(tables.pack)).mappings().one())
    more = [{**known, "key": 0x5000 + number} for number in range(8)]
    server.stores.db.write(lambda conn: conn.execute(tables.pack.insert(), more))
    for row in more:
        server.stores.objects.put(pack_name(row["key"]), b"known")
    settings = replace(server.settings, collect_grace=0, stray_interval=2560, collect_interval=10)
    search = StraySearch(server.stores, settings, Later(), threading.Event())
    removed = []
    for step in range(1, 257):
        search._clock = Later(step * 20_000)
        removed.append(search.search_on())
        assert search.search_on() == 0, "too soon"
    assert removed == [0] * 255 + [3]
    assert kept in objects(server)
    assert len(objects(server)) == 9
    # Where rounds are rarer, each searches as many parts as come due between two.
    server.stores.objects.put(pack_name(7), b"a writer slept")
    search = StraySearch(server.stores, replace(settings, collect_interval=1280), Later(), threading.Event())
    search._clock = Later(257 * 20_000)
    assert [search.search_on(), search.search_on()] == [0, 0]
    search._clock = Later(258 * 20_000)
    assert search.search_on() == 1


def test_scans_large_tables_in_parts(server: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc_candidates, "_PART_BYTES", 8192)
    write_series(server.input / "a", 60)
    write_series(server.input / "b", 60, series="2")
    server.run("a/")
    server.run("b/")
    with server.stores.db.read() as conn:
        kinds = (gc_candidates.RECORD, gc_candidates.PIXELS)
        parts = [part.table.name for part in gc_candidates.scan_parts(conn, kinds)]
    if server.stores.db.dialect == "postgresql":
        assert parts[0] == "staged"
        assert min(parts.count("record"), parts.count("member")) > 1
    delete(server, living(server)[0])
    removed = collector(server).collect()
    assert removed["records"] == removed["pixels"] == removed["instances"] == 60
    invariants.check(server.stores, decode=True)
    invariants.check_collected(server.stores)


def test_removes_what_crashes_left_half_written(server: Importing) -> None:
    import os

    spool, temporary = server.stores.spool / "left", server.settings.data / "objects" / ".tmp" / "left"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    young = server.stores.spool / "young"
    for path in (spool, temporary, young):
        path.write_bytes(b"x")
    for path in (spool, temporary):
        os.utime(path, (0, 0))
    collector(server).collect(housekeeping=True)
    assert not spool.exists() and not temporary.exists() and young.exists()


def test_drops_documents_of_deleted_sets_that_were_cached_again(server: Importing) -> None:
    write_series(server.input / "a", 2)
    server.run("a/")
    (made,) = living(server)
    with server.stores.db.read() as conn:
        key = conn.execute(select(tables.image_set.c.key)).scalar_one()
    delete(server, made)
    server.stores.documents.put(key, 1, 0, "native", b"another server was just reading")
    collector(server).collect()
    assert server.stores.documents.get(key, 1, 0, "native") is None
    server.stores.documents.put(key, 1, 0, "native", b"and another host")
    collector(server).collect(housekeeping=True)
    assert server.stores.documents.get(key, 1, 0, "native") is None


def test_keeps_what_was_referenced_after_the_scan(server: Importing) -> None:
    """A level value and an instance found again by content between scan and removal."""
    write_series(server.input / "a", 1)
    server.run("a/")
    delete(server, living(server)[0])
    first = collector(server)
    first.empty_sets()
    first.remove_records()
    with server.stores.db.read() as conn:
        pages = {
            kind: gc_candidates.page(conn, kind, -1, 100)
            for kind in (gc_candidates.LEVEL, gc_candidates.INSTANCE)
        }
        assert gc_candidates.find_referenced(conn, pages) == {
            gc_candidates.LEVEL: set(),
            gc_candidates.INSTANCE: set(),
        }
    server.run("a/")
    for kind, page in pages.items():
        first._settle(kind, page, set())
    invariants.check(server.stores, decode=True)
    collector(server).collect()
    invariants.check(server.stores, decode=True)
    invariants.check_collected(server.stores)


def test_keeps_what_lost_a_reference_during_the_scan(server: Importing) -> None:
    write_series(server.input / "a", 1)
    server.run("a/")
    keys = list(_column(server, tables.instance.c.key))
    server.stores.db.write(lambda conn: gc_candidates.add(conn, gc_candidates.INSTANCE, keys, 1))
    with server.stores.db.read() as conn:
        page = gc_candidates.page(conn, gc_candidates.INSTANCE, -1, 100)
    server.stores.db.write(lambda conn: gc_candidates.add(conn, gc_candidates.INSTANCE, keys, 2))
    collector(server)._settle(gc_candidates.INSTANCE, page, set())
    assert _column(server, tables.instance.c.key) == set(keys)
    collector(server)._settle(gc_candidates.INSTANCE, page, set(keys))
    assert _column(server, tables.leftover.c.key) == set(keys), "another scan has to tell"


def test_runs_one_collector_at_a_time(server: Importing) -> None:
    first, second = collector(server), collector(server)
    assert first._take_turn() and not second._take_turn()
    assert first._take_turn(), "and may go on"
    server.stores.db.write(lambda conn: conn.execute(update(tables.leftover).values(mark=1)))
    assert second._take_turn()


def test_cached_documents_go_from_servers_that_never_collect(server: Importing) -> None:
    """Each server has a cache in its data folder; the one that collects cannot reach into the others'."""
    write_series(server.input / "a", 1)
    server.run("a/")
    (made,) = living(server)
    delete(server, made)
    collecting, other = collector(server), collector(server)
    collecting.do_round()
    with server.stores.db.read() as conn:
        key = conn.execute(select(tables.image_set.c.key)).scalar_one()
    documents = server.stores.documents
    documents.put(key, 1, 0, "native", b"PATIENT^NAME")
    assert documents.get(key, 1, 0, "native") is not None
    other.do_round()
    assert documents.get(key, 1, 0, "native") is None
    documents.put(key, 1, 0, "native", b"PATIENT^NAME")
    other.do_round()
    assert documents.get(key, 1, 0, "native") is not None, "it looks once an hour"


def test_collects_while_the_engine_runs(tmp_path: Path, database_url: str) -> None:
    import time

    from tests.support.imports import importing

    server = importing(tmp_path / "data", database_url, collect_interval=1, collect_grace=0)
    try:
        write_series(server.input / "a", 2)
        server.run("a/")
        delete(server, living(server)[0])
        end = time.monotonic() + 60
        while counts(server) != NOTHING and time.monotonic() < end:
            time.sleep(0.05)
        assert counts(server) == NOTHING
    finally:
        server.close()


def _column(server: Importing, column: object) -> set[int]:
    with server.stores.db.read() as conn:
        return set(conn.execute(select(column)).scalars())  # type: ignore[call-overload]


def test_tells_a_reader_who_was_overtaken_that_the_set_is_deleted(server: Importing) -> None:
    import gzip
    import json

    from lightwell.documents import metadata_documents
    from lightwell.errors import NotFoundError
    from lightwell.operations.get_image_frame import FrameReader
    from lightwell.operations.get_image_set_metadata import get_image_set_metadata
    from lightwell.wire import shapes

    write_series(server.input / "a", 1)
    server.run("a/")
    (made,) = living(server)
    request = shapes.GetImageSetMetadataRequest(datastore_id=server.datastore, image_set_id=made)
    document = json.loads(
        gzip.decompress(get_image_set_metadata(server.context, request).image_set_metadata_blob)
    )
    (series,) = document["Study"]["Series"].values()
    (instance,) = series["Instances"].values()
    frames = FrameReader(server.stores, server.context.clock)
    place = frames.locate(server.datastore, made, instance["ImageFrames"][0]["ID"])
    assert frames.read(place, 0, place.length)
    real = metadata_documents.native_document

    def slowly(*arguments: object) -> bytes:
        delete(server, made)
        collector(server).collect()
        return real(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata_documents, "native_document", slowly)
        with pytest.raises(NotFoundError, match="is deleted"):
            get_image_set_metadata(server.context, request)
    server.stores.objects.close()
    with pytest.raises(NotFoundError, match="is deleted"):
        frames.read(place, 0, place.length)


def test_records_failed_versions_for_an_abandoned_job(server: Importing) -> None:
    write_series(server.input / "a", 1)
    server.run("a/")
    server.close()  # the engine that ran it; the stores open again
    write(server.input / "b" / "2.dcm", ct(2))
    job = server.start("b/")
    engine = server.engine()
    engine._run_phases = lambda phases: None  # type: ignore[method-assign]
    engine._phases.work(taken(engine, JobPhase.LIST))
    engine.run(lambda: server.job(job.id).phase == JobPhase.COMMIT)
    engine._phases.give_up(taken(engine, JobPhase.COMMIT), "nothing works")
    with server.stores.db.read() as conn:
        found = conn.execute(
            select(
                tables.version.c.number, tables.version.c.workflow_status, tables.version.c.message
            ).order_by(tables.version.c.number)
        ).all()
    assert [tuple(row) for row in found] == [
        (1, "CREATED", None), (2, "IMPORT_FAILED", "nothing works"),
    ]  # fmt: skip
    server.work()
    report = server.report(job.id)
    assert list(report.messages().values()) == ["nothing works"] and not report.success
    server.close_engine()
    invariants.check(server.stores)
    collector(server).collect()
    invariants.check_collected(server.stores)


def test_tells_readers_of_streams_who_were_overtaken_that_there_is_nothing(server: Importing) -> None:
    from lightwell.errors import NotFoundError
    from lightwell.operations.dicomweb import bulkdata
    from lightwell.operations.dicomweb import metadata as dicomweb_metadata
    from lightwell.operations.dicomweb.lookup import DicomwebTarget

    write_series(server.input / "a", 1)
    server.run("a/")
    data = ct(1)
    target = DicomwebTarget(server.datastore, data.StudyInstanceUID, data.SeriesInstanceUID)
    found = dicomweb_metadata.find_image_sets(server.context, target)
    delete(server, living(server)[0])
    collector(server).collect()
    for read in (
        dicomweb_metadata.metadata_objects,
        dicomweb_metadata.metadata_as_xml,
        bulkdata.collect_bulk_values,
    ):
        with pytest.raises(NotFoundError, match="has no series"):
            list(read(server.context, target, found))


def test_lets_an_export_go_on_whose_next_set_is_deleted(
    server: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightwell.cli.main import main
    from lightwell.stores.image_sets import part10_instances

    for name in ("1", "2"):
        write_series(server.input / name, 1, series=name)
        server.run(f"{name}/")
    gone, kept = living(server)
    real = part10_instances.readable_sets

    def overtaken(*arguments: object) -> object:
        found = real(*arguments)  # type: ignore[arg-type]
        delete(server, gone)
        collector(server).collect()
        return found

    monkeypatch.setattr(part10_instances, "readable_sets", overtaken)
    places = ["--data", str(server.settings.data), "--database-url", server.settings.database]
    assert main(["export", str(tmp_path / "out"), "--datastore", server.datastore, *places]) == 0
    said = capsys.readouterr()
    assert f"image set {gone} was deleted in the meantime" in said.err
    assert "1 file of 2 image sets written" in said.out
    assert [path.parent.name for path in (tmp_path / "out").rglob("*.dcm")] == [kept]


def test_leaves_the_bytes_of_packs_that_a_backup_holds(server: Importing) -> None:
    write_series(server.input / "a", 1)
    server.run("a/")
    kept = objects(server)
    server.stores.db.write(lambda conn: claim.take(conn, "one"))
    assert server.stores.db.write(lambda conn: claim.renew(conn, "one", holds=True))
    for each in living(server):
        delete(server, each)
    collector(server).collect()
    assert counts(server)["record"] == 0
    assert objects(server) == kept, "only bytes are held"
    server.stores.db.write(lambda conn: claim.release(conn, "one"))
    collector(server).collect()
    assert objects(server) == []
    invariants.check_collected(server.stores)


def test_erases_at_once_what_a_backup_holds_and_ends_that_backup(server: Importing) -> None:
    write_series(server.input / "a", 1)
    server.run("a/")
    server.stores.db.write(lambda conn: claim.take(conn, "one"))
    assert server.stores.db.write(lambda conn: claim.renew(conn, "one", holds=True))
    for each in living(server):
        delete(server, each)
    assert collector(server, grace=86_400).remove_now() == []
    assert objects(server) == []
    assert not server.stores.db.write(lambda conn: claim.renew(conn, "one", holds=True))
