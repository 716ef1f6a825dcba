"""One import job, from its start until it is COMPLETED."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

from bench.clients.signed_requests import Signer, exchange_on
from bench.servers.lightwell_server import Server
from bench.servers.process_tree import ServerFailed
from bench.workspace import buckets_folder

_ROLE = "arn:aws:iam::000000000000:role/bench"
_OUTPUT = "bench-output"


def output_uri() -> str:
    """Where import jobs put their manifests."""
    (buckets_folder() / _OUTPUT).mkdir(exist_ok=True)
    return f"s3://{_OUTPUT}/"


class ImportJob:
    """One import job: started at once, `wait` polls until it has ended."""

    def __init__(self, server: Server, datastore: str, uri: str) -> None:
        self._server = server
        client = server.client()
        self._sign = Signer(server.client())
        self.begun = time.monotonic()
        self.id: str = client.start_dicom_import_job(
            jobName="bench",
            datastoreId=datastore,
            dataAccessRoleArn=_ROLE,
            inputS3Uri=uri,
            outputS3Uri=output_uri(),
            clientToken=f"bench-{time.time_ns()}",
        )["jobId"]
        self._poll = self._sign("get_dicom_import_job", datastoreId=datastore, jobId=self.id)
        self._datastore = datastore

    def wait(self, seconds: float = 600, look: Callable[[], None] | None = None) -> dict[str, Any]:
        """The job's properties once it is COMPLETED, and ``seconds`` from its start until it was seen so.

        Polls 50 times a second at first, then 200 times in all the time so far, with one prepared request: a
        poll costs milliseconds, and so the end of a job is seen 0.5 % late at most. ``look`` is called after
        each poll.
        """
        end = time.monotonic() + seconds
        with socket.create_connection(self._server.address, timeout=60) as connection:
            while time.monotonic() < end:
                status, _, body = exchange_on(connection, self._poll)
                if status != 200:
                    raise ServerFailed(f"GetDICOMImportJob answered {status}: {body[:300]!r}")
                properties: dict[str, Any] = json.loads(body)["jobProperties"]
                if properties["jobStatus"] in ("COMPLETED", "FAILED"):
                    properties["seconds"] = time.monotonic() - self.begun
                    break
                if look is not None:
                    look()
                time.sleep(max(0.02, (time.monotonic() - self.begun) / 200))
            else:
                raise ServerFailed(f"import job {self.id} is not done after {seconds:.0f} s")
        if properties["jobStatus"] != "COMPLETED":
            raise ServerFailed(f"import job {self.id}: {properties.get('message') or properties}")
        return properties
