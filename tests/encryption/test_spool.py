"""What lies on the disk of a server that is killed while files arrive for an encrypted data store."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import psutil
import pytest

from lightwell.clock import Ids
from tests.console.uploading import begin, digest_of, put
from tests.dicomweb.support.uploads import RELATED, Store, head, part10, related
from tests.support.console import ConsoleClient
from tests.support.ct_files import ct
from tests.support.imports import ROLE
from tests.support.server import Server, ended_job, running, until
from tests.support.services import S3, boto3_client, new_bucket
from tests.support.tcp_proxies import FaultyProxy, _Link

NAME = "SECRET^PATIENT"
HALF = 9 << 20


class HalfwayProxy(FaultyProxy):
    """Of long answers, only half comes before ``goes_on`` is set."""

    def __init__(self, url: str) -> None:
        self.goes_on = threading.Event()
        super().__init__(url)

    def answered(self, link: _Link, data: bytes) -> bool:
        if link.sent > HALF:
            self.goes_on.wait()
        return super().answered(link, data)


def _large(series: str) -> tuple[bytes, list[bytes]]:
    """A multi-frame file of 18 MiB, and what nobody may find: the name, and pixels of its first half."""
    made = ct(1, series=series, size=256, PatientName=NAME, NumberOfFrames=144)
    pixels = np.random.default_rng(int(series)).integers(-1000, 2000, (144, 256, 256), np.int16).tobytes()
    made.PixelData = pixels
    return part10(made), [NAME.encode(), *(pixels[at : at + 24] for at in range(1000, HALF, 400_000))]


def _begun(store: Store, body: bytes) -> socket.socket:
    """A store request of which half was sent."""
    request = store.server.signed(
        "POST",
        store.path(),
        body,
        headers={"content-type": RELATED, "x-amz-content-sha256": sha256(body).hexdigest()},
    )
    names = dict(request.headers.items())
    names |= {"Host": "{}:{}".format(*store.server.address), "Content-Length": str(len(body))}
    sock = socket.create_connection(store.server.address)
    sock.sendall(head(store.server, store.path(), names) + body[: len(body) // 2])
    return sock


@pytest.fixture
def way(s3_server: S3) -> Iterator[HalfwayProxy]:
    way = HalfwayProxy(s3_server.url)
    yield way
    way.goes_on.set()
    way.end()


def _killed(server: Server) -> None:
    """Everything at once, as a machine that loses its power."""
    tree = psutil.Process(server.process.pid)
    for process in [tree, *tree.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    for process in [*tree.children(recursive=True), tree]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    server.process.wait()


def test_holds_nothing_readable_while_files_arrive_nor_after_a_kill(
    tmp_path: Path, s3_server: S3, way: HalfwayProxy
) -> None:
    bucket, s3 = new_bucket(s3_server), boto3_client(s3_server)
    (far, hidden), (sent, more), (dropped, most) = _large("1"), _large("2"), _large("3")
    small = part10(ct(1, series="4", PatientName=NAME))
    s3.put_object(Bucket=bucket, Key="a/far.dcm", Body=far)
    hidden += more + most
    env = {**s3_server.environment, "LIGHTWELL_ENCRYPTION": "always", "LIGHTWELL_S3_ENDPOINT_URL": way.url}
    data = tmp_path / "data"
    spool = data / "spool"

    def sizes() -> dict[str, int]:
        found: dict[str, int] = {}
        for path in spool.rglob("*"):
            with suppress(OSError):
                if path.is_file():
                    found[path.name.partition("-")[0]] = path.stat().st_size
        return found

    def look() -> None:
        found = sizes()
        assert found["upload"] > HALF // 2 and found["bucket"] > HALF // 2, found
        for path in (*spool.rglob("*"), *(data / "buckets").rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                assert [each for each in hidden if each in content] == [], path

    with running(data, env=env) as server:
        client = server.client()
        store = Store(server, client.create_datastore(datastoreName="encrypted")["datastoreId"])
        body = related(sent)
        job = client.start_dicom_import_job(
            datastoreId=store.datastore,
            dataAccessRoleArn=ROLE,
            clientToken=Ids().id(),
            inputS3Uri=f"s3://{bucket}/a/",
            outputS3Uri=f"s3://{bucket}/out/",
        )["jobId"]
        console = ConsoleClient(server)
        path, upload = begin(console, store.datastore, 2, len(dropped) + len(small))
        for name, file in (("large.dcm", dropped), ("Müller.dcm", small)):
            reply = put(console, path, name, file, digest=digest_of(file))
            assert reply.status == 200, reply.body
        with _begun(store, body):
            until(lambda: min(sizes().get(kind, 0) for kind in ("upload", "bucket")) > HALF // 2)
            look()
            _killed(server)
            look()
    way.goes_on.set()
    with running(data, env=env) as server:
        until(lambda: "upload" not in sizes())
        assert ended_job(server.client(), store.datastore, job)["jobStatus"] == "COMPLETED"
        again = Store(server, store.datastore)
        hashed = sha256(body).hexdigest()
        assert len(again.post(body, x_amz_content_sha256=hashed)[1].stored) == 1
        started = server.client().start_dicom_import_job(
            datastoreId=store.datastore,
            dataAccessRoleArn=upload["dataAccessRoleArn"],
            clientToken=Ids().id(),
            inputS3Uri=upload["inputS3Uri"],
            outputS3Uri=upload["outputS3Uri"],
        )["jobId"]
        assert ended_job(server.client(), store.datastore, started)["jobStatus"] == "COMPLETED"
        assert len(again.sets()) == 4
        until(lambda: "upload" not in sizes())
