"""The viewer in Chromium without a GPU: from the click on a study to the pictures of its 500 CT slices."""

from __future__ import annotations

import time

from bench.clients import chromium
from bench.clients.import_jobs import ImportJob
from bench.inputs import corpus
from bench.results import Options, Outcome, spread
from bench.servers.lightwell_server import Server

_BARS = {"viewer-first": "first", "viewer-small": "allSmall", "viewer-scroll": "scrollWorstFrame"}
_SETTLE = 3.0  # seconds after the import


def run(options: Options) -> list[Outcome]:
    if reason := chromium.missing():
        return [Outcome(bar, skipped=reason) for bar in _BARS]
    files = corpus.ct(50 if options.quick else corpus.COUNT)
    server = Server("lightwell", workers=2)
    try:
        datastore = server.datastore("viewer")
        ImportJob(server, datastore, files.uri).wait()
        (found,) = server.client().search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]
        time.sleep(_SETTLE)
        rounds = chromium.drive("viewer.mjs", server, [datastore, found["imageSetId"]], options.rounds)
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
