"""Records as CloudTrail would write them."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from lightwell.observe.audit.cloudtrail import Place, cloudtrail_record
from lightwell.observe.audit.record import AuditRecord, Change

ACCOUNT = "123456789012"
PLACE = Place(ACCOUNT, "eu-central-1", "http-0")
READ = AuditRecord(
    number=7, at=1_796_000_000_123, id="5b147047-2f60-4f11-a35e-d6888c0477f7", via="dicomweb",
    operation="GetDICOMInstanceFrames", kind="read",
    who=f"arn:aws:sts::{ACCOUNT}:assumed-role/Readers/kim", key="ASLWX", subject="kim@example.org",
    provider="https://id.example.org", address="192.0.2.7", agent="viewer/1", store="a" * 32,
    image_set="b" * 32, patient="P-7", study="1.2.3", series="1.2.3.4", instance="1.2.3.4.5",
    items=("1",), status=200, by="statement 1 (Look) of policy", policy="sha256:0123", sent=1234,
)  # fmt: skip
GOLDEN = {
    "eventVersion": "1.11",
    "userIdentity": {
        "type": "AssumedRole",
        "arn": "arn:aws:sts::123456789012:assumed-role/Readers/kim",
        "accountId": "123456789012",
        "accessKeyId": "ASLWX",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "arn": "arn:aws:iam::123456789012:role/Readers",
                "accountId": "123456789012",
                "userName": "Readers",
            }
        },
    },
    "eventTime": "2026-11-30T00:53:20Z",
    "eventSource": "medical-imaging.amazonaws.com",
    "eventName": "GetDICOMInstanceFrames",
    "awsRegion": "eu-central-1",
    "sourceIPAddress": "192.0.2.7",
    "userAgent": "viewer/1",
    "requestParameters": {"datastoreId": "a" * 32, "imageSetId": "b" * 32, "items": ["1"]},
    "responseElements": None,
    "additionalEventData": {
        "patientIds": ["P-7"],
        "studyInstanceUIDs": ["1.2.3"],
        "seriesInstanceUID": "1.2.3.4",
        "sopInstanceUID": "1.2.3.4.5",
        "statement": "statement 1 (Look) of policy",
        "policy": "sha256:0123",
        "via": "dicomweb",
        "status": 200,
        "bytesTransferredOut": 1234,
        "tokenSubject": "kim@example.org",
        "tokenIssuer": "https://id.example.org",
    },
    "requestID": "5b147047-2f60-4f11-a35e-d6888c0477f7",
    "eventID": "to be filled in",
    "readOnly": True,
    "eventType": "AwsApiCall",
    "managementEvent": False,
    "recipientAccountId": "123456789012",
    "eventCategory": "Data",
    "resources": [
        {
            "ARN": f"arn:aws:medical-imaging:eu-central-1:123456789012:datastore/{'a' * 32}",
            "accountId": "123456789012",
            "type": "AWS::MedicalImaging::Datastore",
        }
    ],
}


def test_a_read_is_a_data_event() -> None:
    found = json.loads(json.dumps(cloudtrail_record(READ, PLACE)))
    assert found == GOLDEN | {"eventID": found["eventID"]}
    assert cloudtrail_record(READ, PLACE)["eventID"] == found["eventID"]
    late = cloudtrail_record(replace(READ, recovered=READ.at + 5), PLACE)
    assert late["additionalEventData"]["recoveredAt"] == READ.at + 5
    others = (replace(READ, number=8), PLACE), (READ, Place(ACCOUNT, "eu-central-1", "http-1"))
    assert len({found["eventID"], *(cloudtrail_record(*other)["eventID"] for other in others)}) == 3


@pytest.mark.parametrize(
    ("operation", "source", "name"),
    [
        ("AssumeRole", "sts", "AssumeRole"),
        ("ConsoleCreateKey", "iam", "CreateAccessKey"),
        ("DeleteDatastore", "medical-imaging", "DeleteDatastore"),
    ],
)
def test_a_change_of_who_may_do_what_is_a_management_event(operation: str, source: str, name: str) -> None:
    changed = replace(READ, operation=operation, kind="access", change=(Change("access key made: A of b"),))
    event = cloudtrail_record(changed, PLACE)
    assert (event["eventSource"], event["eventName"]) == (f"{source}.amazonaws.com", name)
    assert (event["readOnly"], event["managementEvent"], event["eventCategory"]) == (
        False,
        True,
        "Management",
    )
    assert event["additionalEventData"]["changes"] == ["access key made: A of b"]


@pytest.mark.parametrize(
    ("who", "identity"),
    [
        (f"arn:aws:iam::{ACCOUNT}:root", {"type": "Root", "principalId": ACCOUNT}),
        (f"arn:aws:iam::{ACCOUNT}:user/kim", {"type": "IAMUser", "userName": "kim"}),
        (f"arn:aws:sts::{ACCOUNT}:federated-user/kim", {"type": "FederatedUser"}),
    ],
)
def test_says_who_it_was(who: str, identity: dict[str, str]) -> None:
    found = cloudtrail_record(replace(READ, who=who), PLACE)["userIdentity"]
    assert found == {"arn": who, "accountId": ACCOUNT, "accessKeyId": "ASLWX", **identity}


def test_names_who_had_a_genuine_token_and_got_no_role() -> None:
    refused = AuditRecord(subject="ada", provider="https://id.example.org", status=403)
    assert cloudtrail_record(refused, PLACE)["userIdentity"] == {
        "type": "WebIdentityUser", "userName": "ada", "identityProvider": "https://id.example.org",
    }  # fmt: skip


def test_names_nobody_by_a_key_that_nothing_proved() -> None:
    refused = AuditRecord(
        at=1, operation="Unknown", kind="security", claimed="AKLWX", status=403, error="InvalidSignature"
    )
    event = cloudtrail_record(refused, PLACE)
    assert event["userIdentity"] == {"type": "Unknown", "accessKeyId": "AKLWX"}
    assert (event["errorCode"], event["requestParameters"], "resources" in event) == (
        "InvalidSignature", None, False,
    )  # fmt: skip
