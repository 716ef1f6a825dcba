"""Every operation called once, and what ``DATA/events.ndjson`` says of it (devguide/event-notifications)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from lightwell.operations import OPERATIONS
from lightwell.wire import shapes
from lightwell.wire.routes import ROUTES
from lightwell.work.event_delivery import deliver
from lightwell.work.event_log import EventLog
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing

STORE = {"imagingVersion", "datastoreId", "datastoreName", "datastoreStatus"}
JOB = {"imagingVersion", "datastoreId", "jobId", "jobName", "jobStatus", "inputS3Uri", "outputS3Uri"}
SET = {
    "imagingVersion", "isPrimary", "imageSetVersion", "datastoreId", "imagesetId", "imageSetState",
    "imageSetWorkflowStatus",
}  # fmt: skip

# The page's table: detail-type → keys of detail, and what it says of the state.
TABLE: dict[str, tuple[set[str], tuple[str, ...]]] = {
    "Data Store Creating": (STORE, ("CREATING",)),
    "Data Store Creation Failed": (STORE, ("CREATE_FAILED",)),
    "Data Store Created": (STORE, ("ACTIVE",)),
    "Data Store Deleting": (STORE, ("DELETING",)),
    "Data Store Deleted": (STORE, ("DELETED",)),
    "Import Job Submitted": (JOB, ("SUBMITTED",)),
    "Import Job In Progress": (JOB, ("IN_PROGRESS",)),
    "Import Job Completed": (JOB, ("COMPLETED",)),
    "Import Job Failed": (JOB, ("FAILED",)),
    "Image Set Created": (SET, ("ACTIVE", "CREATED")),
    "Image Set Copying": (SET | {"sourceImageSetArn"}, ("LOCKED", "COPYING")),
    "Image Set Copying With Read Only Access": (SET, ("LOCKED", "COPYING_WITH_READ_ONLY_ACCESS")),
    "Image Set Copied": (SET, ("ACTIVE", "COPIED")),
    "Image Set Copy Failed": (SET, ("ACTIVE", "COPY_FAILED")),
    "Image Set Updating": (SET, ("LOCKED", "UPDATING")),
    "Image Set Updated": (SET, ("ACTIVE", "UPDATED")),
    "Image Set Update Failed": (SET, ("ACTIVE", "UPDATE_FAILED")),
    "Image Set Deleting": (SET, ("LOCKED", "DELETING")),
    "Image Set Deleted": (SET, ("DELETED", "DELETED")),
}
# A data store is made in one transaction, which either is or is not: no creation is seen to fail.
NEVER = {"Data Store Creation Failed"}
# Growth is told as a creation with a raised version, and says what it was.
GROWN = ("ACTIVE", "IMPORTED")


class RecordedCalls:
    """Calls operations by their names, and remembers which."""

    def __init__(self, server: Importing) -> None:
        self.server = server
        self.called: set[str] = set()

    def __call__(self, operation: str, **members: Any) -> Any:
        self.called.add(operation)
        request = getattr(shapes, f"{operation}Request")
        return OPERATIONS[operation](self.server.context, request(**members))

    @property
    def store(self) -> str:
        return self.server.datastore

    def imported(self, prefix: str) -> str:
        """The id of the only set that a job has made or raised."""
        self.called.add("StartDICOMImportJob")
        job = self.server.start(prefix, job_name="walk")
        self.server.work()
        self("GetDICOMImportJob", datastore_id=self.store, job_id=job.id)
        self("ListDICOMImportJobs", datastore_id=self.store)
        sets: list[Any] = self.server.report(job.id).manifest["imageSetsSummary"]
        return str(sets[0]["imageSetId"])

    def update(self, image_set: str, version: int, **study: object) -> None:
        blob = json.dumps({"SchemaVersion": "1.1", "Study": {"DICOM": study}}).encode()
        self(
            "UpdateImageSetMetadata",
            datastore_id=self.store,
            image_set_id=image_set,
            latest_version_id=str(version),
            include_study_image_sets=True,
            update_image_set_metadata_updates=shapes.MetadataUpdates(
                dicom_updates=shapes.DICOMUpdates(updatable_attributes=blob)
            ),
        )

    def copy(self, source: str, version: int, target: tuple[str, int] | None = None, **flags: Any) -> str:
        answer = self(
            "CopyImageSet",
            datastore_id=self.store,
            source_image_set_id=source,
            copy_image_set_information=shapes.CopyImageSetInformation(
                source_image_set=shapes.CopySourceImageSetInformation(latest_version_id=str(version)),
                destination_image_set=None
                if target is None
                else shapes.CopyDestinationImageSet(image_set_id=target[0], latest_version_id=str(target[1])),
            ),
            **flags,
        )
        return str(answer.destination_image_set_properties.image_set_id)

    def delete(self, image_set: str) -> None:
        self("DeleteImageSet", datastore_id=self.store, image_set_id=image_set)

    def events(self) -> list[dict[str, Any]]:
        """What the log has when everything is delivered; it may come more than once, and counts once."""
        self.server.close_engine()  # it delivers, too, and others pass over what it is about to
        stores, path = self.server.stores, self.server.settings.events
        log = EventLog(path)
        while deliver(stores, log, self.server.context.clock):
            pass
        log.close()
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return list({line["id"]: line for line in lines}.values())


def told(events: list[dict[str, Any]], key: str, id: str) -> list[tuple[str, ...]]:
    """The events of one set or job: detail-type without its subject, and the version where there is one."""
    return [
        (re.sub(r"^(Image Set|Import Job) ", "", e["detail-type"]), *_version(e["detail"]))
        for e in events
        if e["detail"].get(key) == id
    ]


def _version(detail: dict[str, Any]) -> tuple[str, ...]:
    return (detail["imageSetVersion"],) if "imageSetVersion" in detail else ()


def test_tells_of_everything_in_order(server: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = RecordedCalls(server)
    write_series(server.input / "a", 2)
    write(server.input / "more" / "3.dcm", ct(3))
    write(server.input / "other" / "1.dcm", ct(1, study="2"))

    primary = calls.imported("a/")
    assert calls.imported("more/") == primary
    other = calls.imported("other/")
    calls.called.add("StartDICOMImportJob")
    failed_job = server.start("nothing-here/", job_name="bad")
    server.work()
    calls.update(primary, 2, StudyDescription="x")
    with monkeypatch.context() as patch:
        patch.setattr("lightwell.stores.image_sets.members.replace_level", _fault)
        calls.update(primary, 3, StudyDescription="y")
    copied = calls.copy(primary, 4)
    assert calls.copy(copied, 1, (other, 1)) == other
    calls.delete(primary)
    promoted = calls.copy(copied, 1, promote_to_primary=True)

    reads: dict[str, dict[str, Any]] = {
        "GetDatastore": {"datastore_id": calls.store},
        "ListDatastores": {},
        "SearchImageSets": {"datastore_id": calls.store},
        "GetImageSet": {"datastore_id": calls.store, "image_set_id": copied},
        "GetImageSetMetadata": {"datastore_id": calls.store, "image_set_id": copied},
        "ListImageSetVersions": {"datastore_id": calls.store, "image_set_id": copied},
    }
    for operation, members in reads.items():
        calls(operation, **members)
    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{calls.store}"
    calls("TagResource", resource_arn=arn, tags={"a": "b"})
    calls("ListTagsForResource", resource_arn=arn)
    calls("UntagResource", resource_arn=arn, tag_keys=["a"])
    for image_set in (other, copied, promoted):
        calls.delete(image_set)
    calls("DeleteDatastore", datastore_id=calls.store)
    # It is called by the fixture; GetImageFrame has no function of its own, and writes nothing.
    assert calls.called | {"CreateDatastore", "GetImageFrame"} == set(ROUTES)

    events = calls.events()
    assert {e["detail-type"] for e in events} == set(TABLE) - NEVER
    _check_form(events, calls.store)
    growths = [("Created", "1"), ("Created", "2")]
    changes = [("Updating", "3"), ("Updated", "3"), ("Updating", "4"), ("Update Failed", "4")]
    copying = ("Copying With Read Only Access",)
    assert told(events, "imagesetId", primary) == [
        *growths, *changes, (*copying, "4"), ("Deleting", "4"), ("Deleted", "4"),
    ]  # fmt: skip
    assert told(events, "imagesetId", copied) == [
        ("Copying", "1"), ("Copied", "1"), (*copying, "1"), (*copying, "1"), ("Deleting", "1"),
        ("Deleted", "1"),
    ]  # fmt: skip
    assert told(events, "imagesetId", other) == [
        ("Created", "1"), ("Copying", "2"), ("Copy Failed", "2"), ("Deleting", "2"), ("Deleted", "2"),
    ]  # fmt: skip
    assert told(events, "imagesetId", promoted) == [
        ("Copying", "1"), ("Copied", "1"), ("Deleting", "1"), ("Deleted", "1"),
    ]  # fmt: skip
    assert told(events, "jobId", failed_job.id) == [("Submitted",), ("In Progress",), ("Failed",)]
    completed = {e["detail"]["jobId"] for e in events if e["detail-type"] == "Import Job Completed"}
    assert len(completed) == 3
    for id in completed:
        assert told(events, "jobId", id) == [("Submitted",), ("In Progress",), ("Completed",)]
    stores = [e["detail-type"] for e in events if "datastoreName" in e["detail"]]
    assert stores == [
        "Data Store Creating", "Data Store Created", "Data Store Deleting", "Data Store Deleted",
    ]  # fmt: skip
    assert _place(events, "Image Set Created") < _place(events, "Import Job Completed")


def _fault(*arguments: object) -> None:
    raise RuntimeError("a fault")


def _place(events: list[dict[str, Any]], detail_type: str) -> int:
    return [e["detail-type"] for e in events].index(detail_type)


def _check_form(events: list[dict[str, Any]], store: str) -> None:
    """Each envelope and detail has the members of the page, and no other."""
    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{store}"
    states: dict[str, Callable[[dict[str, Any]], tuple[str, ...]]] = {
        "datastoreStatus": lambda d: (d["datastoreStatus"],),
        "jobStatus": lambda d: (d["jobStatus"],),
        "imageSetState": lambda d: (d["imageSetState"], d["imageSetWorkflowStatus"]),
    }
    for event in events:
        detail = event["detail"]
        keys, state = TABLE[event["detail-type"]]
        assert set(detail) == keys, event
        shown = next(read(detail) for name, read in states.items() if name in detail)
        grown = event["detail-type"] == "Image Set Created" and detail["imageSetVersion"] != "1"
        assert shown == (GROWN if grown else state), event
        assert set(event) == {
            "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail",
        }  # fmt: skip
        assert (event["version"], event["source"], detail["imagingVersion"]) == (
            "0", "aws.medical-imaging", "1.0",
        )  # fmt: skip
        assert detail["datastoreId"] == store
        resource = f"{arn}/imageset/{detail['imagesetId']}" if "imagesetId" in detail else arn
        assert event["resources"] == [resource]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])
        if "sourceImageSetArn" in detail:
            assert detail["sourceImageSetArn"].startswith(f"{arn}/imageset/")
    assert len({event["id"] for event in events}) == len(events)


def test_tells_of_every_set_of_a_study_that_is_updated(server: Importing) -> None:
    calls = RecordedCalls(server)
    write(server.input / "1" / "1.dcm", ct(1, series="1"))
    write(server.input / "2" / "1.dcm", ct(1, series="2"))
    first, second = calls.imported("1/"), calls.imported("2/")
    calls.update(first, 1, StudyDescription="x")
    events = calls.events()
    for image_set in (first, second):
        assert told(events, "imagesetId", image_set) == [
            ("Created", "1"),
            ("Updating", "2"),
            ("Updated", "2"),
        ]
    consistent = [
        e["detail"]["imageSetWorkflowStatus"]
        for e in events
        if e["detail"].get("imagesetId") == second and e["detail-type"] == "Image Set Updating"
    ]
    assert consistent == ["UPDATING_FOR_STUDY_CONSISTENCY"]
