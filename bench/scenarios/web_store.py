"""STOW-RS of CT slices in batches of ten: against Orthanc, and into a store that holds 40,000 studies."""

from __future__ import annotations

import os
from collections.abc import Callable

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import drive
from bench.inputs import corpus
from bench.inputs.corpus import Corpus
from bench.inputs.filled_store import filled_store
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.servers import lightwell_server, orthanc
from bench.servers.imported_series import only_image_set
from bench.servers.lightwell_server import Server
from bench.servers.orthanc import Orthanc

CONNECTIONS = 8
BATCH = 10
STORED = 40_000
_WARM = 40


def run(options: Options) -> list[Outcome]:
    absent, no_orthanc = lightwell_server.missing(), orthanc.missing()
    keys = ("web-store-jpegls", "web-store-tuned", "web-store-full")
    if absent:
        return [Outcome(key, skipped=absent) for key in keys]
    files = corpus.ct(100 if options.quick else corpus.COUNT)
    batches = batches_of(files)
    full = filled_store(STORED // 20 if options.quick else STORED, series=1)
    subject, stored = (
        Server("lightwell", workers=2),
        Server("lightwell-full", data=full.folder / "data", workers=2),
    )
    peers = {} if no_orthanc else {name: Orthanc(name) for name in ("jpegls", "tuned")}
    turns = {
        "lightwell": lambda number: store_all(subject, f"r{number}", None, files, batches),
        "full": lambda number: store_all(stored, "", full.datastore, files, batches),
        **{name: _of_orthanc(peer, len(files.slices), batches) for name, peer in peers.items()},
    }
    try:
        rounds = []
        for number in range(-1, options.rounds):
            found: dict[str, float] = {}
            for name in list(turns)[:: 1 if number % 2 else -1]:
                took = least_disturbed(lambda n=name, k=number: turns[n](k), "others", options)  # type: ignore[misc]
                found |= {f"{name} {key}": value for key, value in took.items()}
            if number >= 0:
                rounds.append(found)
                print(f"  round {number + 1}  " + "  ".join(f"{n} {found[f'{n} rate']:.0f}/s" for n in turns))
    finally:
        for each in (subject, stored):
            each.stop()
        for peer in peers.values():
            peer.stop()
    ours = f"lightwell {spread(rounds, 'lightwell rate')} slices/s"
    outcomes = [
        Outcome(
            f"web-store-{name}",
            ratios(rounds, "lightwell rate", f"{name} rate"),
            f"{ours} ({spread(rounds, 'lightwell cpu', 2)} ms CPU a slice), "
            f"Orthanc {spread(rounds, f'{name} rate')}; {noise(rounds)}",
            no_orthanc or "",
            rounds=rounds,
        )
        for name in ("jpegls", "tuned")
    ]
    outcomes.append(
        Outcome(
            "web-store-full",
            ratios(rounds, "full rate", "lightwell rate"),
            f"{spread(rounds, 'full rate')} slices/s with {full.sets:,} studies stored, "
            f"{spread(rounds, 'lightwell rate')} into an empty store",
        )
    )
    return outcomes


def batches_of(files: Corpus) -> list[list[bytes]]:
    data = [path.read_bytes() for path in files.paths()]
    return [data[first : first + BATCH] for first in range(0, len(data), BATCH)]


def store_all(
    subject: Server, name: str, datastore: str | None, files: Corpus, batches: list[list[bytes]]
) -> dict[str, float]:
    """All batches into a new data store, or into one that is kept, where they are deleted again."""
    warm = DicomwebClient(subject, subject.datastore("warm"))
    drive(
        subject.address,
        [warm.stow(*batch) for batch in batches[: _WARM // BATCH]],
        connections=4,
        seconds=None,
    )
    target = datastore or subject.datastore(name or "store")
    web = DicomwebClient(subject, target)
    requests = [web.stow(*batch) for batch in batches]
    count = sum(map(len, batches))
    os.sync()
    with CpuMeter(subject.tree) as meter:
        load = drive(subject.address, requests, connections=CONNECTIONS, seconds=None, processes=2)
    if load.errors:
        raise RuntimeError(f"{subject.name}: {load.errors}")
    if datastore is None:
        only_image_set(subject, target, count)
    else:
        _delete(subject, target, count)
    return {"rate": count / load.wall, "cpu": 1000 * meter.server / count, "others": meter.others}


def _delete(subject: Server, datastore: str, count: int) -> None:
    """Deletes the set of the corpus, so that it can be made anew. RuntimeError if it is not whole."""
    client = subject.client()
    series = [{"DICOMSeriesInstanceUID": corpus.uid("ct", "series")}]
    found = client.search_image_sets(
        datastoreId=datastore, searchCriteria={"filters": [{"operator": "EQUAL", "values": series}]}
    )["imageSetsMetadataSummaries"]
    counts = [item["DICOMTags"].get("DICOMNumberOfStudyRelatedInstances") for item in found]
    if counts != [count]:
        raise RuntimeError(f"expected one image set of {count} instances, found sets of {counts}")
    client.delete_image_set(datastoreId=datastore, imageSetId=found[0]["imageSetId"])


def _of_orthanc(peer: Orthanc, count: int, batches: list[list[bytes]]) -> Callable[[int], dict[str, float]]:
    requests = [orthanc.stow(*batch) for batch in batches]

    def turn(number: int) -> dict[str, float]:
        peer.empty()
        os.sync()
        with CpuMeter(peer.tree) as meter:
            load = drive(peer.address, requests, connections=CONNECTIONS, seconds=None, processes=2)
        if load.errors or peer.instances() != count:
            raise RuntimeError(f"{peer.name} took {peer.instances()} of {count}: {load.errors}")
        return {"rate": count / load.wall, "cpu": 1000 * meter.server / count, "others": meter.others}

    return turn
