"""Several servers on one PostgreSQL database: whose folders a job reads, and whose root key holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from lightwell.domain.states import JobPhase
from tests.support import invariants
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing, importing, taken
from tests.support.services import S3, boto3_client


@pytest.fixture
def pair(tmp_path: Path, migrated_postgres_url: str) -> Iterator[tuple[Importing, Importing]]:
    """Two servers with one database and one object storage, and each with folders of its own."""
    storage = (tmp_path / "objects").as_uri()
    made = [importing(tmp_path / name, migrated_postgres_url, storage_url=storage) for name in ("a", "b")]
    assert made[0].datastore == made[1].datastore
    yield made[0], made[1]
    for each in made:
        each.close()


def finish(server: Importing, id: str) -> None:
    """Have one server work until this job is over, whatever becomes of others."""
    import threading

    engine = server.engine()
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        until = time.monotonic() + 120
        while server.job(id).phase != JobPhase.DONE:
            assert time.monotonic() < until, server.job(id)
            time.sleep(0.02)
    finally:
        engine.stop()
        thread.join()


def test_leaves_a_job_on_local_buckets_to_the_server_that_took_it(pair: tuple[Importing, Importing]) -> None:
    a, b = pair
    write_series(a.input, 12)
    write(b.input / "other.dcm", ct(1, study="2"))
    ours, theirs = a.start(), b.start()
    assert ours.input_node == ours.output_node == a.stores.node_id
    finish(b, theirs.id)
    assert a.job(ours.id).phase == JobPhase.LIST, "b has worked and has not touched it"
    assert b.report(theirs.id).manifest["numberOfImportedFiles"] == 1
    finish(a, ours.id)
    report = a.report(ours.id)
    assert report.manifest["numberOfImportedFiles"] == 12 and not report.failure
    assert not list(b.output.glob(f"res/*{ours.id}"))
    invariants.check(a.stores)


def test_leaves_the_chunks_of_a_local_bucket_to_the_server_that_took_the_job(
    pair: tuple[Importing, Importing],
) -> None:
    a, b = pair
    write_series(a.input, 12)
    write(b.input / "other.dcm", ct(1, study="2"))
    ours = a.start()
    engine = a.engine()
    engine._phases.work(taken(engine, JobPhase.LIST))
    assert a.job(ours.id).phase == "read"
    finish(b, b.start().id)
    assert (a.job(ours.id).phase, a.job(ours.id).read) == ("read", 0)
    finish(a, ours.id)
    assert a.report(ours.id).manifest["numberOfImportedFiles"] == 12


def test_reads_a_bucket_of_s3_whatever_folders_the_reader_has(
    pair: tuple[Importing, Importing], s3_endpoint: S3
) -> None:
    a, b = (
        replace(each, settings=replace(each.settings, s3_endpoint_url=s3_endpoint.url), stores=stores)
        for each in pair
        for stores in [
            replace(each.stores, buckets=type(each.stores.buckets)(each.settings.buckets, s3_endpoint.url))
        ]
    )
    a = replace(a, context=replace(a.context, stores=a.stores, settings=a.settings))
    client = boto3_client(s3_endpoint)
    name = f"far-{time.monotonic_ns()}"
    for bucket in (name, f"{name}-out"):
        client.create_bucket(Bucket=bucket)
    source = a.settings.data / "made"
    for path in write_series(source, 5):
        client.put_object(Bucket=name, Key=path.name, Body=path.read_bytes())
    write(b.settings.buckets / name / "0001.dcm", ct(77, study="9"))
    (b.settings.buckets / f"{name}-out").mkdir()
    job = a.start(input_uri=f"s3://{name}/", output=f"s3://{name}-out/res")
    assert (job.input_node, job.output_node) == ("", "")
    finish(b, job.id)
    folder = a.job(job.id).output_uri.removeprefix(f"s3://{name}-out/")
    success = client.get_object(Bucket=f"{name}-out", Key=f"{folder}SUCCESS/success.ndjson")["Body"].read()
    client.close()
    assert len(success.splitlines()) == 5
    assert not list((b.settings.buckets / f"{name}-out").iterdir())
    with a.stores.db.read() as conn:
        assert conn.execute(text("SELECT count(*) FROM record")).scalar() == 5


def test_keeps_the_id_of_a_data_folder(pair: tuple[Importing, Importing]) -> None:
    a, b = pair
    first = a.stores.node_id
    assert first and first != b.stores.node_id
    again = importing(a.settings.data, a.settings.database)
    assert again.stores.node_id == first
    again.close()


def test_has_no_nodes_on_sqlite(sqlite: Importing) -> None:
    write_series(sqlite.input, 1)
    job = sqlite.start()
    assert (job.input_node, job.output_node) == (None, None)
    assert not (sqlite.settings.data / "node.id").exists()
