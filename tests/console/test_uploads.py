"""Uploads and the import jobs that read them: what the import page does, from first file to report."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable
from typing import Any

import pydicom
import pytest
from botocore.exceptions import ClientError

from lightwell.domain.arn import datastore_arn, role_arn
from tests.api.auth.restricted_keys import role
from tests.api.auth.test_sts import EVERYBODY, assume
from tests.console.uploading import begin, digest_of, put
from tests.support.console import ACCOUNT, ConsoleClient, allow
from tests.support.ct_files import ct
from tests.support.server import REGION, until


@pytest.fixture(scope="module")
def store(client: Any) -> str:
    return str(client.create_datastore(datastoreName="uploads")["datastoreId"])


def encoded(number: int, **more: Any) -> bytes:
    out = io.BytesIO()
    pydicom.dcmwrite(out, ct(number, **more), enforce_file_format=True)
    return out.getvalue()


def rights(store: str) -> list[dict[str, Any]]:
    """What the documentation names as "may import by the console"."""
    return [
        allow(
            [
                f"medical-imaging:{name}DICOMImportJob{end}"
                for name, end in (("Start", ""), ("Get", ""), ("List", "s"))
            ],
            datastore_arn(REGION, ACCOUNT, store),
        ),
        allow("iam:PassRole", role_arn(ACCOUNT, f"lightwell-console-import-{store}")),
    ]


def start(client: ConsoleClient, store: str, upload: Any, **more: str) -> str:
    """StartDICOMImportJob of an upload, as any client would."""
    answer = client.server.client(client.credentials).start_dicom_import_job(
        datastoreId=store,
        dataAccessRoleArn=upload["dataAccessRoleArn"],
        **{
            "clientToken": upload["uploadId"],
            "inputS3Uri": upload["inputS3Uri"],
            "outputS3Uri": upload["outputS3Uri"],
            **more,
        },
    )
    return str(answer["jobId"])


def test_a_dropped_folder_becomes_one_version(
    store: str, limited: Callable[..., ConsoleClient], root: ConsoleClient
) -> None:
    anna, bert = limited(*rights(store), name="anna"), limited(*rights(store), name="bert")
    files = {f"Müller^Jörg/CT/{number}.dcm": encoded(number, study="9") for number in (1, 2, 3)}
    files |= {"Müller^Jörg/notes.txt": b"no image", "Müller^Jörg/cut.dcm": encoded(4)[:300]}
    path, upload = begin(anna, store, len(files), sum(map(len, files.values())))
    for name, data in files.items():
        reply = put(anna, path, name, data, digest=digest_of(data))
        assert (reply.status, json.loads(reply.body)) == (
            200,
            {"bytes": len(data), "digest": digest_of(data)},
        )
    arrived = anna("POST", f"{path}/files", {"maxResults": 4})
    rest = anna("POST", f"{path}/files", {"nextToken": arrived["nextToken"]})
    assert {f["name"]: f["digest"] for f in (*arrived["files"], *rest["files"])} == {
        name: digest_of(data) for name, data in files.items()
    }
    upload = anna("GET", path)
    assert upload["arrivedFiles"] == 5 and upload["jobId"] is None

    # Nobody else sees it, neither by the API nor by an import job over all of them.
    assert bert("GET", f"datastores/{store}/uploads") == {"uploads": []}
    assert root.refused("GET", path)[0] == bert.refused("POST", f"{path}/files", {})[0] == 404
    for prefix in ("", f"{store}/", f"{store}/{upload['uploadId'][:-1]}", f"{store}/{upload['uploadId']}/"):
        with pytest.raises(ClientError, match="AccessDenied"):
            start(bert, store, upload, inputS3Uri=f"s3://lightwell-console/uploads/{prefix}")

    job_id = start(anna, store, upload)
    job = f"datastores/{store}/jobs/{job_id}"
    until(lambda: anna("GET", job)["phase"] == "done")
    shown = anna("GET", job)
    assert shown["jobStatus"] == "COMPLETED" and shown["isOwn"]
    counts = [shown[f"{name}Files"] for name in ("scanned", "read", "imported", "failed", "notDicom")]
    assert counts == [5, 5, 3, 1, 1]
    assert anna("GET", path)["leftFiles"] == 1  # before the others are removed, and afterwards
    reasons = anna("GET", f"{job}/reasons")
    assert (reasons["notDicom"], reasons["notDicomNames"]) == (1, ["Müller^Jörg/notes.txt"])
    assert [(r["files"], r["example"]) for r in reasons["failures"]] == [(1, "Müller^Jörg/cut.dcm")]
    assert reasons["studyInstanceUids"] == [ct(study="9").StudyInstanceUID] and not reasons["isPartial"]
    success = anna.send("GET", f"{job}/report/success").body.splitlines()
    assert [json.loads(line)["importResponse"]["imageSetVersion"] for line in success] == ["1"] * 3 or [
        json.loads(line)["importResponse"]["imageSetVersion"] for line in success
    ] == [1] * 3
    assert "attachment" in anna.send("GET", f"{job}/report/manifest").headers["content-disposition"]

    # The names of files are for who has sent them, or may read the report.
    assert bert("GET", job)["importedFiles"] == 3 and not bert("GET", job)["isOwn"]
    assert bert.refused("GET", f"{job}/reasons")[0] == bert.refused("GET", f"{job}/report/failure")[0] == 403
    reader = limited(*rights(store), allow("s3:GetObject", "arn:aws:s3:::lightwell-console/reports/*"))
    assert reader("GET", f"{job}/reasons") == reasons
    assert root.refused("GET", f"{job}/report/none")[0] == 404

    listed = anna("GET", f"datastores/{store}/jobs?maxResults=1")["jobs"]
    assert [(each["jobId"], each["importedFiles"]) for each in listed] == [(job_id, 3)]
    assert anna("GET", f"datastores/{store}/jobs?running=true")["jobs"] == []
    assert anna.refused("POST", f"{job}/cancel")[:2] == (409, "ConflictException")

    # What was imported goes, what was not stays for a day, or until it is discarded.
    until(lambda: anna("GET", path)["arrivedFiles"] == 1)
    left = anna("GET", path)
    assert left["leftFiles"] == 1 and left["keptUntil"] > shown["endedAt"] and left["jobId"] == job_id
    assert anna.refused("POST", f"{path}/files", {"maxResults": 1001})[0] == 400
    assert put(anna, path, "more.dcm", b"x").status == 409
    assert anna("DELETE", path, status=204) is None
    assert anna.refused("GET", path)[0] == 404 and anna("GET", f"datastores/{store}/uploads")["uploads"] == []
    folder = root.server.data / "buckets" / upload["inputS3Uri"].removeprefix("s3://")
    until(lambda: not folder.exists())


def test_an_upload_and_its_job_are_of_one_person_whatever_sessions_are_called(
    store: str, root: ConsoleClient, limited: Callable[..., ConsoleClient]
) -> None:
    """Two people who take one role may call their sessions alike."""
    arn = role(root.server, "Importer", EVERYBODY, *rights(store))
    anna, again, bert = (
        ConsoleClient(root.server, assume(root.server, arn, user.credentials))
        for user in (limited(allow("sts:AssumeRole"), name=name) for name in ("anna", "anna", "bert"))
    )
    path, upload = begin(anna, store)
    assert put(anna, path, "a", b"no image").status == 200
    assert again("GET", path)["arrivedFiles"] == 1 and bert.refused("GET", path)[0] == 404
    with pytest.raises(ClientError, match="AccessDenied"):
        start(bert, store, upload)
    job = f"datastores/{store}/jobs/{start(anna, store, upload)}"
    assert again("GET", job)["isOwn"] and not bert("GET", job)["isOwn"]
    assert bert("GET", job)["startedBy"] == anna("GET", job)["startedBy"]
    until(lambda: anna("GET", job)["phase"] == "done")
    assert bert.refused("GET", f"{job}/reasons")[0] == 403


def test_a_file_is_kept_once_and_whole(store: str, root: ConsoleClient) -> None:
    path, _ = begin(root, store)
    large = bytes(range(256)) * 4096 * 10  # longer than a piece, and than what is kept in memory
    for is_hashed in (False, True, True):
        assert put(root, path, "a", large, is_hashed=is_hashed).status == 200
    assert put(root, path, "empty", b"").status == 200
    assert put(root, path, "a", large, digest=digest_of(large)).status == 200
    for digest in (None, digest_of(large[1:])):
        assert put(root, path, "a", large[1:], digest=digest).status == 409
    assert put(root, path, "b", large, digest=digest_of(b"")).status == 400
    assert put(root, path, "a/b", b"x").status == 400  # a file has that name
    for name in ("../a", "", "a//b", "x" * 5000):
        assert put(root, path, name, b"x").status == 400
    assert put(root, path, "c", b"x", digest="no").status == 400
    assert put(root, path, "%ff", b"x").status == 400
    unhashed = root.server.signed(
        "PUT", f"/console/api/{path}/files", b"x", headers={"x-lightwell-name": "c"}
    )
    assert root.server.send(unhashed).status == 403
    found = root("POST", f"{path}/files", {})["files"]
    assert [(f["name"], f["bytes"]) for f in found] == [("a", len(large)), ("empty", 0)]
    kept = root.server.data / "buckets" / root("GET", path)["inputS3Uri"].removeprefix("s3://")
    assert (kept / "a").read_bytes() == large and not list((root.server.data / "spool").glob("upload-*"))


def test_half_a_file_leaves_nothing(store: str, root: ConsoleClient) -> None:
    path, _ = begin(root, store)
    headers = {"x-lightwell-name": "half", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    request = root.server.signed("PUT", f"/console/api/{path}/files", b"", headers=headers).prepare()
    lines = [
        f"{name}: {value}" for name, value in request.headers.items() if name.lower() != "content-length"
    ]
    head = "\r\n".join([f"PUT /console/api/{path}/files HTTP/1.1", "host: " + root.server.url[7:], *lines])
    with socket.create_connection(root.server.address) as connection:
        connection.sendall(f"{head}\r\ncontent-length: 5000000\r\n\r\n".encode() + b"x" * 3_000_000)
    until(lambda: not list((root.server.data / "spool").glob("upload-*")))
    assert root("GET", path)["arrivedFiles"] == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "x", "files": 0, "bytes": 1}, 400),
        ({"name": "", "files": 1, "bytes": 1}, 400),
        ({"name": "x", "files": 1, "bytes": -1}, 400),
        ({"name": "x", "files": 1_000_001, "bytes": 1}, 400),
        ({"name": "x", "files": 1, "bytes": 1 << 60}, 503),
        ({"name": "x", "files": 1}, 400),
    ],
)
def test_refuses_an_upload_that_cannot_be(store: str, root: ConsoleClient, body: object, status: int) -> None:
    assert root.refused("POST", f"datastores/{store}/uploads", body)[0] == status


def test_refuses_who_may_not_import(
    store: str, root: ConsoleClient, limited: Callable[..., ConsoleClient]
) -> None:
    body = {"name": "x", "files": 1, "bytes": 1}
    start_only, pass_only = rights(store)
    for statement in (start_only, pass_only):
        refused = limited(statement).refused("POST", f"datastores/{store}/uploads", body)
        assert refused[:2] == (403, "AccessDeniedException")
    path, _ = begin(root, store)
    assert put(limited(pass_only), path, "a", b"x").status == 403
    assert root.refused("POST", f"datastores/{'0' * 32}/uploads", body)[0] == 404
    assert root.refused("POST", "datastores/x/uploads", body)[0] == 400


def test_a_job_is_cancelled_and_its_upload_tried_again(store: str, root: ConsoleClient) -> None:
    # A job that ends before it can be cancelled, on a machine that does much else, is followed by another.
    for study in map(str, range(800, 820)):
        path, upload = begin(root, store, 30)
        for number in range(30):
            assert put(root, path, f"{number}.dcm", encoded(number + 1, study=study, size=256)).status == 200
        job = f"datastores/{store}/jobs/{start(root, store, upload)}"
        reply = root.send("POST", f"{job}/cancel")
        if reply.status != 409:
            break
        assert root("GET", job)["jobStatus"] == "COMPLETED"
    assert reply.status == 200, reply.body
    cancelled = json.loads(reply.body)
    assert cancelled["jobStatus"] == "FAILED" and "ancelled" in cancelled["message"]
    assert root.refused("GET", f"{job}/report/failure")[0] == 404
    assert root("GET", path)["jobStatus"] == "FAILED"
    again = start(root, store, upload, clientToken=f"{upload['uploadId']}-2")
    until(lambda: root("GET", f"datastores/{store}/jobs/{again}")["phase"] == "done")
    shown = root("GET", f"datastores/{store}/jobs/{again}")
    assert shown["failedFiles"] == 0 and shown["importedFiles"] + cancelled["importedFiles"] >= 30
    until(lambda: root.send("GET", path).status == 404)
