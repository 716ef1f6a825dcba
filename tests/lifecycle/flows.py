"""What the flows of clients have in common: files in a bucket, a job, and waiting as clients do it."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.lifecycle.clients import ServedService
from tests.support.ct_files import ROOT, write_series
from tests.support.server import Server

STUDY, SERIES = f"{ROOT}.1", f"{ROOT}.1.1"
_SECONDS = 180


@dataclass(frozen=True)
class Flow:
    """A client, a data store of its own, and the local folder of the buckets."""

    server: Server
    service: ServedService
    client: Any
    datastore: str

    def put_series(self, prefix: str, count: int, **options: Any) -> str:
        """Write CT slices below a prefix of the input bucket; its URI."""
        prefix = f"{self.datastore[:8]}/{prefix}"
        write_series(self.service.settings.buckets / "in-bucket" / prefix, count, **options)
        return f"s3://in-bucket/{prefix}/"

    def start(self, uri: str, **more: Any) -> str:
        job: str = self.client.start_dicom_import_job(
            datastoreId=self.datastore,
            dataAccessRoleArn="arn:aws:iam::000000000000:role/import",
            inputS3Uri=uri,
            outputS3Uri="s3://out-bucket/results/",
            **more,
        )["jobId"]
        return job

    def finished(self, job: str) -> dict[str, Any]:
        """Poll a job until it has ended; its properties."""
        for _ in polls():
            found: dict[str, Any] = self.client.get_dicom_import_job(datastoreId=self.datastore, jobId=job)[
                "jobProperties"
            ]
            if found["jobStatus"] in ("COMPLETED", "FAILED"):
                return found
        raise AssertionError("the job does not end")

    def read(self, s3_uri: str) -> bytes:
        """An object of the output bucket."""
        return (self.service.settings.buckets / s3_uri.removeprefix("s3://")).read_bytes()

    def set_import(self, uri: str) -> str:
        """Import by a job; the id of the one set that it made."""
        output = self.finished(self.start(uri))["outputS3Uri"]
        manifest = json.loads(self.read(output + "job-output-manifest.json"))
        (one,) = manifest["jobSummary"]["imageSetsSummary"]
        id: str = one["imageSetId"]
        return id

    def unlocked(self, image_set: str) -> dict[str, Any]:
        """Poll a set until it is not LOCKED; its properties."""
        for _ in polls():
            found: dict[str, Any] = self.client.get_image_set(
                datastoreId=self.datastore, imageSetId=image_set
            )
            if found["imageSetState"] != "LOCKED":
                return found
        raise AssertionError("the image set stays locked")

    def metadata(self, image_set: str, **version: str) -> dict[str, Any]:
        answer = self.client.get_image_set_metadata(
            datastoreId=self.datastore, imageSetId=image_set, **version
        )
        found: dict[str, Any] = json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read()))
        return found

    def events(self, wanted: Callable[[dict[str, Any]], bool], count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many delivered events are as wanted."""
        found: list[dict[str, Any]] = []
        for _ in polls():
            lines = (self.server.data / "events.ndjson").read_text().splitlines()
            found = [event for event in map(json.loads, lines) if wanted(event)]
            if len(found) >= count:
                return found
        raise AssertionError(f"only {found} came")


def polls() -> Iterator[None]:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        yield
        time.sleep(0.02)
