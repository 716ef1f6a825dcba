"""What clients do from end to end, in the order of their calls: AWS's demos, a production client, OHIF."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import jmespath
import numpy as np
import pytest
from botocore.exceptions import ClientError

from tests.lifecycle.clients import ServedService
from tests.lifecycle.flows import SERIES, STUDY, Flow, polls
from tests.support.server import Server

_CODESTREAM = b"\xff\x4f\xff\x51"


@pytest.fixture
def flow(server: Server, served: ServedService) -> Iterator[Flow]:
    """In a data store that is made for the test."""
    client = server.client()
    datastore = client.create_datastore(datastoreName="flow")["datastoreId"]
    yield Flow(server, served, client, datastore)
    faults = [line for line in server.err if '"level":"error"' in line]
    assert not faults, "\n".join(faults)


def _pixels(data: bytes) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = imagecodecs.htj2k_decode(data[data.index(_CODESTREAM) :])
    return found


def test_runs_the_python_demo(server: Server, served: ServedService, tmp_path: Path) -> None:
    """Flow 1: ``usage_demo`` of AWS's Python examples."""
    client = server.client()
    datastore = client.create_datastore(datastoreName="demo-store")["datastoreId"]
    flow = Flow(server, served, client, datastore)
    for _ in polls():
        found = client.get_datastore(datastoreId=datastore)["datastoreProperties"]
        if found["datastoreStatus"] == "ACTIVE":
            break
    pages = client.get_paginator("list_datastores").paginate()
    assert datastore in [one["datastoreId"] for page in pages for one in page["datastoreSummaries"]]

    job = flow.start(flow.put_series("demo", 3), jobName="demo-job")
    assert flow.finished(job)["jobStatus"] == "COMPLETED"
    pages = client.get_paginator("list_dicom_import_jobs").paginate(datastoreId=datastore)
    assert [one["jobId"] for page in pages for one in page["jobSummaries"]] == [job]

    searches: list[dict[str, Any]] = [
        {"filters": [{"values": [{"DICOMPatientId": "P1"}], "operator": "EQUAL"}]},
        {
            "filters": [
                {
                    "values": [
                        {"DICOMStudyDateAndTime": {"DICOMStudyDate": "19900101", "DICOMStudyTime": "000000"}},
                        {"DICOMStudyDateAndTime": {"DICOMStudyDate": "20300101", "DICOMStudyTime": "000000"}},
                    ],
                    "operator": "BETWEEN",
                }
            ]
        },
        {
            "filters": [
                {
                    "values": [
                        {"createdAt": datetime(1985, 6, 19, 14, 30)},
                        {"createdAt": datetime.now() + timedelta(hours=15)},
                    ],
                    "operator": "BETWEEN",
                },
                {"values": [{"DICOMSeriesInstanceUID": SERIES}], "operator": "EQUAL"},
            ],
            "sort": {"sortOrder": "ASC", "sortField": "updatedAt"},
        },
    ]
    for criteria in searches:
        pages = client.get_paginator("search_image_sets").paginate(
            datastoreId=datastore, searchCriteria=criteria
        )
        (summary,) = [one for page in pages for one in page["imageSetsMetadataSummaries"]]
    image_set, version = summary["imageSetId"], summary["version"]
    properties = client.get_image_set(datastoreId=datastore, imageSetId=image_set, versionId=str(version))
    assert properties["imageSetState"] == "ACTIVE"

    answer = client.get_image_set_metadata(datastoreId=datastore, imageSetId=image_set)
    saved = tmp_path / "metadata.json.gz"
    saved.write_bytes(answer["imageSetMetadataBlob"].read())
    with gzip.open(saved) as opened:
        metadata = json.load(opened)
    frames = [
        instance["ImageFrames"][0]["ID"]
        for series in metadata["Study"]["Series"].values()
        for instance in series["Instances"].values()
    ]
    assert len(frames) == 3
    frame = client.get_image_frame(
        datastoreId=datastore, imageSetId=image_set, imageFrameInformation={"imageFrameId": frames[0]}
    )
    assert _pixels(frame["imageFrameBlob"].read()).shape == (16, 16)

    pages = client.get_paginator("list_image_set_versions").paginate(
        datastoreId=datastore, imageSetId=image_set
    )
    assert [one["versionId"] for page in pages for one in page["imageSetPropertiesList"]] == ["1"]
    answer = client.copy_image_set(
        datastoreId=datastore,
        sourceImageSetId=image_set,
        copyImageSetInformation={"sourceImageSet": {"latestVersionId": str(version)}},
    )
    copy = answer["destinationImageSetProperties"]["imageSetId"]
    assert flow.unlocked(copy)["versionId"] == "1"

    attributes = json.dumps({"SchemaVersion": 1.1, "Patient": {"DICOM": {"PatientName": "Garcia^Gloria"}}})
    client.update_image_set_metadata(
        datastoreId=datastore,
        imageSetId=copy,
        latestVersionId="1",
        updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": attributes}},
    )
    for one in (image_set, copy):
        flow.unlocked(one)
    assert flow.metadata(copy)["Patient"]["DICOM"]["PatientName"] == "Garcia^Gloria"
    assert flow.metadata(image_set)["Patient"]["DICOM"]["PatientName"] == "DOE^JANE"

    for one in (image_set, copy):
        client.delete_image_set(datastoreId=datastore, imageSetId=one)
    for one in (image_set, copy):
        for _ in polls():
            try:
                state = client.get_image_set(datastoreId=datastore, imageSetId=one)["imageSetState"]
            except ClientError:
                break
            if state == "DELETED":
                break
    client.delete_datastore(datastoreId=datastore)
    found = client.get_datastore(datastoreId=datastore)["datastoreProperties"]
    assert found["datastoreStatus"] in ("DELETING", "DELETED")


def test_runs_the_image_frames_workflow(flow: Flow) -> None:
    """Flow 2: AWS's image sets and frames workflow, with its JMESPath queries."""
    output = flow.finished(flow.start(flow.put_series("a", 4)))["outputS3Uri"]
    manifest = json.loads(flow.read(output + "job-output-manifest.json"))
    checked = 0
    for image_set in jmespath.search("jobSummary.imageSetsSummary[].imageSetId", manifest):
        metadata = flow.metadata(image_set)
        instances = jmespath.search("Study.Series.*.Instances[].*[]", metadata)
        for instance in instances:
            # These files have no rescaling; where there is some it is text.
            assert isinstance(instance["DICOM"].get("RescaleSlope", "1"), str)
            for frame in jmespath.search("ImageFrames[]", instance):
                best = jmespath.search("max_by(PixelDataChecksumFromBaseToFullResolution, &Width)", frame)
                data = flow.client.get_image_frame(
                    datastoreId=flow.datastore,
                    imageSetId=image_set,
                    imageFrameInformation={"imageFrameId": frame["ID"]},
                )["imageFrameBlob"].read()
                pixels = _pixels(data)
                assert zlib.crc32(pixels.tobytes()) == best["Checksum"]
                assert (pixels.min(), pixels.max()) == (frame["MinPixelValue"], frame["MaxPixelValue"])
                checked += 1
    assert checked == 4


def completes(job: str, event: dict[str, Any]) -> bool:
    return (event["detail-type"], event["detail"].get("jobId")) == ("Import Job Completed", job)


def test_runs_a_production_import(flow: Flow) -> None:
    """Flow 3: validation by event and manifest, revert of what joined another set, pre-signed frames."""
    for key, count, number in (("key-1", 2, 1), ("key-2", 3, 2)):
        job = flow.start(flow.put_series(key, count), jobName=key)
        assert flow.finished(job)["jobStatus"] == "COMPLETED"
        (event,) = flow.events(partial(completes, job))
        assert (event["source"], event["detail"]["jobName"]) == ("aws.medical-imaging", key)
        assert event["detail"]["jobStatus"] == "COMPLETED"
        summary = json.loads(flow.read(event["detail"]["outputS3Uri"] + "job-output-manifest.json"))[
            "jobSummary"
        ]
        assert not summary["numberOfFilesWithCustomerError"] + summary["numberOfFilesWithServerError"]
        assert summary["numberOfGeneratedImageSets"] == 1
        (one,) = summary["imageSetsSummary"]
        assert one["isPrimary"] and one["imageSetVersion"] == number
    image_set = one["imageSetId"]

    # The second import joined the first: that is not what the client wants, so it takes it back.
    first = flow.metadata(image_set, versionId="1")
    answer = flow.client.update_image_set_metadata(
        datastoreId=flow.datastore,
        imageSetId=image_set,
        latestVersionId=str(one["imageSetVersion"]),
        force=False,
        updateImageSetMetadataUpdates={"revertToVersionId": "1"},
    )
    assert answer["latestVersionId"] == "3"
    flow.unlocked(image_set)
    assert flow.metadata(image_set) == first
    # A second worker that does the same finds that it is too late.
    with pytest.raises(ClientError) as caught:
        flow.client.update_image_set_metadata(
            datastoreId=flow.datastore,
            imageSetId=image_set,
            latestVersionId="2",
            force=False,
            updateImageSetMetadataUpdates={"revertToVersionId": "1"},
        )
    assert caught.value.response["Error"] == {
        "Code": "ResourceNotFoundException",
        "Message": "Requested version(s) of ImageSet(s) is not the latest.",
    }

    (series,) = first["Study"]["Series"].values()
    for instance in series["Instances"].values():
        assert instance["StoredTransferSyntaxUID"] == "1.2.840.10008.1.2.4.202"
        for frame in instance["ImageFrames"]:
            status, body = _presigned(flow, image_set, frame["ID"])
            assert (status, len(body)) == (200, frame["FrameSizeInBytes"])


def _presigned(flow: Flow, image_set: str, frame: str) -> tuple[int, bytes]:
    """As a browser gets a frame by a request that its server has signed for it."""
    path = f"/datastore/{flow.datastore}/imageSet/{image_set}/getImageFrame"
    body = json.dumps({"imageFrameId": frame}).encode()
    headers = {"Accept": "image/jph", "Content-Type": "application/json"}
    reply = flow.server.send(flow.server.signed("POST", path, body, headers=headers))
    assert reply.headers["content-type"] == "image/jph"
    return reply.status, reply.body


def test_changes_a_primary_set_through_a_copy(flow: Flow) -> None:
    """Flow 4: copy, change the copy, delete the primary set, promote the copy, delete the copy."""
    client, store = flow.client, {"datastoreId": flow.datastore}
    primary = flow.set_import(flow.put_series("a", 3))
    neighbour = flow.set_import(flow.put_series("b", 1, series="2"))
    frames = _frame_ids(flow.metadata(primary))
    name = {"SchemaVersion": 1.1, "Patient": {"DICOM": {"PatientName": "NEW^NAME"}}}
    change = {"DICOMUpdates": {"updatableAttributes": json.dumps(name)}}
    with pytest.raises(ClientError, match="ValidationException"):
        client.update_image_set_metadata(
            **store, imageSetId=primary, latestVersionId="1", updateImageSetMetadataUpdates=change
        )
    copy = client.copy_image_set(
        **store,
        sourceImageSetId=primary,
        copyImageSetInformation={"sourceImageSet": {"latestVersionId": "1"}},
    )["destinationImageSetProperties"]["imageSetId"]
    assert flow.unlocked(copy)["isPrimary"] is False
    client.update_image_set_metadata(
        **store, imageSetId=copy, latestVersionId="1", updateImageSetMetadataUpdates=change
    )
    flow.unlocked(copy)
    client.delete_image_set(**store, imageSetId=primary)
    promoted = client.copy_image_set(
        **store,
        sourceImageSetId=copy,
        promoteToPrimary=True,
        copyImageSetInformation={"sourceImageSet": {"latestVersionId": "2"}},
    )["destinationImageSetProperties"]["imageSetId"]
    found = flow.unlocked(promoted)
    assert (found["imageSetWorkflowStatus"], found["isPrimary"]) == ("COPIED", True)
    assert promoted not in (copy, primary)
    client.delete_image_set(**store, imageSetId=copy)

    document = flow.metadata(promoted)
    assert document["Patient"]["DICOM"]["PatientName"] == "NEW^NAME"
    assert _frame_ids(document) == frames
    for frame in frames:
        data = client.get_image_frame(
            **store, imageSetId=promoted, imageFrameInformation={"imageFrameId": frame}
        )["imageFrameBlob"].read()
        assert _pixels(data).shape == (16, 16)
    shown = client.search_image_sets(
        **store,
        searchCriteria={
            "filters": [{"operator": "EQUAL", "values": [{"DICOMStudyInstanceUID": STUDY}]}],
        },
    )["imageSetsMetadataSummaries"]
    assert {one["imageSetId"]: one["isPrimary"] for one in shown} == {promoted: True, neighbour: True}
    details = ["Copying With Read Only Access", "Copying", "Copied"]
    events = flow.events(lambda event: event["detail"].get("imagesetId") == promoted, 2)
    assert [event["detail-type"] for event in events] == [f"Image Set {name}" for name in details[1:]]


def _frame_ids(document: dict[str, Any]) -> list[str]:
    return sorted(
        frame["ID"]
        for series in document["Study"]["Series"].values()
        for instance in series["Instances"].values()
        for frame in instance["ImageFrames"]
    )


def test_serves_a_viewer(flow: Flow) -> None:
    """Flow 5: a study list by pages, metadata as a browser fetches it, and a frame as its decoder gets it."""
    sets = {flow.set_import(flow.put_series(f"s{n}", 2, series=str(n))) for n in range(1, 6)}
    listed: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = flow.client.search_image_sets(
            datastoreId=flow.datastore, searchCriteria={}, maxResults=2, **token
        )
        listed += [one["imageSetId"] for one in answer["imageSetsMetadataSummaries"]]
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
    assert sorted(listed) == sorted(sets)

    image_set = listed[0]
    path = f"/datastore/{flow.datastore}/imageSet/{image_set}/getImageSetMetadata"
    reply = flow.server.send(flow.server.signed("POST", path, headers={"Origin": "http://viewer.example"}))
    # `fetch` inflates by these headers, and lets the page read the answer by the third.
    assert reply.headers["content-encoding"] == "gzip"
    assert reply.headers["content-type"] == "application/json"
    (frame, *_) = _frame_ids(json.loads(gzip.decompress(reply.body)))
    data = flow.client.get_image_frame(
        datastoreId=flow.datastore, imageSetId=image_set, imageFrameInformation={"imageFrameId": frame}
    )["imageFrameBlob"].read()
    assert _pixels(data).dtype == np.int16
