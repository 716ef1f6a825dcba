"""EventBridge envelopes, as devguide/event-notifications shows them."""

from __future__ import annotations

import uuid

from lightwell.domain.datastore import DataStore
from lightwell.domain.events import datastore_event, image_set_event, import_job_event

PLACE = {"id": "0" * 32, "now": 1_763_978_400_999, "region": "us-west-2", "account": "1" * 12}
STORE, SET = "a" * 32, "b" * 32
ARN = f"arn:aws:medical-imaging:us-west-2:{'1' * 12}:datastore/{STORE}"


def test_wraps_every_event_alike() -> None:
    store = DataStore(1, STORE, "name", "ACTIVE", "HTJ2K", None, None, 0, 0)
    event = datastore_event("Data Store Created", datastore=store, status="ACTIVE", **PLACE)  # type: ignore[arg-type]
    assert uuid.UUID(str(event.pop("id"))).version == 4
    assert event == {
        "version": "0",
        "detail-type": "Data Store Created",
        "source": "aws.medical-imaging",
        "account": "1" * 12,
        "time": "2025-11-24T10:00:00Z",
        "region": "us-west-2",
        "resources": [ARN],
        "detail": {
            "imagingVersion": "1.0",
            "datastoreId": STORE,
            "datastoreName": "name",
            "datastoreStatus": "ACTIVE",
        },
    }


def test_tells_of_a_job() -> None:
    job = {
        "datastore_id": STORE,
        "job_id": "j",
        "job_status": "COMPLETED",
        "input_uri": "i",
        "output_uri": "o",
    }
    named = import_job_event("Import Job Completed", job_name="n", **job, **PLACE)  # type: ignore[arg-type]
    assert named["resources"] == [ARN]
    assert named["detail"] == {
        "imagingVersion": "1.0", "datastoreId": STORE, "jobId": "j", "jobName": "n", "jobStatus": "COMPLETED",
        "inputS3Uri": "i", "outputS3Uri": "o",
    }  # fmt: skip
    nameless = import_job_event("Import Job Completed", job_name=None, **job, **PLACE)  # type: ignore[arg-type]
    assert "jobName" not in nameless["detail"]  # type: ignore[operator]


def test_tells_of_an_image_set() -> None:
    given = {
        "datastore_id": STORE, "image_set_id": SET, "version": 3, "is_primary": True, "state": "ACTIVE",
        "workflow_status": "CREATED",
    }  # fmt: skip
    event = image_set_event("Image Set Created", **given, **PLACE)  # type: ignore[arg-type]
    assert event["resources"] == [f"{ARN}/imageset/{SET}"]
    assert event["detail"] == {
        "imagingVersion": "1.0", "isPrimary": True, "imageSetVersion": "3",
        "datastoreId": STORE, "imagesetId": SET, "imageSetState": "ACTIVE",
        "imageSetWorkflowStatus": "CREATED",
    }  # fmt: skip
    given["source_image_set_arn"] = ARN
    copying = image_set_event("Image Set Copying", **given, **PLACE)  # type: ignore[arg-type]
    assert copying["detail"]["sourceImageSetArn"] == ARN  # type: ignore[index]
