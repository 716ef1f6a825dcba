"""What must hold after an import, whatever happened to the processes: nothing lost, nothing twice."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import psycopg
import pydicom

from tests.many.deployment import Deployment
from tests.support import services
from tests.support.server import Server

_CODESTREAM = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent of an instance: its series and the CRC-32 of its pixels."""

    series: str
    crc: int


def sent(files: Iterable[bytes | Path]) -> dict[str, Sent]:
    """Instances by SOPInstanceUID."""
    found = {}
    for data in files:
        read = pydicom.dcmread(BytesIO(data) if isinstance(data, bytes) else data)
        found[read.SOPInstanceUID] = Sent(read.SeriesInstanceUID, zlib.crc32(read.PixelData))
    return found


def assert_reported(deployment: Deployment, bucket: str, job: Mapping[str, Any], keys: Iterable[str]) -> None:
    """The report of a job names every file once, each as imported."""
    assert job["jobStatus"] == "COMPLETED", job
    client = services.boto3_client(deployment.s3)
    folder = job["outputS3Uri"].removeprefix(f"s3://{bucket}/")

    def read(name: str) -> bytes:
        data: bytes = client.get_object(Bucket=bucket, Key=folder + name)["Body"].read()
        return data

    manifest = json.loads(read("job-output-manifest.json"))["jobSummary"]
    files = sorted(keys)
    assert manifest["numberOfImportedFiles"] == manifest["numberOfScannedFiles"] == len(files)
    told = sorted(json.loads(line)["inputFile"] for line in read("SUCCESS/success.ndjson").splitlines())
    client.close()
    assert told == files


def assert_stored(
    servers: Iterable[Server], datastore: str, files: Mapping[str, Sent], versions: Container[int] = (1,)
) -> int:
    """Every instance is in exactly one image set, of one of ``versions``, and nothing else is there.

    Each server in turn is asked for the document of a set and all its frames, whose pixels are compared with
    what was sent. Returns how many frames were read.
    """
    clients = [server.client() for server in servers]
    sets = _image_sets(clients[0], datastore)
    assert {one["imageSetId"] for one in sets} == {
        one["imageSetId"] for one in _image_sets(clients[-1], datastore)
    }
    seen: dict[str, str] = {}
    frames = 0
    for number, summary in enumerate(sets):
        client = clients[number % len(clients)]
        assert summary["version"] in versions, summary
        answer = client.get_image_set_metadata(datastoreId=datastore, imageSetId=summary["imageSetId"])
        document = json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read()))
        ((series, below),) = document["Study"]["Series"].items()
        for uid, instance in below["Instances"].items():
            assert uid not in seen, f"{uid} is in {seen[uid]} and in {summary['imageSetId']}"
            seen[uid] = summary["imageSetId"]
            assert files[uid].series == series
            (frame,) = instance["ImageFrames"]
            checksum = frame["PixelDataChecksumFromBaseToFullResolution"][-1]["Checksum"]
            assert checksum == files[uid].crc, uid
            frame_answer = client.get_image_frame(
                datastoreId=datastore,
                imageSetId=summary["imageSetId"],
                imageFrameInformation={"imageFrameId": frame["ID"]},
            )
            data = frame_answer["imageFrameBlob"].read()
            pixels = imagecodecs.htj2k_decode(data[data.index(_CODESTREAM) :])
            assert zlib.crc32(pixels.tobytes()) == checksum, uid
            frames += 1
    assert seen.keys() == files.keys(), f"{len(files.keys() - seen.keys())} instances are lost"
    return frames


def _image_sets(client: Any, datastore: str) -> list[dict[str, Any]]:
    pages = client.get_paginator("search_image_sets").paginate(datastoreId=datastore)
    return [item for page in pages for item in page["imageSetsMetadataSummaries"]]


def assert_whole(deployment: Deployment) -> None:
    """The rows: nothing of ended jobs is left behind, and no instance is in two primary image sets."""
    with psycopg.connect(deployment.database_url) as connection:

        def ask(sql: str) -> int:
            row = connection.execute(sql).fetchone()
            assert row is not None
            return int(row[0])

        assert not ask("SELECT count(*) FROM import_job WHERE phase <> 'done'")
        assert not ask("SELECT count(*) FROM staged")
        assert not ask("SELECT count(*) FROM unit WHERE state IN ('ready', 'claimed')")
        twice = (
            "SELECT count(*) FROM (SELECT m.instance FROM member m JOIN image_set s ON s.key = m.image_set"
            " WHERE m.valid_to IS NULL AND s.is_primary AND s.state = 'ACTIVE'"
            " GROUP BY m.instance HAVING count(*) > 1) AS twice"
        )
        assert not ask(twice)
