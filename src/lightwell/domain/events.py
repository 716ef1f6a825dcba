"""Events as Amazon EventBridge carries them, with their whole envelope.

Source: devguide/event-notifications. An event is written to the outbox in the transaction that it reports.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from lightwell.domain.arn import datastore_arn, image_set_arn, role_arn
from lightwell.domain.states import DatastoreStatus, ImageSetState, JobStatus, WorkflowStatus

IMAGING_VERSION = "1.0"

DatastoreEventType = Literal[
    "Data Store Creating",
    "Data Store Created",
    "Data Store Creation Failed",
    "Data Store Deleting",
    "Data Store Deleted",
]
ImportJobEventType = Literal[
    "Import Job Submitted", "Import Job In Progress", "Import Job Completed", "Import Job Failed"
]
ImageSetEventType = Literal[
    "Image Set Created",
    "Image Set Copying",
    "Image Set Copying With Read Only Access",
    "Image Set Copied",
    "Image Set Copy Failed",
    "Image Set Updating",
    "Image Set Updated",
    "Image Set Update Failed",
    "Image Set Deleting",
    "Image Set Deleted",
]

EMERGENCY = "Emergency Role Assumed"
UNVERIFIED = "Requests Failing Verification"
"""An event that AWS does not have: many signatures, tokens or links could not be verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHeader:
    """When and where an event happens.

    ``id`` is 32 hex digits, shown as a UUID; ``now`` is milliseconds since the epoch.
    """

    id: str
    now: int
    region: str
    account: str
    datastore_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSetDetail:
    """What an event says of an image set, whatever its row holds."""

    image_set_id: str
    version: int
    is_primary: bool
    state: ImageSetState
    workflow_status: WorkflowStatus
    source_image_set_arn: str | None = None


def datastore_event(
    detail_type: DatastoreEventType, header: EventHeader, *, name: str, status: DatastoreStatus
) -> dict[str, object]:
    """The envelope; ``status`` is what the event says, whatever the row holds."""
    detail: dict[str, object] = {
        "imagingVersion": IMAGING_VERSION,
        "datastoreId": header.datastore_id,
        "datastoreName": name,
        "datastoreStatus": status,
    }
    return _envelope(
        detail_type, header, detail, datastore_arn(header.region, header.account, header.datastore_id)
    )


def import_job_event(
    detail_type: ImportJobEventType,
    header: EventHeader,
    *,
    job_id: str,
    job_name: str | None,
    job_status: JobStatus,
    input_uri: str,
    output_uri: str,
) -> dict[str, object]:
    """The envelope; a job without a name has no ``jobName``."""
    detail: dict[str, object] = {"imagingVersion": IMAGING_VERSION, "datastoreId": header.datastore_id}
    detail["jobId"] = job_id
    if job_name is not None:
        detail["jobName"] = job_name
    detail |= {"jobStatus": job_status, "inputS3Uri": input_uri, "outputS3Uri": output_uri}
    return _envelope(
        detail_type, header, detail, datastore_arn(header.region, header.account, header.datastore_id)
    )


def image_set_event(
    detail_type: ImageSetEventType, header: EventHeader, image_set: ImageSetDetail
) -> dict[str, object]:
    """The envelope. The version is a string, and the key of the id is ``imagesetId``, as on AWS's page."""
    detail: dict[str, object] = {
        "imagingVersion": IMAGING_VERSION,
        "isPrimary": image_set.is_primary,
        "imageSetVersion": str(image_set.version),
        "datastoreId": header.datastore_id,
        "imagesetId": image_set.image_set_id,
        "imageSetState": image_set.state,
        "imageSetWorkflowStatus": image_set.workflow_status,
    }
    if image_set.source_image_set_arn is not None:
        detail["sourceImageSetArn"] = image_set.source_image_set_arn
    arn = image_set_arn(header.region, header.account, header.datastore_id, image_set.image_set_id)
    return _envelope(detail_type, header, detail, arn)


def unverified_event(header: EventHeader, detail: dict[str, object], resource: str) -> dict[str, object]:
    """The envelope, from a source of ours: ``detail`` says whence and in whose name, and how many."""
    return _envelope(UNVERIFIED, header, detail, resource) | {"source": "lightwell"}


def emergency_event(
    header: EventHeader, *, role: str, access_key_id: str, taken_by: str | None, expires_at: int
) -> dict[str, object]:
    """``Emergency Role Assumed``, which AWS does not have: somebody may do now what they otherwise may not.

    ``taken_by`` is an ARN, or an issuer and a subject. Why it was taken stands in the audit trail alone.
    """
    detail: dict[str, object] = {"accessKeyId": access_key_id, "expiresAt": _time(expires_at)}
    if taken_by is not None:
        detail["takenBy"] = taken_by
    return _envelope(EMERGENCY, header, detail, role_arn(header.account, role)) | {"source": "lightwell"}


def integrity_event(
    header: EventHeader, *, place: str, reason: str, image_set_ids: Sequence[str]
) -> dict[str, object]:
    """``Data Integrity Fault``, which AWS does not have: stored bytes are not the ones that were written.

    ``image_set_ids`` are of those that may be concerned, as far as they were found.
    """
    detail: dict[str, object] = {
        "imagingVersion": IMAGING_VERSION,
        "datastoreId": header.datastore_id,
        "imagesetIds": list(image_set_ids),
        "place": place,
        "reason": reason,
    }
    arns = [image_set_arn(header.region, header.account, header.datastore_id, id) for id in image_set_ids]
    store = datastore_arn(header.region, header.account, header.datastore_id)
    envelope = _envelope("Data Integrity Fault", header, detail, store)
    return {**envelope, "source": "lightwell", "resources": [store, *arns]}


def _envelope(
    detail_type: str, header: EventHeader, detail: dict[str, object], resource: str
) -> dict[str, object]:
    return {
        "version": "0",
        "id": str(uuid.UUID(header.id, version=4)),
        "detail-type": detail_type,
        "source": "aws.medical-imaging",
        "account": header.account,
        "time": _time(header.now),
        "region": header.region,
        "resources": [resource],
        "detail": detail,
    }


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
