"""The console in Chromium without a GPU: what its pages weigh, and how soon they show something."""

from __future__ import annotations

import gzip
import re
import time

from bench.clients import chromium
from bench.clients.import_jobs import ImportJob
from bench.inputs import small_studies
from bench.results import Options, Outcome, spread
from bench.servers.lightwell_server import Server

_BARS = {"console-paint": "paint", "console-bytes": "bytes", "console-studies": "studies"}
_SETTLE = 3.0  # seconds after the import
_STUDIES = 300
# What is loaded besides the first page's, by the name of its file without the hash.
_PARTS = {
    "list of studies": r"Studies-.*",
    "image set": r"(ImageSet|metadata\.worker|dictionary)-.*",
    "viewer": r"(Viewer|codec\.worker|openjphjs)-.*",
    "MPR": r"VolumeDisplay-.*",
    "slides": r"SlideDisplay-.*",
}


def run(options: Options) -> list[Outcome]:
    if reason := chromium.missing():
        return [Outcome(bar, skipped=reason) for bar in _BARS]
    files = small_studies.studies(_STUDIES)
    server = Server("lightwell", workers=2)
    try:
        datastore = server.datastore("console")
        ImportJob(server, datastore, files.uri).wait()
        time.sleep(_SETTLE)
        rounds = chromium.drive("console.mjs", server, [datastore], options.rounds)
    finally:
        server.stop()
    for entry in rounds:
        entry["bytes"] /= 1000
    details = {
        "console-paint": f"{spread(rounds, 'requests')} requests; on a second visit after "
        f"{spread(rounds, 'again')} ms",
        "console-bytes": f"besides: {_weights()}; all files {_all():,.0f} kB as they are installed",
        "console-studies": f"the first page of {files.count} studies",
    }
    return [
        Outcome(bar, [entry[key] for entry in rounds], details[bar], rounds=rounds)
        for bar, key in _BARS.items()
    ]


def _weights() -> str:
    """Parts of the site that are loaded when they are needed, in kB as they are sent."""
    weights = dict.fromkeys(_PARTS, 0)
    for file in (chromium.SITE / "assets").iterdir():
        for part, pattern in _PARTS.items():
            if re.fullmatch(pattern, file.name):
                weights[part] += len(gzip.compress(file.read_bytes(), 6, mtime=0))
    return ", ".join(f"{part} {weight / 1000:,.0f} kB" for part, weight in weights.items())


def _all() -> float:
    return sum(file.stat().st_size for file in chromium.SITE.rglob("*") if file.is_file()) / 1000
