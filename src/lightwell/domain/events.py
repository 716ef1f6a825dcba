"""Events as Amazon EventBridge would carry them: the whole envelope.

Source: devguide/event-notifications. They are written to the outbox in the transaction that they speak of.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from lightwell.domain.arn import datastore_arn, image_set_arn
from lightwell.domain.datastore import DataStore

IMAGING_VERSION = "1.0"


def datastore_event(
    detail_type: str,
    *,
    id: str,
    now: int,
    region: str,
    account: str,
    datastore: DataStore,
    status: str,
) -> dict[str, object]:
    """``Data Store Creating``, ``Created``, ``Creation Failed``, ``Deleting`` or ``Deleted``.

    ``id`` is 32 hex digits, shown as a UUID; ``now`` is milliseconds since the epoch; ``status`` is what the
    event says, whatever is kept.
    """
    detail: dict[str, object] = {
        "imagingVersion": IMAGING_VERSION,
        "datastoreId": datastore.id,
        "datastoreName": datastore.name,
        "datastoreStatus": status,
    }
    arn = datastore_arn(region, account, datastore.id)
    return _envelope(detail_type, id=id, now=now, region=region, account=account, resource=arn, detail=detail)


def import_job_event(
    detail_type: str,
    *,
    id: str,
    now: int,
    region: str,
    account: str,
    datastore_id: str,
    job_id: str,
    job_name: str | None,
    job_status: str,
    input_uri: str,
    output_uri: str,
) -> dict[str, object]:
    """``Import Job Submitted``, ``In Progress``, ``Completed`` or ``Failed``."""
    detail: dict[str, object] = {
        "imagingVersion": IMAGING_VERSION,
        "datastoreId": datastore_id,
        "jobId": job_id,
        "jobName": job_name,
        "jobStatus": job_status,
        "inputS3Uri": input_uri,
        "outputS3Uri": output_uri,
    }
    if job_name is None:
        del detail["jobName"]
    arn = datastore_arn(region, account, datastore_id)
    return _envelope(detail_type, id=id, now=now, region=region, account=account, resource=arn, detail=detail)


def image_set_event(
    detail_type: str,
    *,
    id: str,
    now: int,
    region: str,
    account: str,
    datastore_id: str,
    image_set_id: str,
    version: int,
    is_primary: bool,
    state: str,
    workflow_status: str,
    source_image_set_arn: str | None = None,
) -> dict[str, object]:
    """``Image Set Created``, ``Copying``, ``Updated``, ``Deleted``, and so on.

    The version is a string and the key of the id is ``imagesetId``, as the page prints them.
    """
    detail: dict[str, object] = {
        "imagingVersion": IMAGING_VERSION,
        "isPrimary": is_primary,
        "imageSetVersion": str(version),
        "datastoreId": datastore_id,
        "imagesetId": image_set_id,
        "imageSetState": state,
        "imageSetWorkflowStatus": workflow_status,
    }
    if source_image_set_arn is not None:
        detail["sourceImageSetArn"] = source_image_set_arn
    arn = image_set_arn(region, account, datastore_id, image_set_id)
    return _envelope(detail_type, id=id, now=now, region=region, account=account, resource=arn, detail=detail)


def _envelope(
    detail_type: str,
    *,
    id: str,
    now: int,
    region: str,
    account: str,
    resource: str,
    detail: dict[str, object],
) -> dict[str, object]:
    return {
        "version": "0",
        "id": str(uuid.UUID(id, version=4)),
        "detail-type": detail_type,
        "source": "aws.medical-imaging",
        "account": account,
        "time": datetime.fromtimestamp(now // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [resource],
        "detail": detail,
    }
