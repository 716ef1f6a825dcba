"""DICOMweb metadata of a series of 500 instances, against Orthanc: warm, and first read after a change."""

from __future__ import annotations

import gzip
import json
import time
from io import BytesIO

from pydicom import dcmwrite

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import drive
from bench.clients.import_jobs import ImportJob
from bench.clients.signed_requests import exchange
from bench.inputs import corpus
from bench.measure.latency import p50, show
from bench.results import Options, Outcome, noise, ratios, spread
from bench.servers import lightwell_server, orthanc
from bench.servers.lightwell_server import Server
from bench.servers.orthanc import Orthanc

_HEADERS = {"Accept": "application/dicom+json", "Accept-Encoding": "gzip"}


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing() or orthanc.missing():
        return [Outcome("web-metadata", skipped=reason), Outcome("web-metadata-first", skipped=reason)]
    files = corpus.ct(100 if options.quick else corpus.COUNT)
    count = len(files.slices)
    subject, peer = Server("lightwell", workers=2), Orthanc("tuned")
    path = f"/studies/{corpus.uid('ct', 'study')}/series/{corpus.uid('ct', 'series')}/metadata"
    try:
        datastore = subject.datastore("metadata")
        ImportJob(subject, datastore, files.uri).wait()
        load = [orthanc.stow(item.read_bytes()) for item in files.paths()]
        if errors := drive(peer.address, load, connections=8, seconds=None).errors:
            raise RuntimeError(f"Orthanc did not take the corpus: {errors}")
        web = DicomwebClient(subject, datastore)
        rounds = []
        for number in range(-1, options.rounds):
            found: dict[str, float] = {}
            # One more slice makes both of them build the document anew.
            data, _ = corpus.ct_file("ct", count + 1 + number, count)
            buffer = BytesIO()
            dcmwrite(buffer, data, enforce_file_format=True)
            web.fetch(web.stow(buffer.getvalue()))
            status, _, body = exchange(peer.address, orthanc.stow(buffer.getvalue()))
            if status != 200:
                raise RuntimeError(f"Orthanc did not take a slice: {status} {body[:200]!r}")
            begun = time.perf_counter()
            headers, body = web.fetch(web.get(path, _HEADERS))
            found["lightwell first"] = 1000 * (time.perf_counter() - begun)
            ours = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            begun = time.perf_counter()
            status, _, theirs = exchange(peer.address, orthanc.get(path, Accept="application/dicom+json"))
            found["orthanc first"] = 1000 * (time.perf_counter() - begun)
            if len(json.loads(ours)) != count + 2 + number or len(json.loads(theirs)) != count + 2 + number:
                raise RuntimeError("the metadata does not have every instance")
            found |= p50("lightwell warm", subject, [web.get(path, _HEADERS)], options)
            found |= p50("orthanc warm", peer, [orthanc.get(path, **_ORTHANC)], options)
            if number >= 0:
                rounds.append(found)
                show(number, found)
    finally:
        subject.stop()
        peer.stop()
    return [
        Outcome(
            "web-metadata",
            ratios(rounds, "orthanc warm", "lightwell warm"),
            f"p50 at 1 connection: lightwell {spread(rounds, 'lightwell warm', 2)} ms, "
            f"Orthanc {spread(rounds, 'orthanc warm', 2)} ms; {noise(rounds)}",
            rounds=rounds,
        ),
        Outcome(
            "web-metadata-first",
            ratios(rounds, "orthanc first", "lightwell first"),
            f"lightwell {spread(rounds, 'lightwell first', 1)} ms, "
            f"Orthanc {spread(rounds, 'orthanc first', 1)} ms, after one more slice was stored",
        ),
    ]


_ORTHANC = {"Accept": "application/dicom+json", "Accept_Encoding": "gzip"}
