"""The ways to a server for the random runs: in this process, and through boto3."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
from botocore.exceptions import ClientError

from lightwell.clock import Clock, Ids
from lightwell.errors import ApiError
from lightwell.operations import OPERATIONS
from lightwell.operations.get_image_frame import FrameReader
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.wire.routes import ROUTES
from lightwell.work.collector import Collector
from tests.support.collector import Later
from tests.support.imports import IN, OUT, ROLE, Importing, importing
from tests.support.server import Server

_DAY = 86_400_000
_ARN = "arn:aws:kms:us-east-1:000000000000:key/12345678-1234-1234-1234-123456789012"


class Refused(Exception):
    """An error of the API: ``code`` is its name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Service(Protocol):
    """A server with one data store; what is behind it may be looked at through ``stores``."""

    settings: Settings
    stores: Stores
    datastore: str

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """Call an operation by its name, with the wire names of its members. Raises `Refused`."""

    def frame(self, image_set: str, frame: str) -> bytes: ...

    def import_files(self, files: Mapping[str, bytes]) -> str:
        """Import files by one job; the URI of the folder of its output."""

    def read_output(self, uri: str) -> bytes:
        """An object that a job has written."""

    def empty(self, encrypted: bool = False) -> None:
        """Continue with an empty data store; nothing is left of the old one."""

    def close(self) -> None: ...


class InProcessService:
    """The operations and an engine in this process."""

    def __init__(self, folder: Path, database_url: str, **settings: Any) -> None:
        self._server: Importing = importing(folder, database_url, **settings)
        self.settings, self.stores = self._server.settings, self._server.stores
        self.datastore = self._server.datastore
        self._frames = FrameReader(self.stores, Clock())
        self._jobs = 0

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        members = {"datastoreId": self.datastore} | members
        try:
            request = msgspec.convert(members, ROUTES[operation].request)
            answer = OPERATIONS[operation](self._server.context, request)
        except ApiError as error:
            raise Refused(error.code, error.message) from None
        found: dict[str, Any] = msgspec.to_builtins(answer, builtin_types=(bytes,))
        return found

    def frame(self, image_set: str, frame: str) -> bytes:
        try:
            place = self._frames.locate(self.datastore, image_set, frame)
        except ApiError as error:
            raise Refused(error.code, error.message) from None
        return self._frames.read(place, 0, place.length)

    def import_files(self, files: Mapping[str, bytes]) -> str:
        self._jobs += 1
        put(self._server.input / str(self._jobs), files)
        job = self._server.start(f"{self._jobs}/")
        self._server.work()
        return self._server.job(job.id).output_uri

    def read_output(self, uri: str) -> bytes:
        return (self.settings.buckets / uri.removeprefix("s3://")).read_bytes()

    def empty(self, encrypted: bool = False) -> None:
        wipe(self.stores)
        key = {"kmsKeyArn": _ARN} if encrypted else {}
        made = self.call("CreateDatastore", clientToken=Ids().id(), **key)
        self.datastore = self._server.datastore = made["datastoreId"]

    def close(self) -> None:
        self._server.close()


class ServedService:
    """A server in processes of its own, through boto3. A job has to end within ``patience`` seconds."""

    patience = 180.0

    def __init__(self, server: Server, stores: Stores, settings: Settings) -> None:
        self.server, self.stores, self.settings = server, stores, settings
        self._jobs = 0
        for name in (IN, OUT):
            (settings.buckets / name).mkdir(parents=True, exist_ok=True)
        self.connect()
        self.datastore = self.client.create_datastore(datastoreName="walk")["datastoreId"]

    def connect(self) -> None:
        """Connect again after the server was restarted."""
        self.client = self.server.client()

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        if operation not in ("CreateDatastore", "ListDatastores"):
            members = {"datastoreId": self.datastore} | members
        try:
            found: dict[str, Any] = getattr(self.client, ROUTES[operation].function)(**members)
        except ClientError as error:
            raise Refused(error.response["Error"]["Code"], error.response["Error"]["Message"]) from None
        del found["ResponseMetadata"]
        if "imageSetMetadataBlob" in found:
            found["imageSetMetadataBlob"] = found["imageSetMetadataBlob"].read()
        return found

    def frame(self, image_set: str, frame: str) -> bytes:
        try:
            answer = self.client.get_image_frame(
                datastoreId=self.datastore,
                imageSetId=image_set,
                imageFrameInformation={"imageFrameId": frame},
            )
        except ClientError as error:
            raise Refused(error.response["Error"]["Code"], error.response["Error"]["Message"]) from None
        data: bytes = answer["imageFrameBlob"].read()
        return data

    def import_files(self, files: Mapping[str, bytes]) -> str:
        self._jobs += 1
        prefix = f"{self._jobs}-{Ids().id()[:6]}"
        put(self.settings.buckets / IN / prefix, files)
        return self.finished(self.start(prefix))

    def start(self, prefix: str) -> str:
        job: str = self.call(
            "StartDICOMImportJob",
            clientToken=Ids().id(),
            dataAccessRoleArn=ROLE,
            inputS3Uri=f"s3://{IN}/{prefix}/",
            outputS3Uri=f"s3://{OUT}/res",
        )["jobId"]
        return job

    def finished(self, job: str) -> str:
        """Wait for a job; the folder of its output."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            found = self.call("GetDICOMImportJob", jobId=job)["jobProperties"]
            if found["jobStatus"] in ("COMPLETED", "FAILED"):
                assert found["jobStatus"] == "COMPLETED", found
                output: str = found["outputS3Uri"]
                return output
            time.sleep(0.01)
        raise AssertionError(f"import job {job} does not end")

    def read_output(self, uri: str) -> bytes:
        return (self.settings.buckets / uri.removeprefix("s3://")).read_bytes()

    def empty(self, encrypted: bool = False) -> None:
        wipe(self.stores)
        key = {"kmsKeyArn": _ARN} if encrypted else {}
        made = self.call("CreateDatastore", datastoreName="walk", clientToken=Ids().id(), **key)
        self.datastore = made["datastoreId"]

    def close(self) -> None:
        self.stores.close()


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def wipe(stores: Stores, kept: Container[str] = ("access_key", "installation")) -> None:
    """Empty every table but those ``kept``, and the packs: the next run shall begin with nothing."""

    def work(conn: Any) -> None:
        for table in tables.metadata.tables.values():
            if table.name not in kept:
                conn.execute(table.delete())
        # These are of another kind on each database, and none of those.
        for name in ("study_grams", "series_grams"):
            if conn.dialect.name == "sqlite":
                conn.exec_driver_sql(f"INSERT INTO {name} ({name}) VALUES ('delete-all')")
            else:
                conn.exec_driver_sql(f"DELETE FROM {name}")

    stores.db.write(work)
    for name, _ in list(stores.objects.list("packs/")):
        stores.objects.delete(name)


def collect(service: Service, *, strays: bool = False) -> None:
    """Let the collector take everything that it may, as if a day had gone by.

    ``strays``: also packs that the database does not know, and what is half written: nobody may be writing.
    """
    settings = replace(service.settings, collect_grace=60)
    Collector(service.stores, settings, Later(_DAY), Ids()).collect(housekeeping=strays)
