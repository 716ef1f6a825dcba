"""DICOMweb frames, one CT frame a request, against Orthanc: as stored, and as Explicit VR Little Endian."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import imagecodecs
import numpy as np

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request, drive
from bench.clients.import_jobs import ImportJob
from bench.clients.signed_requests import exchange
from bench.inputs import corpus
from bench.inputs.corpus import Corpus
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import alternating, least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.servers import lightwell_server, orthanc
from bench.servers.lightwell_server import Server
from bench.servers.orthanc import Orthanc
from bench.servers.process_tree import ProcessTree

CONNECTIONS = 8
RAW = "1.2.840.10008.1.2.1"
FRAMES_AS = 'multipart/related; type="application/octet-stream"; transfer-syntax={}'


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing() or orthanc.missing():
        return [Outcome("web-frames", skipped=reason), Outcome("web-frames-raw", skipped=reason)]
    files = corpus.ct(100 if options.quick else corpus.COUNT)
    subject, peer = Server("lightwell", workers=2), Orthanc("tuned")
    try:
        return compare(subject, peer, files, options, ("web-frames", "web-frames-raw"))
    finally:
        subject.stop()
        peer.stop()


def compare(
    subject: Server, peer: Orthanc, files: Corpus, options: Options, bars: tuple[str, str]
) -> list[Outcome]:
    """Stores the corpus in both and measures both; ``bars``: frames as stored, and uncompressed."""
    datastore = subject.datastore("frames")
    ImportJob(subject, datastore, files.uri).wait()
    stored = drive(
        peer.address,
        [orthanc.stow(path.read_bytes()) for path in files.paths()],
        connections=CONNECTIONS,
        seconds=None,
    )
    if stored.errors:
        raise RuntimeError(f"Orthanc did not take the corpus: {stored.errors}")
    web = DicomwebClient(subject, datastore)
    paths = [path_of(files, index) + "/frames/1" for index in range(len(files.slices))]
    ways: dict[str, Callable[[], list[Request]]] = {
        "stored": lambda: [web.get(path, {"Accept": FRAMES_AS.format("*")}) for path in paths],
        "raw": lambda: [web.get(path, {"Accept": FRAMES_AS.format(RAW)}) for path in paths],
        "orthanc": lambda: [orthanc.get(path, Accept=FRAMES_AS.format(RAW)) for path in paths],
    }
    _check(files, web, ways, peer)

    def turn(name: str) -> dict[str, float]:
        target = peer if name == "orthanc" else subject
        return _measure(name, target.tree, target.address, ways[name](), options)

    rounds = alternating(
        {name: partial(turn, name) for name in ways},
        options,
        lambda found: "  ".join(f"{n} {found[f'{n} rate']:.0f}/s" for n in ways),
    )
    theirs = f"Orthanc {spread(rounds, 'orthanc rate')}; {noise(rounds)}"
    return [
        Outcome(
            key,
            ratios(rounds, f"{name} rate", "orthanc rate"),
            f"lightwell {spread(rounds, f'{name} rate')} requests/s, "
            f"p50 {spread(rounds, f'{name} p50', 2)} ms, {theirs}",
            rounds=rounds,
        )
        for key, name in zip(bars, ("stored", "raw"), strict=True)
    ]


def path_of(files: Corpus, index: int, name: str = "ct") -> str:
    """The path of one slice of the corpus ``name``, below the root of a DICOMweb service."""
    study, series = corpus.uid(name, "study"), corpus.uid(name, "series")
    return f"/studies/{study}/series/{series}/instances/{files.slices[index].sop_instance_uid}"


def _measure(
    name: str, tree: ProcessTree, address: tuple[str, int], requests: list[Request], options: Options
) -> dict[str, float]:
    def once() -> dict[str, float]:
        with CpuMeter(tree) as meter:
            load = drive(address, requests, connections=CONNECTIONS, seconds=options.seconds)
        if load.errors:
            raise RuntimeError(f"{name}: {load.errors}")
        return {
            f"{name} rate": load.rate,
            f"{name} p50": 1000 * load.quantile(0.5),
            f"{name} cpu": 1e6 * meter.server / len(load.latencies),
            f"{name} others": meter.others,
        }

    return least_disturbed(once, f"{name} others", options)


def _check(
    files: Corpus, web: DicomwebClient, ways: dict[str, Callable[[], list[Request]]], peer: Orthanc
) -> None:
    """One frame of each way must have the pixels of the file."""
    pixels = files.pixels(0)
    _, body = web.fetch(ways["stored"]()[0])
    decoded = imagecodecs.htj2k_decode(_part(body))
    if np.ascontiguousarray(decoded).tobytes() != pixels:
        raise RuntimeError("the stored frame decodes to other pixels than the file has")
    _, body = web.fetch(ways["raw"]()[0])
    if _part(body) != pixels:
        raise RuntimeError("the native frame has other pixels than the file")
    status, _, body = exchange(peer.address, ways["orthanc"]()[0])
    if status != 200 or _part(body) != pixels:
        raise RuntimeError(f"Orthanc's frame (status {status}) has other pixels than the file")


def _part(body: bytes) -> bytes:
    """The content of the only part of a multipart body."""
    start = body.index(b"\r\n\r\n") + 4
    return body[start : body.rindex(b"\r\n--")]
