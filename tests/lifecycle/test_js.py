"""AWS's JavaScript client, `@aws-sdk/client-medical-imaging`, through one life cycle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lifecycle.clients import ServedService
from tests.support.ct_files import write_series
from tests.support.server import Server, environment

_SOURCE = Path(__file__).parents[1] / "js"


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script and what it needs, at the versions of the lock file."""
    if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
        reason = f"no {' and no '.join(missing)}: run tools/system-packages"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("js")
    for name in ("package.json", "package-lock.json", ".npmrc", "life_cycle.mjs"):
        shutil.copy(_SOURCE / name, folder)
    done = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=folder, capture_output=True, text=True)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"npm ci failed: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_runs_a_life_cycle_through_the_javascript_client(
    server: Server, served: ServedService, modules: Path
) -> None:
    write_series(served.settings.buckets / "in-bucket" / "js", 2)
    key = server.root
    done = subprocess.run(
        ["node", "life_cycle.mjs"],
        cwd=modules,
        capture_output=True,
        text=True,
        timeout=200,
        env={
            **environment(),
            "ENDPOINT": server.url,
            "INPUT": "s3://in-bucket/js/",
            "OUTPUT": "s3://out-bucket/js/",
            "AWS_ACCESS_KEY_ID": key.access_key,
            "AWS_SECRET_ACCESS_KEY": key.secret_key,
        },
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    size = seen.pop("frameSize")
    assert seen == {
        "job": "COMPLETED",
        "found": [[1, True, True]],
        "frame": ["image/jph", size],
        "copy": ["COPYING", "COPIED"],
        "update": ["2", "LOCKED", "UPDATING"],
        "name": "Süß^Ada",
        "accession": False,
        "stale": [
            True,
            "ResourceNotFoundException",
            "Requested version(s) of ImageSet(s) is not the latest.",
        ],
        "reverted": ["3", {"forced": True}],
        "nameAgain": "DOE^JANE",
        "versions": [["3", "UPDATED"], ["2", "UPDATED"], ["1", "COPIED"]],
        "tags": {"team": "js"},
        "deleted": ["DELETED", "DELETED"],
    }


def test_locks_without_the_address_of_a_registry() -> None:
    lock = (_SOURCE / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock
