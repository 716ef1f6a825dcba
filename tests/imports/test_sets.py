"""Which image sets an import makes (devguide/understanding-image-sets, docs/design/versions.md)."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from lightwell.domain.image_sets.frame_table import frame_id
from lightwell.operations.get_image_frame import FrameReader
from lightwell.stores.db import tables
from lightwell.stores.objects.pack_objects import pack_name
from tests.support import invariants
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.imports import Importing


def test_makes_one_primary_set_of_a_series(server: Importing) -> None:
    write_series(server.input / "a", 5)
    report = server.run("a/")
    assert report.manifest["numberOfScannedFiles"] == report.manifest["numberOfImportedFiles"] == 5
    (made,) = report.manifest["imageSetsSummary"]
    assert (made["imageSetVersion"], made["isPrimary"], made["numberOfMatchedSOPInstances"]) == (1, True, 5)
    assert [line["inputFile"] for line in report.success] == [f"a/{n:04}.dcm" for n in range(1, 6)]
    assert {line["importResponse"]["imageSetId"] for line in report.success} == {made["imageSetId"]}
    assert report.failure == report.warning == []
    invariants.check(server.stores, decode=True)


def test_grows_the_primary_set_by_another_import(server: Importing) -> None:
    write_series(server.input / "a", 3)
    write(server.input / "b" / "x.dcm", ct(9))
    first, second = server.run("a/"), server.run("b/")
    assert (
        first.manifest["imageSetsSummary"][0]["imageSetId"]
        == second.manifest["imageSetsSummary"][0]["imageSetId"]
    )
    assert second.manifest["imageSetsSummary"][0]["imageSetVersion"] == 2
    with server.stores.db.read() as conn:
        row = conn.execute(select(tables.image_set)).one()
        statuses = conn.execute(select(tables.version.c.workflow_status).order_by(tables.version.c.number))
        assert statuses.scalars().all() == ["CREATED", "IMPORTED"]
    assert (row.instance_count, row.latest_version, row.readable_version) == (4, 2, 2)
    invariants.check(server.stores)


def test_the_storage_is_told_the_packs_of_a_set_in_the_order_of_its_instances(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, number in (("a", 7), ("b", 2), ("c", 5)):
        write(server.input / folder / "x.dcm", ct(number))
        server.run(f"{folder}/")
    with server.stores.db.read() as conn:
        key, id = conn.execute(select(tables.image_set.c.key, tables.image_set.c.id)).one()
        rows = conn.execute(
            select(tables.pixels.c.key, tables.pack.c.key, tables.pack.c.size)
            .join(tables.pack, tables.pack.c.key == tables.pixels.c.pack)
            .join(tables.record, tables.record.c.pixels == tables.pixels.c.key)
            .order_by(tables.record.c.instance_number)
        ).all()
    told: list[object] = []
    monkeypatch.setattr(type(server.stores.objects), "follow", lambda _, objects: told.append(objects))
    reader = FrameReader(server.stores, server.context.clock)
    places = [reader.locate(server.datastore, id, frame_id(pixels, 0)) for pixels, _, _ in rows]
    assert [reader.is_walked(place) for place in places] == [False, True, False]
    reader.follow(key)
    assert told == [[(pack_name(pack), size) for _, pack, size in rows]] and len(rows) == 3


def test_lets_the_newest_copy_of_an_instance_replace_the_older(server: Importing) -> None:
    write_series(server.input / "a", 3)
    write(server.input / "b" / "x.dcm", ct(2, PatientName="NEW^NAME", SeriesDescription="again"))
    server.run("a/")
    report = server.run("b/")
    assert report.manifest["imageSetsSummary"][0]["imageSetVersion"] == 2
    with server.stores.db.read() as conn:
        row = conn.execute(select(tables.image_set)).one()
        closed = conn.execute(
            select(tables.member.c.valid_from, tables.member.c.valid_to).where(
                tables.member.c.valid_to.is_not(None)
            )
        ).all()
    assert row.instance_count == 3
    assert row.patient_name == "DOE^JANE", "the base stays while a member carries it"
    assert [tuple(c) for c in closed] == [(1, 2)]
    invariants.check(server.stores)


def test_passes_the_base_on_when_its_last_member_is_removed(server: Importing) -> None:
    write(server.input / "a" / "1.dcm", ct(1))
    write(server.input / "a" / "2.dcm", ct(2, PatientName="SECOND^NAME", StudyDescription="second"))
    write(server.input / "b" / "x.dcm", ct(1, PatientName="THIRD^NAME", Modality="MR"))
    server.run("a/")
    server.run("b/")
    with server.stores.db.read() as conn:
        row = conn.execute(select(tables.image_set)).one()
        levels = conn.execute(
            select(tables.level.c.level, tables.level.c.valid_from, tables.level.c.valid_to).order_by(
                tables.level.c.level, tables.level.c.valid_from
            )
        ).all()
    assert row.patient_name == "SECOND^NAME", "the oldest open member's"
    assert row.modality == "CT", "the second member carries the old series block"
    assert [tuple(n) for n in levels] == [(0, 1, 2), (0, 2, None), (1, 1, None), (2, 1, None)]
    invariants.check(server.stores)


def test_counts_both_of_two_files_with_one_uid_and_keeps_the_last(server: Importing) -> None:
    write(server.input / "a" / "1.dcm", ct(1, ImageComments="first"))
    write(server.input / "a" / "2.dcm", ct(1, ImageComments="last"))
    report = server.run("a/")
    assert report.manifest["numberOfImportedFiles"] == 2
    assert report.manifest["imageSetsSummary"][0]["numberOfMatchedSOPInstances"] == 2
    with server.stores.db.read() as conn:
        (record,) = conn.execute(select(tables.member.c.record)).scalars()
        staged = conn.execute(select(tables.record.c.key, tables.record.c.original_offset)).all()
    assert record == max(staged, key=lambda r: r.original_offset).key
    invariants.check(server.stores)


def test_puts_a_conflicting_patient_into_a_set_of_its_own(server: Importing) -> None:
    write_series(server.input / "a", 2)
    write(server.input / "b" / "x.dcm", ct(7, PatientID="P2"))
    write(server.input / "b" / "y.dcm", ct(8, PatientID="P2"))
    server.run("a/")
    report = server.run("b/")
    (made,) = report.manifest["imageSetsSummary"]
    assert (made["imageSetVersion"], made["isPrimary"]) == (1, False)
    assert all(line["importResponse"]["isPrimary"] is False for line in report.success)
    again = server.run("b/")
    (grown,) = again.manifest["imageSetsSummary"]
    assert (grown["imageSetId"], grown["imageSetVersion"]) == (made["imageSetId"], 2)
    invariants.check(server.stores)


def test_splits_one_job_by_the_grouping_values(server: Importing) -> None:
    for number, patient in enumerate(["P9", "P1", "P9", "P1"], 1):
        write(server.input / "a" / f"{number}.dcm", ct(number, PatientID=patient))
    report = server.run("a/")
    summary = [
        (s["isPrimary"], s["numberOfMatchedSOPInstances"]) for s in report.manifest["imageSetsSummary"]
    ]
    assert summary == [(True, 2), (False, 2)], "the first group in input order is primary"
    invariants.check(server.stores)


def test_treats_padding_and_absence_as_the_same_value(server: Importing) -> None:
    write(server.input / "a" / "1.dcm", ct(1, AccessionNumber="", StudyID="S1 "))
    without = ct(2, StudyID="S1")
    del without.AccessionNumber
    write(server.input / "a" / "2.dcm", without)
    assert len(server.run("a/").manifest["imageSetsSummary"]) == 1
    write(server.input / "a" / "3.dcm", ct(3, AccessionNumber=" "))
    assert server.run("a/").manifest["imageSetsSummary"][0]["imageSetVersion"] == 2
    invariants.check(server.stores)


def test_makes_no_second_primary_patient_in_a_study(server: Importing) -> None:
    write(server.input / "a" / "1.dcm", ct(1, series="1"))
    write(server.input / "b" / "1.dcm", ct(1, series="2", PatientID="OTHER"))
    write(server.input / "c" / "1.dcm", ct(1, series="3"))
    assert server.run("a/").manifest["imageSetsSummary"][0]["isPrimary"] is True
    assert server.run("b/").manifest["imageSetsSummary"][0]["isPrimary"] is False
    assert server.run("c/").manifest["imageSetsSummary"][0]["isPrimary"] is True
    with server.stores.db.read() as conn:
        assert conn.execute(select(tables.study.c.study_instance_uid)).scalars().all() == [f"{ROOT}.1"]
    invariants.check(server.stores)


def test_announces_every_set_and_every_step_of_the_job(server: Importing) -> None:
    write_series(server.input / "a", 1)
    server.run("a/")
    write_series(server.input / "a", 2)
    server.run("a/")
    server.close()
    lines = (server.settings.data / "events.ndjson").read_bytes().splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["detail-type"] for e in events] == [
        "Data Store Creating",
        "Data Store Created",
        "Import Job Submitted",
        "Import Job In Progress",
        "Image Set Created",
        "Import Job Completed",
        "Import Job Submitted",
        "Import Job In Progress",
        "Image Set Created",
        "Import Job Completed",
    ]
    sets = [e["detail"] for e in events if e["detail-type"] == "Image Set Created"]
    assert [(s["imageSetVersion"], s["imageSetWorkflowStatus"]) for s in sets] == [
        ("1", "CREATED"),
        ("2", "IMPORTED"),
    ]
    assert {e["detail"]["outputS3Uri"][-1] for e in events if "outputS3Uri" in e["detail"]} == {"/"}
