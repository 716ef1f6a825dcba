"""A record of the audit trail as AWS CloudTrail would write it, for tools that read those.

Source: AWS CloudTrail User Guide, "CloudTrail record contents for management, data, and network activity
events" (version 1.11) and "CloudTrail userIdentity element".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from lightwell.observe.audit.record import AuditRecord

VERSION: Final = "1.11"

_STS: Final = ("AssumeRole", "AssumeRoleWithWebIdentity", "GetSessionToken", "GetCallerIdentity")
# What of the console's API is an operation of IAM under another name.
_IAM: Final = {
    "ConsoleCreateKey": "CreateAccessKey",
    "ConsoleDeleteRole": "DeleteRole",
    "ConsoleListKeys": "ListAccessKeys",
    "ConsoleListRoles": "ListRoles",
    "ConsolePutKeyPolicies": "PutUserPolicy",
    "ConsolePutRole": "PutRolePolicy",
    "ConsoleRevokeKey": "DeleteAccessKey",
    "ConsoleSetKeyStatus": "UpdateAccessKey",
}
_NOWHERE: Final = "lightwell"


@dataclass(frozen=True, slots=True)
class Place:
    """Whose records they are: of which account and Region, and which chain they stand in."""

    account: str
    region: str
    writer: str


def cloudtrail_record(record: AuditRecord, place: Place) -> dict[str, Any]:
    """What CloudTrail would say. Members of CloudTrail for which there is nothing are left out.

    The same record always gives the same ``eventID``, however often it is delivered. What CloudTrail has no
    member for, patients among it, is in ``additionalEventData``.
    """
    source, name = _operation(record.operation)
    is_data = record.kind in ("read", "search", "change")
    event: dict[str, Any] = {
        "eventVersion": VERSION,
        "userIdentity": _identity(record, place.account),
        "eventTime": datetime.fromtimestamp(record.at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "awsRegion": place.region,
        "sourceIPAddress": record.address or _NOWHERE,
        "userAgent": record.agent or _NOWHERE,
        "requestParameters": _named(
            {
                "datastoreId": record.store,
                "imageSetId": record.image_set,
                "jobId": record.job,
                "items": list(record.items),
                "query": record.query,
            }
        )
        or None,
        "responseElements": None,
        "additionalEventData": _named(
            {
                "patientIds": _all(record.patient, record.patients),
                "studyInstanceUIDs": _all(record.study, record.studies),
                "seriesInstanceUID": record.series,
                "sopInstanceUID": record.instance,
                "imageSetIds": list(record.image_sets),
                "statement": record.by,
                "policy": record.policy,
                "via": record.via,
                "status": record.status,
                "phase": record.phase,
                "bytesTransferredOut": record.sent,
                "changes": [each.what for each in record.change],
                "tokenSubject": record.subject,
                "tokenIssuer": record.provider,
                "osUser": None if record.user is None else record.user.name or str(record.user.uid),
                "emergency": record.emergency or None,
                "reason": record.reason,
                "count": record.count,
                "recoveredAt": record.recovered,
            }
        ),
        "requestID": record.id,
        "eventID": str(uuid5(NAMESPACE_URL, f"lightwell:{place.writer}:{record.number}:{record.at}")),
        "readOnly": record.kind in ("read", "search"),
        "eventType": "AwsApiCall",
        "managementEvent": not is_data,
        "recipientAccountId": place.account,
        "eventCategory": "Data" if is_data else "Management",
    }
    if record.error is not None:
        event["errorCode"] = record.error
    if record.store is not None:
        arn = f"arn:aws:medical-imaging:{place.region}:{place.account}:datastore/{record.store}"
        event["resources"] = [
            {"ARN": arn, "accountId": place.account, "type": "AWS::MedicalImaging::Datastore"}
        ]
    return event


def _operation(name: str) -> tuple[str, str]:
    if name in _STS:
        return "sts", name
    return ("iam", _IAM[name]) if name in _IAM else ("medical-imaging", name)


def _identity(record: AuditRecord, account: str) -> dict[str, Any]:
    arn = record.who
    if arn is None and record.subject is not None:
        # A genuine token, for which no role was taken.
        return _named(
            {
                "type": "WebIdentityUser",
                "userName": record.subject,
                "identityProvider": record.provider,
            }
        )
    if arn is None:
        # Nothing proved that this key was used.
        return _named({"type": "Unknown", "accessKeyId": record.claimed})
    kind, _, name = arn.rpartition(":")[2].partition("/")
    identity: dict[str, Any] = {
        "type": {"root": "Root", "user": "IAMUser", "assumed-role": "AssumedRole"}.get(kind, "FederatedUser"),
        "arn": arn,
        "accountId": account,
        "accessKeyId": record.key,
    }
    if kind == "user":
        identity["userName"] = name
    if kind == "root":
        identity["principalId"] = account
    if kind == "assumed-role":
        role = name.partition("/")[0]
        issuer = {
            "type": "Role",
            "arn": f"arn:aws:iam::{account}:role/{role}",
            "accountId": account,
            "userName": role,
        }
        identity["sessionContext"] = {"sessionIssuer": issuer}
    return _named(identity)


def _all(one: str | None, several: tuple[str, ...]) -> list[str]:
    return [one] if one is not None else list(several)


def _named(members: dict[str, Any]) -> dict[str, Any]:
    """Those of the members that say something."""
    return {name: value for name, value in members.items() if value not in (None, "", [], {}, 0)}
