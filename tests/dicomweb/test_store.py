"""StoreDICOM and StoreDICOMStudy over the wire, by the clients of the field and by bytes that none sends."""

from __future__ import annotations

import gzip
import http.client
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pydicom
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import UID

from lightwell.domain.imports.store_response import CANNOT_UNDERSTAND, OTHER_STUDY
from lightwell.settings import load
from lightwell.stores import open_stores
from tests.dicomweb.support.uploads import BOUNDARY, RELATED, Store, head, new, part10, pieces, related
from tests.support import invariants
from tests.support.ct_files import ROOT, ct
from tests.support.server import REGION, Server, running

STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On SQLite; `tests.imports.codec_pool.test_requests` stores on both databases."""
    env = {"LIGHTWELL_STORE_MAX_BYTES": "220m", "LIGHTWELL_CODEC_WORKERS": "2"}
    with running(tmp_path_factory.mktemp("store") / "data", env=env) as server:
        yield server


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    """A new data store; at the end of the test no upload is left in the spool, and no fault in the log."""
    yield new(server)
    end = time.monotonic() + 60
    made = Store(server, "")
    while made.spooled() and time.monotonic() < end:
        time.sleep(0.01)
    assert not made.spooled()
    faults = [line for line in server.err if '"level":"error"' in line and "process died" not in line]
    assert not faults, "\n".join(faults)


class _Signed(requests.auth.AuthBase):
    """Signs as botocore does; a body that streams is not hashed."""

    def __init__(self, server: Server) -> None:
        self._auth = SigV4Auth(server.root, "medical-imaging", REGION)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body if isinstance(request.body, bytes) else None
        signed = AWSRequest(request.method, request.url, data=body or b"")
        if "Host" in request.headers:  # which the client sets itself, without the port
            signed.headers["Host"] = request.headers["Host"]
        if request.body is not None and body is None:
            signed.headers["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
        self._auth.add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request


def _client(store: Store) -> DICOMwebClient:
    session = requests.Session()
    session.auth = _Signed(store.server)
    return DICOMwebClient(f"{store.server.url}/datastore/{store.datastore}", session=session)


def test_stores_what_dicomweb_client_sends_whole_and_in_chunks(store: Store) -> None:
    client = _client(store)
    small, large = [ct(n) for n in (1, 2)], [ct(n, size=512) for n in (3, 4, 5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = client.store_instances(small)
        # More than a megabyte goes out by Transfer-Encoding: chunked, without a Content-Length.
        second = client.store_instances(large, study_instance_uid=large[0].StudyInstanceUID)
    assert len(first.ReferencedSOPSequence) == 2 and len(second.ReferencedSOPSequence) == 3
    item = second.ReferencedSOPSequence[0]
    assert item.ReferencedSOPInstanceUID == large[0].SOPInstanceUID
    assert item.RetrieveURL.endswith(
        f"/studies/{ROOT}.1/series/{ROOT}.1.1/instances/{large[0].SOPInstanceUID}"
    )
    (found,) = store.sets()
    assert found["version"] == 2 and found["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"] == 5
    frames = client.retrieve_instance_frames(ROOT + ".1", ROOT + ".1.1", large[1].SOPInstanceUID, [1])
    assert frames[0][:4] == b"\xff\x4f\xff\x51" or frames[0] == large[1].PixelData


def test_stores_what_the_documented_curl_sends(store: Store) -> None:
    body = part10(ct(1))
    reply, report = store.post(
        body, "application/dicom",
        accept="application/dicom+json", x_amz_content_sha256=STREAMING,
        x_amz_decoded_content_length=str(len(body)),
    )  # fmt: skip
    assert reply.status == 200 and reply.headers["content-type"] == "application/dicom+json"
    assert report.stored[0]["00081155"] == ct(1).SOPInstanceUID
    assert report.module["00081190"]["Value"] == [f"{store.server.url}{store.path(ROOT + '.1')}"]


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (f"multipart/related; boundary={BOUNDARY}", b"", b"\r\n"),
        (RELATED, b"\r\n", b""),
        (f"multipart/related; type=application/dicom; boundary={BOUNDARY}", b"a preamble\r\n", b"\r\nmore"),
    ],
)
def test_stores_multipart_as_clients_write_it(store: Store, kind: str, before: bytes, after: bytes) -> None:
    body = related(part10(ct(1)), part10(ct(2)), before=before, after=after)
    reply, report = store.post(body, kind, x_amz_content_sha256=sha256(body).hexdigest())
    assert reply.status == 200 and len(report.stored) == 2


def test_takes_a_hash_in_capitals(store: Store) -> None:
    body = related(part10(ct(1)))
    reply, report = store.post(body, x_amz_content_sha256=sha256(body).hexdigest().upper())
    assert reply.status == 200 and len(report.stored) == 1


def test_waits_for_100_continue_and_takes_chunks(store: Store) -> None:
    signed = store.server.signed(
        "POST", store.path(), headers={"content-type": RELATED, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    )
    names = {name: value for name, value in signed.headers.items() if name.lower() != "content-length"}
    names |= {"Host": "{}:{}".format(*store.server.address), "Expect": "100-continue"}
    names |= {"Transfer-Encoding": "chunked", "Connection": "close"}
    body = related(part10(ct(1)))
    with socket.create_connection(store.server.address, timeout=30) as connection:
        connection.sendall(head(store.server, store.path(), names))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in pieces(body, 301):
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert not store.is_empty()


def test_tells_good_from_bad_in_one_request(store: Store) -> None:
    good, cut = part10(ct(1)), part10(ct(2))[:400]
    nameless = ct(3)
    del nameless.SOPInstanceUID
    reply, report = store.post(related(good, b"this is no DICOM", cut, part10(nameless), b""))
    assert reply.status == 202
    assert [item["00081155"] for item in report.stored] == [ct(1).SOPInstanceUID]
    assert {item["00081155"] for item in report.failed} == {ct(2).SOPInstanceUID, ct(3).SOPInstanceUID}
    for item in report.failed:
        assert item["00080018"] == item["00081155"] and item["00081197"] == CANNOT_UNDERSTAND
    words = {item["00081155"]: item["00000902"] for item in report.failed}
    assert words[ct(3).SOPInstanceUID] == "DICOM attribute SOPInstanceUID does not exist"
    assert words[ct(2).SOPInstanceUID].startswith("The file ends inside StudyDate")
    assert [item["00000902"][:7] for item in report.others] == ["Part 2:", "Part 5:"]
    assert report.module["00081190"]["Value"][0].endswith(f"/studies/{ROOT}.1")
    # What clients read it with takes it without a complaint.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = pydicom.Dataset.from_json(report.module)
        assert all(len(item.ErrorComment) <= 64 for item in read.FailedSOPSequence)


def test_stores_nothing_of_another_study(store: Store) -> None:
    report = store.store(ct(1), ct(1, study="2"), study=f"{ROOT}.1")
    assert report.status == 202 and len(report.stored) == 1
    (failed,) = report.failed
    assert failed["00081155"] == ct(1, study="2").SOPInstanceUID and failed["00081197"] == OTHER_STUDY
    assert f"{ROOT}.2" in failed["0040A160"]
    assert store.store(ct(2), study=f"{ROOT}.3").status == 409
    assert len(store.sets()) == 1


def test_stores_nothing_of_what_is_already_there(store: Store) -> None:
    first = store.store(ct(1), ct(2))
    packs = {path: path.stat().st_size for path in store.server.data.rglob("*.pack")}
    again = store.store(ct(1), ct(2))
    assert (again.status, again.stored, again.failed) == (200, first.stored, [])
    assert {path: path.stat().st_size for path in store.server.data.rglob("*.pack")} == packs != {}
    (found,) = store.sets()
    assert found["version"] == 1
    # Told by what the data set says, whatever the file meta group does.
    mislabelled, other = ct(2), ct(3)
    mislabelled.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.9.9")
    mislabelled.PixelData = ct(2).PixelData
    report = store.store(other, mislabelled)
    assert report.status == 200 and len(report.stored) == 2
    new = [path.stat().st_size for path in store.server.data.rglob("*.pack") if path not in packs]
    assert len(new) == 1
    (found,) = store.sets()
    assert found["version"] == 2 and found["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"] == 3


def test_makes_a_new_version_of_what_comes_again(store: Store) -> None:
    assert store.store(ct(1), ct(2)).status == 200
    again = ct(1, ImageComments="again")
    report = store.store(again, ct(3), ct(3))
    assert report.status == 200 and len(report.stored) == 3
    (found,) = store.sets()
    assert found["version"] == 2 and found["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"] == 3
    client = store.server.client()
    versions = client.list_image_set_versions(datastoreId=store.datastore, imageSetId=found["imageSetId"])
    states = [each["ImageSetWorkflowStatus"] for each in versions["imageSetPropertiesList"]]
    assert states == ["IMPORTED", "CREATED"]
    assert not client.list_dicom_import_jobs(datastoreId=store.datastore)["jobSummaries"]


def test_puts_what_contradicts_the_primary_set_into_another(store: Store) -> None:
    assert store.store(ct(1)).status == 200
    report = store.store(ct(2, PatientID="P2"))
    assert report.status == 200 and not report.failed
    assert [each["isPrimary"] for each in store.sets()] == [True, False]


def test_warns_with_code_and_words(store: Store) -> None:
    short = ct(1)
    short.PixelData = short.PixelData[:100]
    report = store.store(short)
    assert report.status == 200
    (item,) = report.stored
    assert item["00081196"] == 0xB110 and item["00000902"].startswith("PixelData has 100 bytes")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"x", "", 415),
        (b"--b\r\n\r\nx", "multipart/related; boundary=b", 400),
        (b"--b--", "multipart/related; boundary=b", 400),
        (b"x", "multipart/related", 400),
        (b"", "application/dicom", 400),
        (b"junk", "application/dicom", 409),
    ],
)
def test_refuses_what_it_cannot_take(store: Store, body: bytes, kind: str, status: int) -> None:
    reply, report = store.post(body, kind)
    assert reply.status == status
    if status == 409:
        assert report.others and "00081190" in report.module
    else:
        assert b'"message"' in reply.body and reply.headers["x-amzn-errortype"]


def test_inflates_gzip_and_refuses_other_codings(store: Store) -> None:
    zipped = gzip.compress(part10(ct(1)))
    reply, _ = store.post(zipped, "application/dicom", content_encoding="br")
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (415, "UnsupportedMediaTypeException")
    assert b"gzip" in reply.body
    reply, _ = store.post(gzip.compress(zipped), "application/dicom", content_encoding="gzip, gzip")
    assert reply.status == 415
    for wrong in (zipped[:-9], zipped + b"more", part10(ct(1)), gzip.compress(b"")):
        reply, _ = store.post(wrong, "application/dicom", content_encoding="gzip")
        assert reply.status == 400, reply.body
    assert store.is_empty()
    body = gzip.compress(related(part10(ct(1)))) + gzip.compress(b"an epilogue")
    assert store.post(body, RELATED, content_encoding="x-gzip")[1].stored
    assert store.post(part10(ct(2)), "application/dicom", content_encoding="identity")[0].status == 200


def test_stops_inflating_at_the_limit_of_an_upload(store: Store) -> None:
    """A megabyte of gzip that is more than the limit of 220 MiB once inflated."""
    bomb = gzip.compress(part10(ct(1)) + bytes(260 << 20), 1)
    assert len(bomb) < 2 << 20
    reply, _ = store.post(bomb, "application/dicom", content_encoding="gzip")
    assert reply.status == 413 and store.is_empty()


def test_refuses_an_accept_header_before_anything_is_stored(store: Store) -> None:
    reply, _ = store.post(part10(ct(1)), "application/dicom", accept="image/png")
    assert reply.status == 406 and store.is_empty()


def test_answers_in_xml_where_that_is_asked_for(store: Store) -> None:
    body = related(part10(ct(1)), b"junk")
    reply, _ = store.post(body, accept="application/dicom+xml")
    assert reply.status == 202 and reply.headers["content-type"] == "application/dicom+xml"
    root = ElementTree.fromstring(reply.body)
    names = {each.get("keyword") for each in root}
    assert names == {"RetrieveURL", "ReferencedSOPSequence", "OtherFailuresSequence"}


def test_refuses_stores_and_studies_that_are_none(store: Store) -> None:
    assert store.post(b"x", study="not-a-uid")[0].status == 400
    assert Store(store.server, "0" * 32).post(b"x")[0].status == 404
    assert Store(store.server, "short").post(b"x")[0].status == 400


def test_keeps_nothing_of_a_body_that_was_not_signed(store: Store) -> None:
    body, other = part10(ct(1)), part10(ct(2))
    for names in ({}, {"x-amz-content-sha256": sha256(body).hexdigest()}):
        signed = store.server.signed(
            "POST", store.path(), body, headers={"content-type": "application/dicom", **names}
        )
        reply = store.server.call("POST", store.path(), other, dict(signed.prepare().headers))
        assert reply.status == 403 and reply.headers["x-amzn-errortype"] == "InvalidSignatureException"
    # A wrong signature over a stated hash is refused before the body is read.
    signed = store.server.signed(
        "POST", store.path(), headers={"content-type": RELATED, "x-amz-content-sha256": "0" * 64}
    )
    names = {**dict(signed.headers.items()), "Content-Length": "100000000", "Expect": "100-continue"}
    names["Authorization"] = names["Authorization"][:-4] + "0000"
    names["Host"] = "{}:{}".format(*store.server.address)
    with socket.create_connection(store.server.address, timeout=30) as connection:
        connection.sendall(head(store.server, store.path(), names))
        assert connection.recv(12) == b"HTTP/1.1 403"
    assert store.is_empty()


def test_refuses_more_than_the_limit_before_it_comes(store: Store) -> None:
    connection = http.client.HTTPConnection(*store.server.address, timeout=30)
    signed = store.server.signed(
        "POST", store.path(), headers={"content-type": RELATED, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    )
    names = {**dict(signed.headers.items()), "Content-Length": str(1 << 30)}
    connection.request("POST", store.path(), headers=names)
    answer = connection.getresponse()
    assert answer.status == 413 and answer.getheader("connection") == "close"
    connection.close()


def test_takes_two_hundred_megabytes_in_little_memory(store: Store) -> None:
    """One file, of which the pixels are a blob; the HTTP process holds a megabyte or two of it at once."""
    big = ct(1, size=16, Rows=9999)
    big.PixelData = bytes(200 << 20)
    body = part10(big)
    children = [psutil.Process(pid) for pid in store.server.children()]
    before = {each.pid: each.memory_info().rss for each in children}
    most: dict[int, int] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            for each in children:
                most[each.pid] = max(most.get(each.pid, 0), each.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        reply, report = store.post(body, "application/dicom", x_amz_content_sha256="UNSIGNED-PAYLOAD")
    finally:
        stop.set()
        watcher.join()
    assert reply.status == 200 and len(report.stored) == 1
    assert all(most[pid] - before[pid] < 24 << 20 for pid in before)


def test_stores_at_once_into_one_series_beside_an_import(store: Store) -> None:
    bucket = store.server.data / "buckets" / f"in-{store.datastore}"
    for number in range(100, 112):
        (bucket / f"{number}.dcm").parent.mkdir(parents=True, exist_ok=True)
        (bucket / f"{number}.dcm").write_bytes(part10(ct(number)))
    out = store.server.data / "buckets" / f"out-{store.datastore}"
    out.mkdir()
    client = store.server.client()
    job = client.start_dicom_import_job(
        datastoreId=store.datastore, dataAccessRoleArn="arn:aws:iam::000000000000:role/r", clientToken="t",
        inputS3Uri=f"s3://{bucket.name}/", outputS3Uri=f"s3://{out.name}/",
    )["jobId"]  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda n: store.store(ct(2 * n), ct(2 * n + 1), ct(1)), range(1, 13)))
    assert {report.status for report in reports} == {200}
    end = time.monotonic() + 60
    while (
        client.get_dicom_import_job(datastoreId=store.datastore, jobId=job)["jobProperties"]["jobStatus"]
        != "COMPLETED"
    ):
        assert time.monotonic() < end
        time.sleep(0.05)
    (found,) = store.sets()
    # 1 to 25 and what the job brought; a version for each request and one for the job.
    assert found["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"] == 25 + 12
    assert found["version"] == 13


def _work_process(server: Server) -> int:
    """Its process id."""
    return int((server.data / "engine.lock").read_text())


def test_says_that_the_work_process_was_lost_and_keeps_nothing_half(store: Store) -> None:
    assert store.store(ct(1)).status == 200
    answers: list[Any] = []
    body = related(*(part10(ct(n, series="2", size=1200)) for n in range(1, 13)))
    proof = {"x_amz_content_sha256": sha256(body).hexdigest()}
    sender = threading.Thread(target=lambda: answers.append(store.post(body, **proof)[0]))
    sender.start()
    work = _work_process(store.server)
    end = time.monotonic() + 60
    while not store.spooled() and time.monotonic() < end:
        time.sleep(0.002)
    time.sleep(0.15)
    os.kill(work, signal.SIGKILL)
    sender.join()
    (reply,) = answers
    assert reply.status in (200, 503), reply.body
    if reply.status == 503:
        assert b"Try again" in reply.body and reply.headers["retry-after"] == "1"
    # The supervisor starts another, which is waited for; by the client, if it takes long.
    end = time.monotonic() + 60
    while (report := store.post(body, **proof)[1]).status == 503 and time.monotonic() < end:
        time.sleep(0.1)
    assert report.status == 200 and len(report.stored) == 12
    counts = sorted(each["DICOMTags"].get("DICOMNumberOfStudyRelatedInstances", 0) for each in store.sets())
    assert counts == [1, 12]
    stores = open_stores(load({"data": store.server.data}, environ={}))
    invariants.check(stores)
    stores.close()


def test_removes_at_the_next_start_what_a_killed_server_has_spooled(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as server:
        made = new(server)
        signed = server.signed(
            "POST", made.path(),
            headers={"content-type": "application/dicom", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
        )  # fmt: skip
        names = {**dict(signed.headers.items()), "Content-Length": "1000000"}
        names["Host"] = "{}:{}".format(*server.address)
        with socket.create_connection(server.address, timeout=30) as connection:
            connection.sendall(head(server, made.path(), names) + part10(ct(1)))
            while not made.spooled():
                time.sleep(0.01)
            server.process.send_signal(signal.SIGSTOP)  # or it would start others in their place
            for pid in server.children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            server.stop(signal.SIGKILL)
        assert made.spooled()
    with running(data) as server:
        assert not new(server).spooled()
