"""What the JavaScript clients of the tests need: a run of Node, and a data store to look at."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.server import Server, ended_job, environment

_SECONDS = 300


def node(script: str, folder: Path, env: Mapping[str, str]) -> Any:
    """What a script of ``folder`` prints, as JSON."""
    done = subprocess.run(
        ["node", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env={**environment(), **env},
    )
    assert done.returncode == 0, done.stderr[:2000]
    return json.loads(done.stdout)


def imported(server: Server, datastore: str, prefix: str) -> None:
    """Import what lies below ``s3://in-bucket/PREFIX`` of the server's buckets."""
    client = server.client()
    (server.data / "buckets" / "out-bucket").mkdir(parents=True, exist_ok=True)
    job = client.start_dicom_import_job(
        datastoreId=datastore,
        dataAccessRoleArn="arn:aws:iam::000000000000:role/import",
        inputS3Uri=f"s3://in-bucket/{prefix}",
        outputS3Uri="s3://out-bucket/",
        clientToken=uuid.uuid4().hex,
    )["jobId"]
    properties = ended_job(client, datastore, job)
    assert properties["jobStatus"] == "COMPLETED", properties
