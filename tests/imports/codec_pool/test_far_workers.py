"""Codec workers of a server whose input and storage are on S3, which they have no rights to."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pydicom import dcmwrite
from sqlalchemy import text

from lightwell.clock import Ids
from tests.support import queued_units
from tests.support.ct_files import ct, write_series
from tests.support.imports import ROLE
from tests.support.server import Server, ended_job, running, until
from tests.support.services import S3, boto3_client, new_bucket
from tests.support.tcp_proxies import FaultyProxy

COUNT = 70


class Far:
    """A server on S3, which it reaches through ``way``, and one data store."""

    def __init__(self, server: Server, s3: Any, bucket: str, way: FaultyProxy) -> None:
        self.server, self.s3, self.bucket, self.way = server, s3, bucket, way
        self.client = server.client()
        self.datastore = self.client.create_datastore(datastoreName="far")["datastoreId"]

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def imported(self, prefix: str, **more: Any) -> dict[str, Any]:
        """The job as it ended."""
        return ended_job(self.client, self.datastore, self.start(prefix, **more))

    def start(self, prefix: str, **more: Any) -> str:
        job: str = self.client.start_dicom_import_job(
            datastoreId=self.datastore,
            dataAccessRoleArn=ROLE,
            clientToken=Ids().id(),
            inputS3Uri=f"s3://{self.bucket}/{prefix}",
            outputS3Uri=f"s3://{self.bucket}/out/",
            **more,
        )["jobId"]
        return job

    def report(self, job: dict[str, Any], name: str) -> list[bytes]:
        key = job["outputS3Uri"].removeprefix(f"s3://{self.bucket}/") + name
        lines: list[bytes] = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read().splitlines()
        return lines

    def packs(self) -> dict[str, str]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="objects/packs/").get("Contents", [])
        return {each["Key"]: each["ETag"] for each in listed}

    def spooled(self) -> list[Path]:
        return [path for path in (self.server.data / "spool").rglob("*") if path.is_file()]

    def workers(self) -> list[psutil.Process]:
        tree = psutil.Process(self.server.process.pid).children(recursive=True)
        found = []
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):  # or one that has been killed
                if "lightwell.codec_pool.worker_main" in process.cmdline():
                    found.append(process)
        return found


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, s3_server: S3) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("far")
    bucket, s3, way = new_bucket(s3_server), boto3_client(s3_server), FaultyProxy(s3_server.url)
    env = {
        **s3_server.environment,
        "LIGHTWELL_STORAGE_URL": f"s3://{bucket}/objects",
        "LIGHTWELL_STORAGE_ENDPOINT_URL": way.url,
        "LIGHTWELL_S3_ENDPOINT_URL": way.url,
        "LIGHTWELL_CODEC_WORKERS": "1",
    }
    with running(folder / "data", env=env) as server:
        found = Far(server, s3, bucket, way)
        for path in write_series(folder / "made", COUNT):
            found.put(f"a/{path.name}", path.read_bytes())
        large = ct(900, series="9")
        rows = np.random.default_rng(1).integers(0, 4096, (3000, 3000), "<u2")
        large.Rows, large.Columns = rows.shape[0], rows.shape[1]
        large.PixelData = rows.tobytes()
        buffer = io.BytesIO()
        dcmwrite(buffer, large, enforce_file_format=True)
        found.put("a/large.dcm", buffer.getvalue())
        yield found
    s3.close()
    way.end()


@pytest.fixture(scope="module")
def read(far: Far) -> dict[str, Any]:
    """The job that has imported everything below ``a/``, a file of more than one part included."""
    job = far.imported("a/")
    assert job["jobStatus"] == "COMPLETED", job
    return job


def test_imports_small_and_large_files(far: Far, read: dict[str, Any]) -> None:
    assert len(far.report(read, "SUCCESS/success.ndjson")) == COUNT + 1
    assert far.report(read, "FAILURE/failure.ndjson") == []
    assert far.packs()
    until(lambda: far.spooled() == [])


def test_has_no_rights_to_s3_and_no_connection(far: Far, read: dict[str, Any]) -> None:
    def examined(process: psutil.Process) -> bool:
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes().decode()
            connections = process.net_connections("inet")
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            return False  # it has had nothing to do for a minute, and has ended
        assert "PATH=" in environment and "AWS_" not in environment and "LIGHTWELL_" not in environment
        assert connections == []
        if not any("confined less" in line for line in far.server.err):
            assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
        return True

    if not any([examined(process) for process in far.workers()]):
        far.imported("a/")
        assert any([examined(process) for process in far.workers()])


def test_stores_nothing_twice_and_compares_what_is_there(far: Far, read: dict[str, Any]) -> None:
    before = far.packs()
    job = far.imported("a/")
    assert len(far.report(job, "SUCCESS/success.ndjson")) == COUNT + 1
    assert far.packs() == before


def test_fails_what_is_damaged_and_what_is_no_dicom(far: Far, read: dict[str, Any]) -> None:
    data = far.s3.get_object(Bucket=far.bucket, Key="a/large.dcm")["Body"].read()
    far.put("b/1.dcm", data)
    far.put("b/2.dcm", data[:200])
    far.put("b/3.txt", b"no DICOM")
    job = far.imported("b/")
    assert job["jobStatus"] == "COMPLETED"
    assert [b"b/1.dcm" in line for line in far.report(job, "SUCCESS/success.ndjson")] == [True]
    assert len(far.report(job, "FAILURE/failure.ndjson")) == 2


def test_applies_overrides_that_are_on_s3(far: Far, read: dict[str, Any]) -> None:
    instance = ct(500, study="2")
    buffer = io.BytesIO()
    dcmwrite(buffer, instance, enforce_file_format=True)
    far.put("c/1.dcm", buffer.getvalue())
    far.put("c/new.json", b'{"00100020": {"vr": "LO", "Value": ["OVERRIDDEN"]}}')
    mapping = {"studyInstanceUID": instance.StudyInstanceUID, "metadataFilePath": "new.json"}
    configuration = {"dicomJsonMetadataImportConfiguration": {"dicomMetadataMappings": [mapping]}}
    job = far.imported("c/", importConfiguration=configuration)
    assert len(far.report(job, "SUCCESS/success.ndjson")) == 1, far.report(job, "FAILURE/failure.ndjson")
    filters = {"filters": [{"values": [{"DICOMPatientId": "OVERRIDDEN"}], "operator": "EQUAL"}]}
    found = far.client.search_image_sets(datastoreId=far.datastore, searchCriteria=filters)
    assert len(found["imageSetsMetadataSummaries"]) == 1


def test_loses_nothing_when_its_worker_is_killed(far: Far, read: dict[str, Any], tmp_path: Path) -> None:
    for path in write_series(tmp_path, COUNT, study="7"):
        far.put(f"d/{path.name}", path.read_bytes())
    known: set[int] = set()
    job = far.start("d/")

    def may_go_on() -> bool:
        """Another worker has come, and has read the file at which one died: twice would fail it."""
        with far.server.database() as db, db.read() as conn:
            blamed = conn.execute(text(queued_units.BLAMED)).scalar()
        is_new = any(process.pid not in known for process in far.workers())
        return (is_new and not blamed) or is_over()

    def is_over() -> bool:
        found = far.client.get_dicom_import_job(datastoreId=far.datastore, jobId=job)["jobProperties"]
        return bool(found["jobStatus"] not in ("SUBMITTED", "IN_PROGRESS"))

    until(lambda: any(path.startswith(f"/{far.bucket}/d/") for _, path in far.way.requests))
    kills = 0
    for _ in range(3):
        until(may_go_on)
        held = threading.Event()
        far.way.holds.append(held)
        try:
            until(lambda: not far.way.holds or is_over())
            kills += not is_over()
            for process in far.workers():
                known.add(process.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        finally:
            held.set()
    assert kills
    ended = ended_job(far.client, far.datastore, job)
    assert len(far.report(ended, "SUCCESS/success.ndjson")) == COUNT
    assert far.report(ended, "FAILURE/failure.ndjson") == []
    until(lambda: far.spooled() == [])
