"""EventBridge envelopes, as devguide/event-notifications shows them."""

from __future__ import annotations

import uuid
from dataclasses import replace

from lightwell.domain.events import (
    EventHeader,
    ImageSetDetail,
    datastore_event,
    image_set_event,
    import_job_event,
)
from lightwell.domain.states import DatastoreStatus, ImageSetState, JobStatus, WorkflowStatus

STORE, SET = "a" * 32, "b" * 32
HEADER = EventHeader(
    id="0" * 32, now=1_763_978_400_999, region="us-west-2", account="1" * 12, datastore_id=STORE
)
ARN = f"arn:aws:medical-imaging:us-west-2:{'1' * 12}:datastore/{STORE}"


def test_wraps_every_event_alike() -> None:
    event = datastore_event("Data Store Created", HEADER, name="name", status=DatastoreStatus.ACTIVE)
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
    def completed(job_name: str | None) -> dict[str, object]:
        return import_job_event(
            "Import Job Completed",
            HEADER,
            job_id="j",
            job_name=job_name,
            job_status=JobStatus.COMPLETED,
            input_uri="i",
            output_uri="o",
        )

    named = completed("n")
    assert named["resources"] == [ARN]
    assert named["detail"] == {
        "imagingVersion": "1.0", "datastoreId": STORE, "jobId": "j", "jobName": "n", "jobStatus": "COMPLETED",
        "inputS3Uri": "i", "outputS3Uri": "o",
    }  # fmt: skip
    nameless = completed(None)
    assert "jobName" not in nameless["detail"]  # type: ignore[operator]


def test_tells_of_an_image_set() -> None:
    created = ImageSetDetail(
        image_set_id=SET,
        version=3,
        is_primary=True,
        state=ImageSetState.ACTIVE,
        workflow_status=WorkflowStatus.CREATED,
    )
    event = image_set_event("Image Set Created", HEADER, created)
    assert event["resources"] == [f"{ARN}/imageset/{SET}"]
    assert event["detail"] == {
        "imagingVersion": "1.0", "isPrimary": True, "imageSetVersion": "3",
        "datastoreId": STORE, "imagesetId": SET, "imageSetState": "ACTIVE",
        "imageSetWorkflowStatus": "CREATED",
    }  # fmt: skip
    copying = image_set_event("Image Set Copying", HEADER, replace(created, source_image_set_arn=ARN))
    assert copying["detail"]["sourceImageSetArn"] == ARN  # type: ignore[index]
