"""Servers that only serve HTTP, and workers that only work: what each does, refuses and gives back."""

from __future__ import annotations

import http.client
import io
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from botocore.exceptions import ClientError
from sqlalchemy import text

from tests.cli.running import lightwell
from tests.many.deployment import Deployment
from tests.support import services
from tests.support.ct_files import ct, write_series
from tests.support.server import Server, until
from tests.support.tcp_proxies import FaultyProxy


def series(folder: Path, count: int) -> dict[str, bytes]:
    """Objects of an input bucket: ``in/…`` → the bytes of a file."""
    return {f"in/{path.name}": path.read_bytes() for path in write_series(folder, count)}


def dicomweb(server: Server, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """The status and the body of a signed request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = server.send(server.signed(method, path, body, headers=named))
    return reply.status, reply.body


def stow(server: Server, datastore: str, data: bytes) -> tuple[int, bytes]:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    return dicomweb(
        server,
        "POST",
        f"/datastore/{datastore}/studies",
        body,
        content_type=kind,
        accept="application/dicom+json",
    )


def one_file(number: int, study: str) -> bytes:
    stream = io.BytesIO()
    ct(number, study=study).save_as(stream)
    return stream.getvalue()


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call()
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_imports_through_one_server_what_the_other_serves(many: Deployment, tmp_path: Path) -> None:
    a, b = many.servers[:2]
    files = series(tmp_path / "in", 70)
    bucket = many.input_bucket(files)
    datastore = many.datastore(a)
    job = many.ended(datastore, many.start_import(datastore, bucket, a), b)
    assert job["jobStatus"] == "COMPLETED"
    client = services.boto3_client(many.s3)
    folder = job["outputS3Uri"].removeprefix(f"s3://{bucket}/")
    manifest = client.get_object(Bucket=bucket, Key=f"{folder}job-output-manifest.json")["Body"].read()
    client.close()
    assert json.loads(manifest)["jobSummary"]["numberOfImportedFiles"] == len(files)
    for name in list(files)[-2:]:
        sent = pydicom.dcmread(io.BytesIO(files[name]))
        path = (
            f"/datastore/{datastore}/studies/{sent.StudyInstanceUID}/series/{sent.SeriesInstanceUID}"
            f"/instances/{sent.SOPInstanceUID}"
        )
        status, body = dicomweb(
            b, "GET", path, accept="application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
        )
        assert status == 200
        assert pydicom.dcmread(io.BytesIO(body)).PixelData == sent.PixelData
        assert dicomweb(b, "GET", f"{path}/rendered", accept="image/jpeg")[0] == 200
    for server in many.servers[:2]:
        names = {path.name for path in server.data.iterdir()}
        assert not names & {"lightwell.db", "objects", "engine.lock", "events.ndjson", "secret.key"}, names


def test_stores_with_the_codec_workers_of_a_server_without_work(many: Deployment) -> None:
    a, b = many.servers[:2]
    datastore = many.datastore(a)
    data = one_file(1, "7")
    assert stow(a, datastore, data)[0] == 200
    sent = pydicom.dcmread(io.BytesIO(data))
    assert stow(b, datastore, data)[0] == 200, "again, to the other server"
    status, body = dicomweb(b, "GET", f"/datastore/{datastore}/studies/{sent.StudyInstanceUID}/metadata")
    assert status == 200 and len(json.loads(body)) == 1


def test_refuses_what_needs_codec_workers_where_there_are_none(many: Deployment) -> None:
    bare = many.server("bare", "--pool", "none")
    datastore = many.datastore(bare)
    data = one_file(2, "8")
    status, body = stow(bare, datastore, data)
    assert status == 501 and b"pool = none" in body
    assert stow(many.servers[0], datastore, data)[0] == 200
    sent = pydicom.dcmread(io.BytesIO(data))
    study = f"/datastore/{datastore}/studies/{sent.StudyInstanceUID}"
    path = f"{study}/series/{sent.SeriesInstanceUID}/instances/{sent.SOPInstanceUID}"
    status, body = dicomweb(bare, "GET", f"{path}/rendered", accept="image/png")
    assert status == 501 and b"pool = none" in body
    assert dicomweb(bare, "GET", f"{path}/frames/1", accept="*/*")[0] == 200
    assert bare.stop() == 0
    many.servers.remove(bare)


def test_refuses_a_local_bucket_of_a_server_without_work_unless_a_worker_shares_its_folder(
    deploy: Callable[..., Deployment],
) -> None:
    own = deploy()
    server = own.server("c")
    for name in ("local-in", "local-out"):
        (server.data / "buckets" / name).mkdir()
    write_series(server.data / "buckets" / "local-in", 3)
    datastore = own.datastore()

    def start() -> str:
        started = server.client().start_dicom_import_job(
            datastoreId=datastore, clientToken=uuid.uuid4().hex,
            dataAccessRoleArn="arn:aws:iam::000000000000:role/r",
            inputS3Uri="s3://local-in/", outputS3Uri="s3://local-out/",
        )  # fmt: skip
        return str(started["jobId"])

    code, message = refusal(start)
    assert code == "ValidationException"
    assert "does no background work" in message and "lightwell worker" in message
    worker = own.worker("c")
    again = lightwell("worker", data=server.data, environ=own.environment)
    assert again.status == 1 and "Process " in again.err and "--data" in again.err
    job = start()
    assert own.ended(datastore, job)["jobStatus"] == "COMPLETED"
    assert worker.stop() == 0
    assert not worker.data.with_suffix(".ready").exists()
    # What was accepted meanwhile waits for the next worker there, and the doctor says so.
    with server.database() as db:
        db.write(
            lambda conn: conn.execute(text("UPDATE import_job SET phase = 'list', status = 'SUBMITTED'"))
        )
    (row,) = [
        row
        for row in lightwell(
            "doctor", "--port", "0", "--json", data=server.data, environ=own.environment
        ).json()
        if row["check"] == "jobs"
    ]
    assert row["ok"] is False and str(server.data) in row["says"]


class _HoldsHalf(FaultyProxy):
    """From the 150th file that is asked for on, no answer comes."""

    _files = 0

    def asked(self, link: Any, data: bytes) -> None:
        if data.startswith(b"GET ") and b"/in/" in data.partition(b"\r\n")[0]:
            with self._lock:
                self._files += 1
                self.swallows = self._files >= 150
        super().asked(link, data)


def test_a_worker_gives_back_what_it_holds(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    own = deploy()
    server = own.server("c")
    way = _HoldsHalf(own.s3.url)
    worker = own.worker("w1", LIGHTWELL_S3_ENDPOINT_URL=way.url)
    files = series(tmp_path / "in", 300)
    bucket = own.input_bucket(files)
    datastore = own.datastore()
    job = own.start_import(datastore, bucket)

    def ask(sql: str) -> int:
        with server.database() as db, db.read() as conn:
            return int(conn.execute(text(sql)).scalar() or 0)

    until(lambda: ask("SELECT count(*) FROM staged") > 0)
    until(lambda: way.swallows)
    assert ask("SELECT count(*) FROM unit WHERE state = 'claimed'") > 0
    assert worker.stop() == 0
    way.end()
    assert ask("SELECT count(*) FROM unit WHERE state = 'claimed'") == 0
    assert ask("SELECT count(*) FROM server WHERE role = 'worker' AND run IS NOT NULL") == 0
    # Now nobody works, which everybody who asks is told.
    done = lightwell("doctor", "--json", data=server.data, environ=own.environment)
    (jobs,) = (row for row in json.loads(done.out) if row["check"] == "jobs")
    assert (
        not jobs["ok"]
        and jobs["says"] == "1 import job waits, but nobody works: start `lightwell worker` somewhere"
    )
    done = lightwell("queue", "list", data=server.data, environ=own.environment)
    assert jobs["says"] in done.err and job in done.out

    def waiting() -> float:
        lines = server.call("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("lightwell_queue_ready_units"))

    until(lambda: waiting() > 0)
    own.worker("w2")
    assert own.ended(datastore, job)["jobStatus"] == "COMPLETED"
    assert ask("SELECT count(*) FROM member WHERE valid_to IS NULL") == len(files)


def test_a_worker_answers_probes(many: Deployment) -> None:
    (port,) = services.free_ports(1)
    worker = many.worker("probed", "--status-port", str(port))
    url = f"http://127.0.0.1:{port}"
    assert worker.log.read_text().rstrip().endswith(f"status at {url}")

    def ask(path: str, method: str = "GET") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request(method, path)
        with connection.getresponse() as response:
            found = response.status, response.read()
        connection.close()
        return found

    assert ask("/healthz") == (200, b'{"status":"ok"}')
    status, body = ask("/readyz")
    checks = dict.fromkeys(["database", "schema", "storage", "audit"], "ok")
    assert (status, json.loads(body)["checks"]) == (200, checks)
    assert b"lightwell_import_files_total" in ask("/metrics")[1]
    assert (ask("/datastore")[0], ask("/healthz", "POST")[0]) == (404, 405)
    assert worker.stop() == 0
    many.workers.remove(worker)


def test_refuses_a_storage_of_this_machine(many: Deployment, tmp_path: Path) -> None:
    alone = {**many.environment, "LIGHTWELL_STORAGE_URL": ""}
    for verb in (("worker",), ("serve", "--no-work", "--port", "0")):
        done = lightwell(*verb, data=tmp_path / "data", environ=alone)
        assert done.status == 2 and "LIGHTWELL_STORAGE_URL" in done.err, done
        assert str(tmp_path / "data") in done.err and str(many.servers[0].data) in done.err


def test_refuses_roles_that_cannot_work(tmp_path: Path) -> None:
    alone = lightwell("worker", data=tmp_path / "data")
    assert alone.status == 2 and "LIGHTWELL_DATABASE_URL" in alone.err
    idle = lightwell("serve", "--no-work", "--port", "0", data=tmp_path / "data")
    assert idle.status == 2 and "lightwell worker" in idle.err
    assert not (tmp_path / "data").exists()
