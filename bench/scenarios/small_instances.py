"""Import of 20,000 small MR instances: lightwell by an import job, Orthanc, which keeps them raw, by STOW."""

from __future__ import annotations

import os
import time

from bench.clients.http_load import drive
from bench.clients.import_jobs import ImportJob
from bench.inputs import small_mr
from bench.inputs.small_mr import SmallInstances
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.servers import lightwell_server, orthanc
from bench.servers.lightwell_server import Server
from bench.servers.orthanc import Orthanc

COUNT = 20_000
CONNECTIONS = 8
BATCH = 10
_PORTION = 2_000  # requests that are in the client's memory at once
_BAR = "import-small"


def run(options: Options) -> list[Outcome]:
    reason = lightwell_server.missing() or orthanc.missing()
    if reason:
        return [Outcome(_BAR, skipped=reason)]
    count = COUNT // 20 if options.quick else COUNT
    files, warm = small_mr.instances(count), small_mr.instances(small_mr.SERIES)
    subject, peer = Server("lightwell", workers=2), Orthanc("tuned")
    turns = {
        "lightwell": lambda number: import_all(subject, f"r{number}", files),
        "orthanc": lambda number: _stow_all(peer, files),
    }
    rounds = []
    try:
        import_all(subject, "warm", warm)
        _stow_all(peer, warm)
        for number in range(options.rounds):
            found: dict[str, float] = {}
            for name in list(turns)[:: 1 if number % 2 else -1]:
                took = least_disturbed(lambda n=name, k=number: turns[n](k), "others", options)  # type: ignore[misc]
                found |= {f"{name} {key}": value for key, value in took.items()}
            rounds.append(found)
            print(f"  round {number + 1}  " + "  ".join(f"{n} {found[f'{n} rate']:.0f}/s" for n in turns))
    finally:
        subject.stop()
        peer.stop()
    detail = (
        f"{count:,} files of {files.paths[0].stat().st_size / 1000:.0f} KB; "
        f"lightwell {spread(rounds, 'lightwell rate')} instances/s "
        f"({spread(rounds, 'lightwell cpu', 2)} ms CPU each), "
        f"Orthanc {spread(rounds, 'orthanc rate')} ({spread(rounds, 'orthanc cpu', 2)} ms); {noise(rounds)}"
    )
    return [Outcome(_BAR, ratios(rounds, "lightwell rate", "orthanc rate"), detail, rounds=rounds)]


def import_all(subject: Server, name: str, files: SmallInstances) -> dict[str, float]:
    """One import job into a new data store, which is counted afterwards."""
    count = len(files.paths)
    datastore = subject.datastore(name)
    os.sync()
    with CpuMeter(subject.tree) as meter:
        properties = ImportJob(subject, datastore, files.uri).wait()
        time.sleep(0.25)  # whatever it still does after it said that it is done counts too
    if (stored := _stored(subject, datastore)) != count:
        raise RuntimeError(f"{stored} of {count} files were imported: {properties}")
    return {"rate": count / properties["seconds"], "cpu": 1000 * meter.server / count, "others": meter.others}


def _stored(subject: Server, datastore: str) -> int:
    """How many instances the image sets of a data store have."""
    pages = subject.client().get_paginator("search_image_sets").paginate(datastoreId=datastore)
    summaries = [item for page in pages for item in page["imageSetsMetadataSummaries"]]
    return sum(item["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"] for item in summaries)


def _stow_all(peer: Orthanc, files: SmallInstances) -> dict[str, float]:
    peer.empty()
    os.sync()
    seconds = cpu = others = 0.0
    count = len(files.paths)
    for first in range(0, count, _PORTION):
        data = [path.read_bytes() for path in files.paths[first : first + _PORTION]]
        requests = [orthanc.stow(*data[place : place + BATCH]) for place in range(0, len(data), BATCH)]
        with CpuMeter(peer.tree) as meter:
            load = drive(peer.address, requests, connections=CONNECTIONS, seconds=None, processes=2)
        if load.errors:
            raise RuntimeError(f"{peer.name}: {load.errors}")
        seconds, cpu, others = seconds + load.wall, cpu + meter.server, max(others, meter.others)
    if peer.instances() != count:
        raise RuntimeError(f"{peer.name} has {peer.instances()} of {count}")
    return {"rate": count / seconds, "cpu": 1000 * cpu / count, "others": others}
