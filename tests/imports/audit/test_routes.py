"""What is on record of each operation, of every door of the server: a route that is missing here is red."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lightwell.web import sts
from lightwell.web.audit.operations import NOT_RECORDED, RECORDED
from lightwell.web.console.table import ROUTES as CONSOLE
from lightwell.web.dicomweb import resources
from lightwell.wire.routes import ROUTES
from tests.imports.audit.world import (
    AS_STORED,
    INSTANCE,
    JSON,
    NOBODY,
    ROOT_ARN,
    SERIES,
    STUDY,
    Members,
    World,
    members,
    of,
)
from tests.support.ct_files import ROOT

# The native operations: path after the data store, body, of which study, and what else is on record.
Native = tuple[str, Any, int | None, Members]


def on_set(operation: str, number: int = 1) -> str:
    return f"POST /datastore/{{store}}/imageSet/{{set{number}}}/{operation}"


TAGS = f"/tags/{quote('arn:aws:medical-imaging:us-east-1:000000000000:datastore/', safe='')}{{store}}"
TAGS += "%2Fimageset%2F{set1}"
NATIVE: dict[str, Native] = {
    "CreateDatastore": ("POST /datastore", {"clientToken": "c"}, None, {"kind": "access"}),
    "GetDatastore": ("GET /datastore/{store}", None, None, {}),
    "ListDatastores": ("GET /datastore", None, None, {}),
    "ListDICOMImportJobs": ("GET /listDICOMImportJobs/datastore/{store}", None, None, {}),
    "GetDICOMImportJob": (f"GET /getDICOMImportJob/datastore/{{store}}/job/{NOBODY}", None, None, {}),
    "StartDICOMImportJob": (
        "POST /startDICOMImportJob/datastore/{store}",
        {
            "dataAccessRoleArn": "arn:aws:iam::000000000000:role/Import",
            "clientToken": "t",
            "inputS3Uri": "s3://in-bucket/in/",
            "outputS3Uri": "s3://out-bucket/out/",
        },
        None,
        {"kind": "change"},
    ),
    "GetImageFrame": (on_set("getImageFrame"), {"imageFrameId": "{frame}"}, 1, {"kind": "read"}),
    "GetImageSet": (on_set("getImageSet"), None, 1, {"kind": "read"}),
    "GetImageSetMetadata": (on_set("getImageSetMetadata"), None, 1, {"kind": "read"}),
    "ListImageSetVersions": (on_set("listImageSetVersions"), None, 1, {"kind": "read"}),
    "SearchImageSets": (
        "POST /datastore/{store}/searchImageSets",
        {"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "P1"}]}]},
        1,
        {"kind": "search", "found": 1, "query": {"DICOMPatientId": ["P1"]}},
    ),
    "ListTagsForResource": (f"GET {TAGS}", None, 1, {"kind": "read"}),
    "TagResource": (f"POST {TAGS}", {"tags": {"a": "b"}}, 1, {"kind": "access"}),
    "UntagResource": (f"DELETE {TAGS}?tagKeys=a", None, 1, {"kind": "access"}),
    "CopyImageSet": (
        on_set("copyImageSet", 2), {"sourceImageSet": {"latestVersionId": "1"}}, None, {"kind": "change"},
    ),
    "UpdateImageSetMetadata": (
        "POST /datastore/{store}/imageSet/{copy}/updateImageSetMetadata?latestVersion=1&force=true",
        {"DICOMUpdates": {"updatableAttributes": "{new patient}"}},
        None,
        {"kind": "change"},
    ),
    "DeleteImageSet": (on_set("deleteImageSet", 4), None, 4, {"kind": "change"}),
    "DeleteDatastore": ("DELETE /datastore/{store}", None, None, {"kind": "access", "status": 409}),
}  # fmt: skip

# DICOMweb: path and method as `resources.PATHS` has them, and how the answer is asked for.
ACCEPT = {
    "frames": AS_STORED,
    "pixeldata-collection": AS_STORED,
    "series-frames": AS_STORED,
    "part10": 'application/dicom, multipart/related; type="application/dicom"',
    "search": "application/dicom+json",
}
# Of a data set without bulk data, and pictures, which need a codec worker that this process has not.
WITHOUT_ANSWER = {
    "bulkdata": 404,
    "bulkdata-collection": 404,
    "rendered": 501,
    "thumbnail": 501,
}

# The console: operations that are asked for below, with the body, and of which study they are.
CONSOLE_BODIES: dict[str, Any] = {
    "ConsoleAllowed": {"checks": []},
    "ConsoleLink": {"token": "x"},
    "ConsoleListRolesOfToken": {"token": "x"},
    "ConsoleImageSetPreview": {"latestVersionId": "1"},
    "ConsoleCreateKey": {"name": "new", "isAdministrator": True},
    "ConsoleSetKeyStatus": {"status": "Inactive"},
    "ConsolePutKeyPolicies": {"isAdministrator": True},
    "ConsolePutRole": {"trustPolicy": "{trust}", "policies": []},
    "ConsolePutAuthorizer": {"arn": "arn:aws:lambda:us-east-1:000000000000:function:f", "target": "builtin"},
    "ConsoleDeleteAuthorizer": {"arn": "arn:aws:lambda:us-east-1:000000000000:function:f"},
    "ConsoleListStudies": {"patient": "doe"},
}
CONSOLE_OF_SET = (
    "ConsoleImageSet",
    "ConsoleImageSetVersions",
    "ConsoleImageSetDiff",
    "ConsoleImageSetPreview",
)
CONSOLE_QUERY = {
    "ConsoleImageSetDiff": "?from=1&to=1",
    "ConsoleGetArchive": "?imageSetIds={set1}",
    "ConsoleDeleteImageSet": "?latestVersionId=9",
}


def filled(world: World, text: str) -> str:
    text = text.replace("{store}", world.store).replace("{frame}", world.frame)
    for number in range(1, 7):
        text = text.replace(f"{{set{number}}}", world.sets[f"{ROOT}.{number}.1"])
    return text


def test_every_operation_is_on_record_or_there_is_a_reason() -> None:
    every = {*ROUTES, *resources.OPERATIONS, *sts.OPERATIONS, *(route.operation for route in CONSOLE)}
    assert RECORDED.keys() | NOT_RECORDED.keys() == every
    assert not RECORDED.keys() & NOT_RECORDED.keys()
    assert all(len(reason) > 20 for reason in NOT_RECORDED.values())
    told = (Path(__file__).parents[3] / "docs" / "howto" / "audit.md").read_text()
    assert [operation for operation in NOT_RECORDED if f"`{operation}`" not in told] == []
    # Whoever changes who may do what knows that it is on record before it has changed anything else.
    changing = ("Create", "Put", "Delete", "Revoke", "Set", "End", "Assume", "Rotate", "Tag", "Untag")
    for operation, recorded in RECORDED.items():
        if recorded.kind == "access" and operation.removeprefix("Console").startswith(changing):
            assert recorded.is_durable, operation


def test_the_table_has_every_native_operation() -> None:
    assert set(NATIVE) == set(ROUTES)


@pytest.mark.parametrize("operation", NATIVE)
def test_native(world: World, operation: str) -> None:
    place, body, number, expected = NATIVE[operation]
    method, _, url = place.partition(" ")
    text = "" if body is None else filled(world, json.dumps(body))
    if operation == "UpdateImageSetMetadata":
        copied = on_set("copyImageSet", 3).partition(" ")[2]
        _, (made,) = world.ask("POST", filled(world, copied), {"sourceImageSet": {"latestVersionId": "1"}})
        url = url.replace("{copy}", made.image_sets[1])
        new = {"SchemaVersion": 1.1, "Patient": {"DICOM": {"PatientID": "NEW"}}}
        text = text.replace("{new patient}", base64.b64encode(json.dumps(new).encode()).decode())
    answer, records = world.ask(method, filled(world, url), text.encode(), **JSON)
    if not expected:
        assert operation in NOT_RECORDED and records == []
        return
    (record,) = records
    assert answer.status == expected.get("status", 200), answer.body
    expected = {
        "via": "api", "operation": operation, "who": ROOT_ARN, "key": world.root.access_key, "by": "root",
        "status": answer.status, **expected,
    }  # fmt: skip
    if operation == "SearchImageSets":
        expected |= of(world)
    elif number is not None:
        expected |= of(world, number)
    elif operation == "UpdateImageSetMetadata":
        expected |= {**of(world, 3), "image_set": made.image_sets[1]}
        expected |= {"patient": None, "patients": ("P3", "NEW")}
    elif operation == "CopyImageSet":
        made = json.loads(answer.body)["destinationImageSetProperties"]["imageSetId"]
        expected |= {**of(world, 2), "image_set": None, "image_sets": (world.sets[f"{ROOT}.2.1"], made)}
    elif operation == "StartDICOMImportJob":
        expected |= {"store": world.store, "job": json.loads(answer.body)["jobId"]}
    elif operation == "CreateDatastore":
        expected |= {"store": json.loads(answer.body)["datastoreId"]}
    assert members(record, expected) == expected


def test_many_frames_at_once(world: World) -> None:
    url = f"/datastore/{world.store}/imageSet/{world.sets[SERIES]}/getImageFrames"
    answer, (begun, ended) = world.ask("POST", url, {})
    assert answer.status == 200
    for record in (begun, ended):
        expected = {**of(world), "operation": "GetImageFrame", "kind": "read", "version": 1}
        assert members(record, expected) == expected
    assert (begun.phase, ended.phase, ended.sent) == ("begun", "ended", len(answer.body))


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path, methods in resources.PATHS.items() for method in methods]
)
def test_dicomweb(world: World, path: str, method: str) -> None:
    kind, (operation, _) = resources.PATHS[path][method]
    number = {"studies/S": 5, "studies/S/series/E": 6}.get(path, 1) if kind == "delete" else 1
    if path == "studies/S/series/E/instances/I" and kind == "delete":
        pytest.skip("another test of this file deletes one")
    uids = {"S": f"{ROOT}.{number}", "E": f"{ROOT}.{number}.1", "I": f"{ROOT}.{number}.1.1", "*": "1"}
    url = f"/datastore/{world.store}" + "".join(
        f"/{uids.get(part, part)}" for part in path.split("/") if part
    )
    if kind == "wado-uri":
        url += f"?requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID={INSTANCE}"
        url += f"&contentType={quote('application/dicom', safe='')}"
    if kind == "search":
        url += "?PatientName=DOE*&limit=1"
    more: Members = {"accept": ACCEPT[kind]} if kind in ACCEPT else {}
    body = None
    if kind == "store":
        more, body = {"content_type": 'multipart/related; type="application/dicom"; boundary=b'}, b"--b--"
    answer, records = world.ask(method, url, body, **more)
    status = WITHOUT_ANSWER.get(kind, 200)
    assert {record.via for record in records} == {"dicomweb"}
    record = records[0]
    expected = {"operation": operation, "who": ROOT_ARN, "by": "root", "status": answer.status}
    assert members(record, expected) == expected
    if kind == "capabilities":
        return
    if kind == "store":
        assert (record.kind, record.store) == ("change", world.store)
        return
    assert answer.status == status or (kind == "delete" and answer.status == 204), answer.body
    assert record.kind == {"search": "search", "delete": "change"}.get(kind, "read")
    if kind == "search":
        # A search that shows nothing of a patient shows the patient all the same.
        assert (record.store, record.found) == (world.store, 1)
        assert record.query is not None and record.query["limit"] == ["1"]
        (name,) = record.query["PatientName"]
        assert name.startswith("#") and len(name) == 11
        return
    assert members(record, of(world, number)) == of(world, number)
    if "I" in path.split("/") or kind == "wado-uri":
        assert record.instance == f"{ROOT}.{number}.1.1"
    if record.phase is not None:
        begun, ended = records
        assert (begun.phase, ended.phase, ended.is_cut) == ("begun", "ended", False)
        assert ended.sent == len(answer.body) and members(ended, of(world, number)) == of(world, number)


@pytest.mark.parametrize("route", CONSOLE, ids=lambda route: route.operation)
def test_console(world: World, route: Any) -> None:
    operation = route.operation
    labels = {
        "datastoreId": world.store, "imageSetId": world.sets[SERIES], "accessKeyId": "AKLWNOBODY7NOBODY7NO",
        "roleName": "Role", "uploadId": NOBODY, "jobId": NOBODY, "part": "failure",
    }  # fmt: skip
    url = f"/console/api/{route.path.format(**labels)}{filled(world, CONSOLE_QUERY.get(operation, ''))}"
    body = CONSOLE_BODIES.get(operation, {} if route.body is not None else None)
    headers = JSON if route.body is not None else {"x_amz_content_sha256": sha256(b"").hexdigest()}
    answer, records = world.ask(route.method, url, body, **headers)
    if operation in NOT_RECORDED:
        assert records == []
        return
    if not route.is_signed:
        # Nobody has proved anything by these.
        assert answer.status in (400, 401, 403) and all(each.kind == "security" for each in records)
        assert len(records) == (operation in RECORDED)
        return
    record = records[0]
    expected = {"via": "console", "operation": operation, "who": ROOT_ARN, "status": answer.status}
    assert members(record, expected) == expected
    if "datastoreId" in route.path:
        assert record.store == world.store
    if operation in CONSOLE_OF_SET or operation == "ConsoleGetArchive":
        assert answer.status == 200, answer.body
        assert members(record, of(world)) == of(world)
    if operation == "ConsoleDeleteImageSet":
        # Not what is there: on record with whose it is, and kept for other tests.
        assert (answer.status, record.kind) == (409, "change"), answer.body
        assert members(record, of(world)) == of(world)
    if operation == "ConsoleListStudies":
        assert answer.status == 200, answer.body
        assert "P1" in record.patients and STUDY in record.studies
        assert record.query is not None and record.query["patient"].startswith("#")


@pytest.mark.parametrize("action", sts.OPERATIONS)
def test_sts(world: World, action: str) -> None:
    role = "arn:aws:iam::000000000000:role/None"
    body = {
        "AssumeRole": f"&RoleArn={role}&RoleSessionName=me",
        "AssumeRoleWithWebIdentity": f"&RoleArn={role}&RoleSessionName=me&WebIdentityToken=x",
    }.get(action, "")
    form = f"Action={action}&Version={sts.VERSION}{body}".encode()
    headers = {"content_type": "application/x-www-form-urlencoded"}
    answer, records = world.ask("POST", "/", form, service="sts", **headers)
    if action in NOT_RECORDED:
        assert (answer.status, records) == (200, [])
        return
    (record,) = records
    expected = {"via": "sts", "operation": action, "kind": "access", "who": ROOT_ARN, "status": answer.status}
    assert members(record, expected) == expected
    assert answer.status == {"GetSessionToken": 200}.get(action, record.status)
    assert (record.error is None) == (answer.status == 200)


def test_what_is_refused_of_what_is_not_recorded_is_on_record(world: World) -> None:
    nothing = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}
    )
    key = world.secret_of("nobody", nothing)
    answer, (record,) = world.ask("GET", f"/datastore/{world.store}", key=key)
    assert answer.status == 403
    expected = {"operation": "GetDatastore", "kind": "system", "error": "AccessDeniedException",
                "by": "no statement of the identity policies", "store": world.store}  # fmt: skip
    assert members(record, expected) == expected


def test_one_instance_is_deleted(own_world: World) -> None:
    url = f"/datastore/{own_world.store}/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}"
    answer, (record,) = own_world.ask("DELETE", url)
    assert answer.status in (200, 204)
    expected = {**of(own_world), "instance": INSTANCE, "operation": "DeleteImageSet", "kind": "change"}
    assert members(record, expected) == expected
