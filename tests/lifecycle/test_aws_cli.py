"""AWS's command line through one life cycle, as its manual shows each call."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.clients import ServedService
from tests.lifecycle.flows import SERIES, polls
from tests.support.ct_files import write_series
from tests.support.server import Server, environment

Aws = Callable[..., Any]


@pytest.fixture
def aws(server: Server, tmp_path: Path) -> Aws:
    """Run ``aws medical-imaging …`` in a folder of its own; the answer, or the message of a refusal."""
    key = server.root
    env = {
        **environment(),
        "AWS_ACCESS_KEY_ID": key.access_key,
        "AWS_SECRET_ACCESS_KEY": key.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_MEDICAL_IMAGING": server.url,
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_MAX_ATTEMPTS": "1",
    }

    def run(operation: str, *arguments: str, refused: bool = False) -> Any:
        command = [str(Path(sys.executable).with_name("aws")), "medical-imaging", operation, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        assert bool(done.returncode) == refused, done.stderr
        return done.stderr if refused else json.loads(done.stdout or "null")

    return run


@pytest.mark.slow
def test_runs_a_life_cycle_through_the_command_line(
    server: Server, served: ServedService, aws: Aws, tmp_path: Path
) -> None:
    write_series(served.settings.buckets / "in-bucket" / "cli", 3)
    datastore = aws("create-datastore", "--datastore-name", "cli")["datastoreId"]
    store = ("--datastore-id", datastore)
    for _ in polls():
        if aws("get-datastore", *store)["datastoreProperties"]["datastoreStatus"] == "ACTIVE":
            break
    job = aws(
        *("start-dicom-import-job", "--job-name", "cli", *store),
        *("--data-access-role-arn", "arn:aws:iam::000000000000:role/import"),
        *("--input-s3-uri", "s3://in-bucket/cli/", "--output-s3-uri", "s3://out-bucket/cli/"),
    )["jobId"]
    for _ in polls():
        found = aws("get-dicom-import-job", *store, "--job-id", job)["jobProperties"]["jobStatus"]
        if found == "COMPLETED":
            break
    criteria = {"filters": [{"operator": "EQUAL", "values": [{"DICOMSeriesInstanceUID": SERIES}]}]}
    (summary,) = aws("search-image-sets", *store, "--search-criteria", json.dumps(criteria))[
        "imageSetsMetadataSummaries"
    ]
    image_set = ("--image-set-id", summary["imageSetId"])
    assert aws("get-image-set", *store, *image_set)["versionId"] == "1"

    def metadata(*which: str) -> Any:
        file = tmp_path / "metadata.json.gz"
        answer = aws("get-image-set-metadata", *store, *which, str(file))
        assert answer["contentEncoding"] == "gzip"
        return json.loads(gzip.decompress(file.read_bytes()))

    instances = metadata(*image_set)["Study"]["Series"][SERIES]["Instances"]
    (first, second, third) = instances
    frame = instances[first]["ImageFrames"][0]
    answer = aws(
        *("get-image-frame", *store, *image_set),
        *("--image-frame-information", f"imageFrameId={frame['ID']}", "frame.jph"),
    )
    assert answer["contentType"] == "image/jph"
    assert (tmp_path / "frame.jph").stat().st_size == frame["FrameSizeInBytes"]

    # Two of the three instances into a new set.
    subset = {
        "SchemaVersion": "1.1",
        "Study": {"Series": {SERIES: {"Instances": {first: {}, second: {}}}}},
    }
    information = {"sourceImageSet": {"latestVersionId": "1"}}
    named = {"DICOMCopies": {"copiableAttributes": json.dumps(subset)}}
    source = ("--source-image-set-id", summary["imageSetId"])
    copied = aws(
        *("copy-image-set", *store, *source),
        *("--copy-image-set-information", json.dumps({"sourceImageSet": {"latestVersionId": "1", **named}})),
    )
    copy = ("--image-set-id", copied["destinationImageSetProperties"]["imageSetId"])
    assert copied["sourceImageSetProperties"]["imageSetWorkflowStatus"] == "COPYING_WITH_READ_ONLY_ACCESS"
    assert metadata(*copy)["Study"]["Series"][SERIES]["Instances"].keys() == {first, second}

    # An update with both blobs, from a file as the manual has it.
    removable = {"SchemaVersion": 1.1, "Study": {"Series": {SERIES: {"Instances": {second: {}}}}}}
    updatable = {
        "SchemaVersion": 1.1,
        "Patient": {"DICOM": {"PatientName": "MX^MX"}},
        "Study": {"Series": {SERIES: {"DICOM": {"SeriesDescription": "by hand"}}}},
    }
    blobs = {"removableAttributes": json.dumps(removable), "updatableAttributes": json.dumps(updatable)}
    (tmp_path / "updates.json").write_text(json.dumps({"DICOMUpdates": blobs}))
    updates = ("--update-image-set-metadata-updates", "file://updates.json")
    updated = aws("update-image-set-metadata", *store, *copy, "--latest-version-id", "1", *updates)
    assert (updated["latestVersionId"], updated["imageSetState"]) == ("2", "LOCKED")
    changed = metadata(*copy)
    assert changed["Patient"]["DICOM"]["PatientName"] == "MX^MX"
    series = changed["Study"]["Series"][SERIES]
    assert series["DICOM"]["SeriesDescription"] == "by hand"
    assert series["Instances"].keys() == {first}
    assert metadata(*copy, "--version-id", "1")["Patient"]["DICOM"]["PatientName"] == "DOE^JANE"
    stale = aws(
        "update-image-set-metadata", *store, *copy, "--latest-version-id", "1", *updates, refused=True
    )
    assert "(ResourceNotFoundException)" in stale
    assert "Requested version(s) of ImageSet(s) is not the latest." in stale

    # The third instance joins the copy, whose names are others: only by force, and the names stay.
    rest = {"SchemaVersion": "1.1", "Study": {"Series": {SERIES: {"Instances": {third: {}}}}}}

    def join(version: str) -> tuple[str, ...]:
        whole = {
            "sourceImageSet": {
                **information["sourceImageSet"],
                "DICOMCopies": {"copiableAttributes": json.dumps(rest)},
            },
            "destinationImageSet": {"imageSetId": copy[1], "latestVersionId": version},
        }
        return (*source, "--copy-image-set-information", json.dumps(whole))

    aws("copy-image-set", *store, *join("2"))
    aws("copy-image-set", *store, *join("3"), "--force")
    joined = metadata(*copy)
    assert joined["Patient"] == changed["Patient"]
    assert joined["Study"]["Series"][SERIES]["Instances"].keys() == {first, third}
    versions = aws("list-image-set-versions", *store, *copy)["imageSetPropertiesList"]
    assert [(one["versionId"], one["ImageSetWorkflowStatus"]) for one in versions] == [
        ("4", "COPIED"),
        ("3", "COPY_FAILED"),
        ("2", "UPDATED"),
        ("1", "COPIED"),
    ]
    assert (
        versions[1]["message"]
        == "INVALID_REQUEST:  Patient of SourceImageSet and DestinationImageSet don't match."
    )
    reverted = aws(
        *("update-image-set-metadata", *store, *copy, "--latest-version-id", "4"),
        *("--update-image-set-metadata-updates", json.dumps({"revertToVersionId": "1"})),
    )
    assert reverted["latestVersionId"] == "5"
    assert {**metadata(*copy), "ImageSetID": ""} == {
        **metadata(*copy, "--version-id", "1"),
        "ImageSetID": "",
    }

    for one in (copy, image_set):
        assert aws("delete-image-set", *store, *one)["imageSetWorkflowStatus"] == "DELETING"
        assert aws("get-image-set", *store, *one)["imageSetState"] == "DELETED"
    assert aws("delete-datastore", *store)["datastoreStatus"] == "DELETING"
