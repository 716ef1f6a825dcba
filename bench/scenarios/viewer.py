"""The viewer in Chromium without a GPU: from the click on a study to the pictures of its 500 CT slices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from bench.clients.import_jobs import ImportJob
from bench.inputs import corpus
from bench.results import Options, Outcome, spread
from bench.servers import lightwell_server
from bench.servers.lightwell_server import Server

_BARS = {"viewer-first": "first", "viewer-small": "allSmall", "viewer-scroll": "scrollWorstFrame"}
_ROOT = Path(__file__).resolve().parents[2]
_SITE = _ROOT / "src/lightwell/web/console/site/index.html"
_SETTLE = 3.0  # seconds after the import


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing() or _missing():
        return [Outcome(bar, skipped=reason) for bar in _BARS]
    files = corpus.ct(50 if options.quick else corpus.COUNT)
    server = Server("lightwell", workers=2)
    try:
        datastore = server.datastore("viewer")
        ImportJob(server, datastore, files.uri).wait()
        (found,) = server.client().search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]
        time.sleep(_SETTLE)
        rounds = _measure(server, datastore, found["imageSetId"], options.rounds)
    finally:
        server.stop()
    whole = f"the first one whole after {spread(rounds, 'firstWhole')} ms"
    details = {
        "viewer-first": f"{whole}; the longest task of the page {spread(rounds, 'longestTask')} ms",
        "viewer-small": f"all {len(files.slices)} whole after {spread(rounds, 'allWhole')} ms",
        "viewer-scroll": f"{spread(rounds, 'scrollUnshown')} of {len(files.slices)} slices without a picture",
    }
    return [
        Outcome(bar, [entry[key] for entry in rounds], details[bar], rounds=rounds)
        for bar, key in _BARS.items()
    ]


def _measure(server: Server, datastore: str, image_set: str, rounds: int) -> list[dict[str, Any]]:
    credentials = ConfigParser()
    credentials.read(server.data / "credentials")
    profile = credentials["lightwell"]
    keys = [profile["aws_access_key_id"], profile["aws_secret_access_key"]]
    script = _ROOT / "bench/clients/viewer.mjs"
    done = subprocess.run(
        ["node", script, "http://{}:{}".format(*server.address), *keys, datastore, image_set, str(rounds)],
        capture_output=True,
        text=True,
        timeout=90 * rounds,
        env={**os.environ, "PLAYWRIGHT": str(_playwright())},
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the browser failed: {done.stderr[-2000:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _missing() -> str | None:
    for program in ("node", "chromium"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not (_playwright() / "node_modules/playwright-core").is_dir():
        return f"playwright-core is not installed: npm ci in {_playwright()}, or set PLAYWRIGHT"
    if not _SITE.exists():
        return "the console is not built: make console"
    return None


def _playwright() -> Path:
    """The folder whose node_modules has playwright-core."""
    return Path(os.environ.get("PLAYWRIGHT") or _ROOT / "tests/browser")
