"""The random lives of image sets on two servers: each call goes to either, jobs to the workers of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from lightwell.clock import Ids
from lightwell.settings import load
from lightwell.stores import open_stores
from tests.lifecycle.clients import ServedService, wipe
from tests.many.deployment import Deployment
from tests.support import services
from tests.support.imports import ROLE


class ManyService(ServedService):
    """Through boto3, on servers that are chosen at random; input and reports are on S3."""

    def __init__(self, many: Deployment, folder: Path, chance: Random) -> None:
        self._many = many
        self._chance = chance
        self._bucket = services.new_bucket(many.s3)
        self._s3 = services.boto3_client(many.s3)
        settings = load({"data": folder}, environ=many.environment, file=None)
        super().__init__(many.servers[0], open_stores(settings), replace(settings, codec_workers=1))

    def connect(self) -> None:
        self._clients = [server.client() for server in self._many.servers[:2]]

    @property
    def client(self) -> Any:
        return self._chance.choice(self._clients)

    def import_files(self, files: Mapping[str, bytes]) -> str:
        self._jobs += 1
        prefix = f"{self._jobs}-{Ids().id()[:6]}"
        for name, data in files.items():
            self._s3.put_object(Bucket=self._bucket, Key=f"{prefix}/{name}", Body=data)
        job = self.call(
            "StartDICOMImportJob",
            clientToken=Ids().id(),
            dataAccessRoleArn=ROLE,
            inputS3Uri=f"s3://{self._bucket}/{prefix}/",
            outputS3Uri=f"s3://{self._bucket}/out",
        )["jobId"]
        return self.finished(job)

    def read_output(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        data: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def empty(self, encrypted: bool = False) -> None:
        assert not encrypted, "these servers have no key"
        wipe(self.stores, kept={"access_key", "server", "installation"})
        self.datastore = self.call("CreateDatastore", datastoreName="walk", clientToken=Ids().id())[
            "datastoreId"
        ]

    def close(self) -> None:
        self._s3.close()
        super().close()
