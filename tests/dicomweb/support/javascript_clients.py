"""What the JavaScript clients of the tests need: their modules, Chromium, and a data store to look at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server, ended_job, environment

_SOURCE = Path(__file__).parents[2] / "browser"
_SECONDS = 120


def needed(*programs: str) -> None:
    """Skip where a program is missing; in CI that is a failure."""
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing:
        return
    reason = f"no {' and no '.join(missing)}: run tools/system-packages"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def modules(folder: Path, *, page: bool = False) -> Path:
    """The scripts of tests/browser with what they need, at the versions of the lock file; the page built."""
    needed("node", "npm")
    for path in _SOURCE.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    done = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=folder, capture_output=True, text=True)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"npm ci failed: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    if page:
        built = subprocess.run(["npx", "vite", "build"], cwd=folder, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
    return folder


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
