"""What `lightwell data verify` finds."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from lightwell.codec_pool import checking
from lightwell.codec_pool.messages import RecordsChecked
from lightwell.codec_pool.slot import WorkerSlot
from lightwell.domain.image_sets.frame_table import unpack_entries
from lightwell.domain.integrity import FaultKind, IntegrityFault, MadeChecks
from lightwell.stores.collector import integrity
from lightwell.stores.db import tables
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.wire import shapes
from lightwell.work.checksum_filling import ChecksumFiller
from lightwell.work.verifying.packs import VerifyWorker
from lightwell.work.verifying.report import Report
from lightwell.work.verifying.run import Verifier
from tests.encryption import everywhere
from tests.encryption.pack_files import place_of
from tests.support.collector import living
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.imports import Importing, importing
from tests.support.services import S3, new_bucket


def verify(server: Importing, *, quick: bool = False) -> Report:
    shown: list[tuple[int, int]] = []
    report = Verifier(
        server.stores,
        server.settings,
        lambda done, total: shown.append((done, total)),
        mode="quick" if quick else "all",
    ).run()
    # Beside the objects it reads the pages of the database.
    assert not shown or shown[-1][0] == shown[-1][1] >= report.bytes
    return report


def reasons(report: Report) -> set[str]:
    return {problem.reason for problem in report.problems}


@pytest.fixture
def made(server: Importing) -> str:
    """An image set of three slices."""
    write_series(server.input / "a", 3)
    server.run("a/")
    (id,) = living(server)
    return id


def pack_path(server: Importing) -> Path:
    (name,) = [name for name, _ in server.stores.objects.list("packs")]
    return server.settings.data / "objects" / name


def change(server: Importing, offset: int) -> None:
    """Turn a bit of the pack, of what was appended to it."""
    path = pack_path(server)
    place = place_of(server.stores, f"packs/{path.parent.name}/{path.name}", offset)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def execute(server: Importing, statement: Any) -> None:
    server.stores.db.write(lambda conn: conn.execute(statement))


def test_finds_nothing_wrong_with_what_was_just_stored(server: Importing, made: str) -> None:
    write(server.input / "b" / "x.dcm", ct(9, PatientName="ANOTHER^NAME"))
    server.run("b/")
    report = verify(server)
    assert report.problems == []
    assert (report.image_sets, report.packs, report.instances, report.frames) == (1, 2, 4, 4)


def test_finds_nothing_wrong_with_edited_sets(server: Importing, made: str) -> None:
    from lightwell.operations.update_image_set_metadata import update_image_set_metadata

    # A primary set is changed as a whole study, and of a series there is one.
    write(server.input / "b" / "x.dcm", ct(7, PatientID="P2"))
    server.run("b/")
    other = living(server)[1]
    blob = {
        "SchemaVersion": 1.1,
        "Patient": {"DICOM": {"PatientName": "NEW^NAME"}},
        "Study": {
            "Series": {f"{ROOT}.1.1": {"Instances": {f"{ROOT}.1.1.7": {"DICOM": {"InstanceNumber": 8}}}}}
        },
    }
    request = shapes.UpdateImageSetMetadataRequest(
        datastore_id=server.datastore,
        image_set_id=other,
        latest_version_id="1",
        force=True,
        update_image_set_metadata_updates=shapes.MetadataUpdates(
            dicom_updates=shapes.DICOMUpdates(updatable_attributes=json.dumps(blob).encode())
        ),
    )
    update_image_set_metadata(server.context, request)
    assert verify(server).problems == []


def test_finds_a_changed_frame(server: Importing, made: str) -> None:
    with server.stores.db.read() as conn:
        frame = unpack_entries(conn.execute(select(tables.frame_table.c.entries)).scalars().first() or b"")[0]
    change(server, frame.offset + frame.length - 8)
    found = verify(server)
    assert "its bytes have changed: its checksum differs" in reasons(found)
    named = [problem for problem in found.problems if problem.sop_instance_uid]
    assert named and all(problem.reason.startswith("frame 1 ") for problem in named)
    assert {(p.datastore_id, p.image_set_id) for p in named} == {(server.datastore, made)}
    assert reasons(verify(server, quick=True)) == {"its bytes have changed: its checksum differs"}


def test_finds_a_damaged_original(server: Importing, made: str) -> None:
    with server.stores.db.read() as conn:
        offset = conn.execute(select(func.min(tables.record.c.original_offset))).scalar_one()
    change(server, offset + 2)
    found = [problem.reason for problem in verify(server).problems if problem.sop_instance_uid]
    assert len(found) == 1 and found[0].startswith("its original cannot be read")


def test_finds_a_missing_and_a_short_pack(server: Importing, made: str) -> None:
    path = pack_path(server)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert f"it has {len(data) - 1} bytes, not {len(data)}" in reasons(verify(server))
    path.unlink()
    server.stores.objects.close()
    found = verify(server)
    assert "it does not exist" in reasons(found)
    assert {problem.image_set_id for problem in found.problems} == {None, made}


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (
            "fragment_z",
            "its attributes in the database differ from those of its original: InstanceNumber, "
            "MediaStorageSOPInstanceUID, SOPInstanceUID",
        ),
        (
            "dicom_z",
            "its DICOMweb attributes in the database differ from those of its original: InstanceNumber, "
            "SOPInstanceUID",
        ),
        (
            "patient_value",
            "its patient attributes in the database differ from those of its original: Modality, PatientID, "
            "PatientName, SeriesInstanceUID, SeriesNumber",
        ),
    ],
)
def test_finds_attributes_that_are_not_the_original_s(
    server: Importing, made: str, column: str, reason: str
) -> None:
    with server.stores.db.read() as conn:
        rows = conn.execute(select(tables.record).order_by(tables.record.c.instance_number)).all()
    # Those of another instance, or of another level, as no disk would damage them.
    other = rows[0].series_value if column == "patient_value" else getattr(rows[2], column)
    execute(
        server,
        update(tables.record).where(tables.record.c.key == rows[1].key).values({column: other}),
    )
    if everywhere.is_on() and column != "patient_value":  # each is sealed for its own row
        reason = (
            "its attributes cannot be read from the database (they are damaged, or those of another record)"
        )
    assert reason in reasons(verify(server))


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("pixels", "the database has lost its pixels"),
        ("frame_table", "the database has 0 of its 1 frames"),
        ("dictionary", "its attributes cannot be read from the database (their dictionary is lost)"),
        ("level_value", "its attributes cannot be read from the database (their patient block is lost)"),
    ],
)
def test_finds_lost_rows_of_records(server: Importing, made: str, table: str, reason: str) -> None:
    execute(server, delete(tables.metadata.tables[table]))
    assert reason in reasons(verify(server))


def test_finds_lost_and_wrong_rows_of_sets(server: Importing, made: str) -> None:
    t = tables
    with server.stores.db.read() as conn:
        first = conn.execute(select(func.min(t.instance.c.key))).scalar_one()
    execute(server, delete(t.instance).where(t.instance.c.key == first))
    execute(server, update(t.image_set).values(patient_name="WRONG", instance_count=7, latest_version=2))
    execute(server, delete(t.level).where(t.level.c.level == 2))
    found = reasons(verify(server, quick=True))
    assert "1 members name instances that are lost" in found
    assert "versions [2] are missing or superfluous" in found
    assert "its latest version has 3 instances, and it counts 7" in found
    assert any("lost a level block" in reason for reason in found)
    execute(server, update(t.image_set).values(instance_count=3, latest_version=1))


def test_finds_a_search_column_that_does_not_fit(server: Importing, made: str) -> None:
    execute(server, update(tables.image_set).values(patient_name="WRONG^NAME"))
    problems = verify(server, quick=True).problems
    assert {problem.image_set_id for problem in problems} == {made}
    assert sorted(problem.reason for problem in problems) == [
        "a search by patient_name does not find what its latest version shows",
        "patient_name of its study in DICOMweb's index differs",
        "patient_name_folded of its study in DICOMweb's index differs",
    ]


def test_goes_on_where_a_check_ends_its_process(
    server: Importing, made: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker that dies of the second record; it is started with a module that does so in its path."""
    with server.stores.db.read() as conn:
        keys = conn.execute(select(tables.record.c.key).order_by(tables.record.c.original_offset)).scalars()
        deadly = list(keys)[1]
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'lightwell.codec_pool.worker_main' in sys.orig_argv:\n"
        "    from lightwell.codec_pool import checking\n"
        "    whole = checking.Checker.record\n"
        "    def record(self, held, bodies):\n"
        f"        if held.key == {deadly}: os.abort()\n"
        "        return whole(self, held, bodies)\n"
        "    checking.Checker.record = record\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert hasattr(checking.Checker, "record")
    with server.stores.db.read() as conn:
        r = tables.record.c
        end = conn.execute(select(func.max(r.original_offset + r.original_length))).scalar_one()
    change(server, end - 1)  # the last original, behind the deadly record
    found = [p for p in verify(server).problems if p.sop_instance_uid]
    assert sorted(p.reason.split(":")[0] for p in found) == [
        "its original cannot be read",
        "the process that checked it ended",
    ]


def test_leaves_out_what_was_collected_meanwhile(server: Importing, made: str) -> None:
    pack_path(server).unlink()
    server.stores.objects.close()
    verifier = Verifier(server.stores, server.settings, lambda done, total: None)
    verifier.begin()
    while not verifier.step():
        pass
    assert verifier.report().problems
    execute(server, update(tables.pack).values(state="doomed"))
    assert verifier.report().problems == []
    verifier.close()


def test_names_no_pack_twice(server: Importing, made: str) -> None:
    with server.stores.db.read() as conn:
        key = conn.execute(select(tables.pack.c.key)).scalar_one()
    change(server, 0)
    found = [problem.pack for problem in verify(server, quick=True).problems]
    assert found == [pack_name(key)]


def checks(server: Importing) -> list[bytes | None]:
    query = select(tables.frame_table.c.checks).order_by(tables.frame_table.c.pixels)
    with server.stores.db.read() as conn:
        return list(conn.execute(query).scalars())


def fill_checksums(server: Importing) -> None:
    filler = ChecksumFiller(server.stores, server.settings, threading.Event())
    try:
        filler.step(60.0)
        filler.step(60.0)
    finally:
        filler.close()


def test_makes_checksums_of_what_is_intact_and_blesses_no_damage(server: Importing, made: str) -> None:
    first = checks(server)
    assert None not in first and verify(server).frames_without_checksum == 0
    execute(server, update(tables.frame_table).values(checks=None))
    with server.stores.db.read() as conn:
        table = tables.frame_table.c
        entries = conn.execute(select(table.entries).order_by(table.pixels)).scalars().first()
    frame = unpack_entries(entries or b"")[0]
    change(server, frame.offset + frame.length - 8)
    assert verify(server, quick=True).frames_without_checksum == 3
    fill_checksums(server)
    assert checks(server) == [None, *first[1:]]
    report = verify(server)
    assert (report.frames_checksummed, report.frames_without_checksum) == (0, 1)
    change(server, frame.offset + frame.length - 8)
    report = verify(server)
    assert (report.frames_checksummed, report.frames_without_checksum, report.problems) == (1, 0, [])
    assert checks(server) == first


def test_makes_checksums_of_what_is_in_s3(tmp_path: Path, migrated_sqlite_url: str, s3_endpoint: S3) -> None:
    bucket = new_bucket(s3_endpoint)
    server = importing(
        tmp_path / "data",
        migrated_sqlite_url,
        storage_url=f"s3://{bucket}/objects",
        storage_endpoint_url=s3_endpoint.url,
    )
    try:
        write_series(server.input / "a", 3)
        server.run("a/")
        first = checks(server)
        execute(server, update(tables.frame_table).values(checks=None))
        fill_checksums(server)
        assert checks(server) == first and None not in first
    finally:
        server.close()


def test_finds_bytes_that_are_not_the_stored_ones_though_they_decode_alike(
    server: Importing, made: str
) -> None:
    found = checks(server)[0] or b""
    execute(server, update(tables.frame_table).values(checks=bytes([*found[:1], found[1] ^ 1, *found[2:]])))
    assert any("has other bytes than were stored" in reason for reason in reasons(verify(server)))


def test_a_storage_that_is_away_is_no_damage(
    server: Importing, made: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = checks(server)
    execute(server, update(tables.frame_table).values(checks=None))
    filler = ChecksumFiller(server.stores, server.settings, threading.Event())
    away = [IntegrityFault("frame 1 cannot be read: S3 is away", FaultKind.UNREADABLE)]
    with monkeypatch.context() as patched:
        patched.setattr(VerifyWorker, "check_frames", lambda self, rows: [(rows[0], each) for each in away])
        filler.step(60.0)
    assert "wait for the storage: frame 1 cannot be read" in caplog.text and "damaged" not in caplog.text
    filler._not_before = 0.0  # a minute later
    try:
        filler.step(60.0)
    finally:
        filler.close()
    assert checks(server) == first


def test_keeps_no_checks_that_a_worker_was_not_asked_for(
    server: Importing, made: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As from a worker that a file has taken over."""
    first = checks(server)
    execute(server, update(tables.frame_table).values(checks=None))
    with server.stores.db.read() as conn:
        rows = integrity.unchecked(conn, (-1, -1), 10)
    asked, others = rows[:2], rows[2:]
    forged = [MadeChecks(others[0].key, 0, first[0] or b"")]
    forged += [MadeChecks(asked[0].key, 0, data) for data in (b"", b"\x00", (first[0] or b"") + b"x")]
    forged += [MadeChecks(asked[0].key, 256, first[0] or b"")]
    monkeypatch.setattr(WorkerSlot, "receive", lambda self: RecordsChecked(1, [], 2, forged))
    monkeypatch.setattr(WorkerSlot, "send", lambda self, message: None)
    worker = VerifyWorker(server.stores, server.settings, threading.Event())
    try:
        assert worker.check_frames(asked) == []
    finally:
        worker.close()
    assert checks(server) == [None] * 3
    assert "nobody had asked for" in caplog.text
