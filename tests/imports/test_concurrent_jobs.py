"""Imports at the same time, far buckets, and commits that cannot be done."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from lightwell.domain.image_sets.frame_table import PAGE
from lightwell.ingest import merge
from lightwell.stores.buckets.fetched import Fetched
from lightwell.stores.buckets.registry import Buckets
from lightwell.stores.db import tables
from lightwell.stores.image_sets import importing, records
from tests.support import invariants
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing, exported
from tests.support.services import S3


def test_lets_several_jobs_bring_one_series_at_once(server: Importing) -> None:
    server = replace(server, settings=replace(server.settings, codec_workers=2))
    for part in range(4):
        for number in range(6):
            write(server.input / f"{part}" / f"{number}.dcm", ct(4 * number + part))
        write(server.input / f"{part}" / "same.dcm", ct(99))
    jobs = [server.start(f"{part}/") for part in range(4)]
    server.work()
    reports = [server.report(job.id) for job in jobs]
    assert [r.manifest["numberOfImportedFiles"] for r in reports] == [7] * 4
    versions = sorted(s["imageSetVersion"] for r in reports for s in r.manifest["imageSetsSummary"])
    assert versions == [1, 2, 3, 4]
    with server.stores.db.read() as conn:
        row = conn.execute(select(tables.image_set)).one()
    assert row.instance_count == 25
    invariants.check(server.stores)
    server.close()


def test_keeps_a_frame_table_of_many_pages(sqlite: Importing) -> None:
    frames = 2 * PAGE + 3
    write(
        sqlite.input / "many.dcm", ct(1, size=4, NumberOfFrames=frames, PixelData=bytes(range(32)) * frames)
    )
    report = sqlite.run()
    assert report.manifest["numberOfImportedFiles"] == 1 and not report.warning
    with sqlite.stores.db.read() as conn:
        assert conn.execute(select(tables.pixels.c.frame_count)).scalar() == frames
        assert conn.execute(select(func.count()).select_from(tables.frame_table)).scalar() == 3
    invariants.check(sqlite.stores, decode=True)


def test_records_a_commit_that_fails_for_good(server: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(server.input / "a", 2)
    write(server.input / "b" / "1.dcm", ct(8))
    write(server.input / "b" / "2.dcm", ct(1, study="2"))
    server.run("a/")
    grow = merge._grow
    monkeypatch.setattr(merge, "_grow", lambda *a, **k: 1 / 0)
    report = server.run("b/")
    monkeypatch.setattr(merge, "_grow", grow)
    assert report.manifest["numberOfImportedFiles"] == 1, "the other series goes on"
    assert report.manifest["numberOfFilesWithServerError"] == 1
    with server.stores.db.read() as conn:
        failed = conn.execute(
            select(tables.version).where(tables.version.c.workflow_status == "IMPORT_FAILED")
        ).one()
        row = conn.execute(select(tables.image_set).where(tables.image_set.c.key == failed.image_set)).one()
    assert (failed.number, row.readable_version, row.latest_version, row.instance_count) == (2, 2, 2, 2)
    assert failed.message
    invariants.check(server.stores)
    assert server.run("b/").manifest["imageSetsSummary"][0]["imageSetVersion"] == 3


def test_fails_only_the_file_whose_row_the_database_refuses(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(server.input, 6)
    insert = records.insert

    def spoiled(conn: Any, datastore: int, new: Any, keys: Any, dictionaries: Any) -> None:
        bad = [replace(r, sop_instance_uid=None) if r.input_file == "0003.dcm" else r for r in new]
        insert(conn, datastore, bad, keys, dictionaries)

    monkeypatch.setattr(records, "insert", spoiled)
    report = server.run()
    assert list(report.messages()) == ["0003.dcm"]
    assert report.manifest["numberOfImportedFiles"] == 5
    invariants.check(server.stores)


def test_imports_from_and_reports_to_real_s3(
    sqlite: Importing, s3_endpoint: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=s3_endpoint.url, region_name="us-east-1")
    client.create_bucket(Bucket="far-in")
    client.create_bucket(Bucket="far-out")
    for number in range(1, 31):
        path = write(sqlite.settings.data / "made" / f"{number}.dcm", ct(number, ImageComments="older"))
        client.upload_file(str(path), "far-in", f"ct/ü {number:02}.dcm")
    big = write(sqlite.settings.data / "made" / "big.dcm", ct(31, size=3000))
    client.upload_file(str(big), "far-in", "ct/big.dcm")
    client.put_object(Bucket="far-in", Key="ct/bad.dcm", Body=b"no DICOM")
    server = replace(sqlite, settings=replace(sqlite.settings, s3_endpoint_url=s3_endpoint.url))
    server.stores.buckets.endpoint_url = s3_endpoint.url
    newer, fetch = (
        write(sqlite.settings.data / "made" / "newer.dcm", ct(5, ImageComments="newer")),
        Buckets.fetch_tagged,
    )

    def replacing(buckets: Buckets, bucket: str, key: str, **more: Any) -> Fetched:
        if key == "ct/ü 05.dcm":
            client.upload_file(str(newer), "far-in", key)
        return fetch(buckets, bucket, key, **more)

    monkeypatch.setattr(Buckets, "fetch_tagged", replacing)
    job = server.start(input_uri="s3://far-in/ct/", output="s3://far-out/res/")
    server.work()
    job = server.job(job.id)
    assert job.status == "COMPLETED", job.message
    assert (job.scanned, job.read) == (32, 32)
    prefix = job.output_uri.removeprefix("s3://far-out/")
    success = client.get_object(Bucket="far-out", Key=f"{prefix}SUCCESS/success.ndjson")["Body"].read()
    failure = client.get_object(Bucket="far-out", Key=f"{prefix}FAILURE/failure.ndjson")["Body"].read()
    assert len(success.splitlines()) == 31
    assert len(failure.splitlines()) == 1
    warning = client.get_object(Bucket="far-out", Key=f"{prefix}WARNING/warning.ndjson")["Body"].read()
    (line,) = map(json.loads, warning.splitlines())
    assert line["inputFile"] == "ct/ü 05.dcm", "of an object that was replaced after it had been listed"
    assert "was replaced" in line["importResponse"]["warnings"][0]["message"]
    files = exported(server, line["importResponse"]["imageSetId"])
    assert files[ct(5).SOPInstanceUID].ImageComments == "newer"
    assert not list(server.stores.spool.rglob("*.dcm"))
    invariants.check(server.stores)
    assert _failed(server, "s3://far-none/x/")
    assert _failed(server, "s3://far-in/none/")
    server.close()


def _failed(server: Importing, uri: str) -> str:
    job = server.start(input_uri=uri, output="s3://far-out/res/")
    server.work()
    job = server.job(job.id)
    assert job.status == "FAILED"
    return job.message or ""


def test_grows_a_big_set_by_few_statements(server: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more instance costs no statement more in a set of 40 than in one of 1."""
    from sqlalchemy import event

    write_series(server.input / "a", 1)
    write(server.input / "b" / "1.dcm", ct(1001))
    write_series(server.input / "c", 40)
    write(server.input / "d" / "1.dcm", ct(1002))
    counts: list[int] = []
    commit = merge.commit

    def counting(merging: merge.Merge, groups: Any) -> None:
        statements: list[str] = []
        listen = lambda *a: statements.append(a[2])  # noqa: E731
        event.listen(merging.conn, "before_cursor_execute", listen)
        commit(merging, groups)
        event.remove(merging.conn, "before_cursor_execute", listen)
        counts.append(len(statements))

    monkeypatch.setattr(merge, "commit", counting)
    for prefix in "abcd":
        server.run(f"{prefix}/")
    assert counts[1] == counts[3]
    assert importing is not None
    invariants.check(server.stores)
