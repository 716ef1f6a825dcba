"""The same series from both sides at once: two imports, two uploads, writes on either server."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.many.deployment import Deployment
from tests.many.proof import assert_reported, assert_stored, assert_whole, sent
from tests.many.test_roles import stow
from tests.support.ct_files import ROOT, ct
from tests.support.server import Server


def slices(series: str, count: int = 40, first: int = 1) -> dict[str, bytes]:
    """Objects of an input bucket: CT slices of one series."""
    made = {}
    for number in range(first, first + count):
        stream = io.BytesIO()
        ct(number, series=series, study=series).save_as(stream, enforce_file_format=True)
        made[f"in/{number:03}.dcm"] = stream.getvalue()
    return made


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that are made at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


def only_set(server: Server, datastore: str) -> dict[str, Any]:
    (found,) = server.client().search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]
    return dict(found)


def instances(server: Server, datastore: str, image_set: str) -> dict[str, Any]:
    answer = server.client().get_image_set_metadata(datastoreId=datastore, imageSetId=image_set)
    document = json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read()))
    (series,) = document["Study"]["Series"].values()
    return dict(series["Instances"])


def test_two_imports_of_one_series_keep_each_instance_once(many: Deployment) -> None:
    a, b = many.servers[:2]
    files = slices("31", 140)
    datastore = many.datastore(a)
    buckets = [many.input_bucket(files), many.input_bucket(files)]
    jobs = at_once(
        lambda: many.start_import(datastore, buckets[0], a),
        lambda: many.start_import(datastore, buckets[1], b),
    )
    for bucket, job in zip(buckets, jobs, strict=True):
        assert_reported(many, bucket, many.ended(datastore, job, b), files)
    # A file that both have read before either was in an image set makes no version that is like the first.
    assert assert_stored((a, b), datastore, sent(files.values())) == len(files)
    assert_whole(many)


def test_two_imports_of_parts_of_a_series_make_one_set(many: Deployment) -> None:
    a, b = many.servers[:2]
    parts = [slices("32", 60), slices("32", 60, first=41)]
    datastore = many.datastore(a)
    buckets = [many.input_bucket(part) for part in parts]
    jobs = at_once(
        lambda: many.start_import(datastore, buckets[0], a),
        lambda: many.start_import(datastore, buckets[1], b),
    )
    for bucket, job, part in zip(buckets, jobs, parts, strict=True):
        assert_reported(many, bucket, many.ended(datastore, job, a), part)
    found = only_set(b, datastore)
    assert len(instances(b, datastore, found["imageSetId"])) == 100
    assert found["version"] == 2 and found["isPrimary"]
    assert_whole(many)


def test_uploads_of_one_series_to_both_servers_and_an_import_of_it(many: Deployment) -> None:
    a, b = many.servers[:2]
    files = slices("33", 12)
    datastore = many.datastore(a)
    bucket = many.input_bucket(files)

    def upload(server: Server) -> list[int]:
        return [stow(server, datastore, data)[0] for data in files.values()]

    statuses, others, job = at_once(
        lambda: upload(a), lambda: upload(b), lambda: many.start_import(datastore, bucket, b)
    )
    assert set(statuses + others) == {200}
    assert_reported(many, bucket, many.ended(datastore, job, a), files)
    found = only_set(a, datastore)
    shown = instances(b, datastore, found["imageSetId"])
    assert shown.keys() == sent(files.values()).keys()
    assert found["version"] <= len(files) + 1
    assert_whole(many)


def test_reads_on_one_server_at_once_what_the_other_has_answered(many: Deployment) -> None:
    a, b = many.servers[:2]
    datastore = many.datastore(a)
    (data,) = slices("34", 1).values()
    assert stow(a, datastore, data)[0] == 200
    id = only_set(b, datastore)["imageSetId"]
    for number in range(1, 21):
        writer, reader = (a, b) if number % 2 else (b, a)
        renamed = {"SchemaVersion": 1.1, "Study": {"DICOM": {"StudyDescription": f"name {number}"}}}
        update(writer, datastore, id, number, renamed, includeStudyImageSets=True)
        answer = reader.client().get_image_set_metadata(datastoreId=datastore, imageSetId=id)
        document = json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read()))
        assert document["Study"]["DICOM"]["StudyDescription"] == f"name {number}"
        shown = only_set(reader, datastore)
        assert (shown["version"], shown["DICOMTags"]["DICOMStudyDescription"]) == (
            number + 1,
            f"name {number}",
        )
    a.client().delete_image_set(datastoreId=datastore, imageSetId=id)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        b.client().get_image_set_metadata(datastoreId=datastore, imageSetId=id)
    assert not b.client().search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]


def update(
    server: Server, datastore: str, id: str, version: int, changes: dict[str, Any], **flags: bool
) -> None:
    server.client().update_image_set_metadata(
        datastoreId=datastore,
        imageSetId=id,
        latestVersionId=str(version),
        updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": json.dumps(changes).encode()}},
        **flags,
    )


def test_updates_on_one_server_while_imports_commit(many: Deployment) -> None:
    """Each update has its version, though imports make others in between; none of either is lost."""
    a, b = many.servers[:2]
    datastore = many.datastore(a)
    (first,) = slices("35", 1).values()
    assert stow(a, datastore, first)[0] == 200
    id = only_set(a, datastore)["imageSetId"]
    made: list[str] = []
    jobs = []
    for part in range(3):
        bucket = many.input_bucket(slices("35", 20, first=2 + 20 * part))
        jobs.append(many.start_import(datastore, bucket, b))
        for number in range(5):
            name = f"{part}-{number}"
            while True:
                version = int(only_set(a, datastore)["version"])
                uid = next(iter(instances(b, datastore, id)))
                series = f"{ROOT}.35.35"
                changes = {
                    "SchemaVersion": 1.1,
                    "Study": {"Series": {series: {"Instances": {uid: {"DICOM": {"ImageComments": name}}}}}},
                }
                try:
                    update(a, datastore, id, version, changes)
                except ClientError as error:
                    # Another version was made since, or is being made.
                    code = error.response["Error"]["Code"]
                    assert code in ("ResourceNotFoundException", "ConflictException"), error
                    continue
                made.append(name)
                break
    for job in jobs:
        assert many.ended(datastore, job, a)["jobStatus"] == "COMPLETED"
    shown = instances(b, datastore, id)
    assert len(shown) == 61
    versions = b.client().list_image_set_versions(datastoreId=datastore, imageSetId=id, maxResults=50)
    count = len(versions["imageSetPropertiesList"])
    assert count == int(only_set(b, datastore)["version"])
    assert 1 + len(made) + 1 <= count <= 1 + len(made) + len(jobs)
    assert_whole(many)


def test_deletes_on_one_server_while_the_other_copies(many: Deployment) -> None:
    """A copy is whole or refused; what it has copied stays when its source is collected."""
    a, b = many.servers[:2]
    datastore = many.datastore(a)
    for round in range(6):
        (data,) = slices(f"36{round}", 1).values()
        assert stow(a, datastore, data)[0] == 200
        uid = next(iter(sent([data])))
        (source,) = [
            each["imageSetId"]
            for each in a.client().search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]
            if each["DICOMTags"]["DICOMStudyInstanceUID"] == uid.rpartition(".")[0].rpartition(".")[0]
            and each["isPrimary"]
        ]

        def copy(source: str = source) -> str | None:
            try:
                made = b.client().copy_image_set(
                    datastoreId=datastore,
                    sourceImageSetId=source,
                    copyImageSetInformation={"sourceImageSet": {"latestVersionId": "1"}},
                )
            except ClientError as error:
                assert error.response["Error"]["Code"] in ("ResourceNotFoundException", "ConflictException")
                return None
            return str(made["destinationImageSetProperties"]["imageSetId"])

        copied, _ = at_once(
            copy,
            lambda s=source: a.client().delete_image_set(datastoreId=datastore, imageSetId=s),  # type: ignore[misc]
        )
        if copied is not None:
            assert instances(a, datastore, copied).keys() == {uid}
