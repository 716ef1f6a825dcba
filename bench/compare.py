"""One state of the code against another: ``python -m bench.compare PYTHON [--only frames] [--rounds N]``.

PYTHON is the interpreter of the other checkout's environment. Both servers do the same in turn, and who
begins changes from round to round, so that a machine whose speed drifts changes both. Every row is the
ratio, pair by pair, of this checkout to the other.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import quote

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request, drive
from bench.clients.import_jobs import ImportJob
from bench.inputs import corpus, small_studies
from bench.inputs.filled_store import FAMILY, GIVEN
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options
from bench.scenarios.imports import WARM, Lightwell
from bench.scenarios.web_frames import FRAMES_AS, path_of
from bench.scenarios.web_store import batches_of, store_all
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server

CONNECTIONS = 8
_FEW_STUDIES, _STUDIES = 300, 3_000

# Measures one side once; the argument numbers the rounds. ``rate`` is work a second, ``cpu`` a unit of work.
Turn = Callable[[int], dict[str, float]]


def imports(stack: ExitStack, python: str | None, options: Options) -> Turn:
    """Import of 500 CT slices by a job, in two codec workers."""
    side = Lightwell(corpus.ct(), corpus.ct(WARM, "warm"), 2, python)
    stack.callback(side.stop)
    return lambda number: side.import_once()


def frames(stack: ExitStack, python: str | None, options: Options) -> Turn:
    """GetImageFrame, signed."""
    loaded = _loaded(stack, python)
    sizes = [len(loaded.frame(index)) for index in range(len(loaded.frame_ids))]

    return lambda number: _drive(loaded.server, loaded.frame_requests(sizes), options)


def metadata(stack: ExitStack, python: str | None, options: Options) -> Turn:
    """GetImageSetMetadata of 500 instances, warm."""
    loaded = _loaded(stack, python)

    def turn(number: int) -> dict[str, float]:
        signed = loaded.sign(
            "get_image_set_metadata", datastoreId=loaded.datastore, imageSetId=loaded.image_set
        )
        return _drive(loaded.server, [Request(signed.data, len(loaded.metadata))], options)

    return turn


def web_frames(stack: ExitStack, python: str | None, options: Options) -> Turn:
    """One frame a request over DICOMweb, as stored, signed."""
    loaded = _loaded(stack, python)
    web = DicomwebClient(loaded.server, loaded.datastore)
    paths = [path_of(loaded.corpus, index) + "/frames/1" for index in range(len(loaded.frame_ids))]
    accept = {"Accept": FRAMES_AS.format("*")}
    return lambda number: _drive(loaded.server, [web.get(path, accept) for path in paths], options)


def store(stack: ExitStack, python: str | None, options: Options) -> Turn:
    """STOW-RS of 500 CT slices in batches of ten."""
    server, files = _server(stack, python), corpus.ct()
    batches = batches_of(files)
    return lambda number: store_all(server, f"r{number}", None, files, batches)


def studies(stack: ExitStack, python: str | None, options: Options) -> Turn:
    """Import of 300 studies of one small file, which is work for the search index above all."""
    files, server = small_studies.studies(_FEW_STUDIES), _server(stack, python)

    def turn(number: int) -> dict[str, float]:
        datastore = server.datastore(f"round-{number}")
        os.sync()
        with CpuMeter(server.tree) as meter:
            seconds: float = ImportJob(server, datastore, files.uri).wait()["seconds"]
            time.sleep(0.25)  # whatever it still does after it said that it is done counts too
        return {
            "rate": files.count / seconds,
            "cpu": 1000 * meter.server / files.count,
            "others": meter.others,
        }

    return turn


def search(stack: ExitStack, python: str | None, options: Options) -> Turn:
    """QIDO-RS among some thousand studies: a patient, a name with a wildcard, days, the series of a study."""
    files, server = small_studies.studies(_STUDIES), _server(stack, python)
    datastore = server.datastore("search")
    ImportJob(server, datastore, files.uri).wait(1800)
    web = DicomwebClient(server, datastore)
    names = [f"{family}^{given[0]}*" for family in FAMILY for given in GIVEN]
    paths = [
        path
        for patient, study, day, name in zip(
            files.patients, files.studies, files.dates, itertools.cycle(names), strict=False
        )
        for path in (
            f"/studies?PatientID={patient}",
            f"/studies?PatientName={quote(name)}&limit=101",
            f"/studies?StudyDate={day}-{day[:6]}31&limit=101",
            f"/studies/{study}/series",
        )
    ]
    requests = [web.get(path, {"Accept": "application/dicom+json"}) for path in paths]
    return lambda number: _drive(server, requests, options)


ROWS = {
    "import": imports,
    "studies": studies,
    "frames": frames,
    "metadata": metadata,
    "web-frames": web_frames,
    "store": store,
    "search": search,
}


def _server(stack: ExitStack, python: str | None) -> Server:
    server = Server("lightwell", workers=2, python=python)
    stack.callback(server.stop)
    return server


def _loaded(stack: ExitStack, python: str | None) -> ImportedSeries:
    return ImportedSeries(_server(stack, python), corpus.ct())


def _drive(server: Server, requests: list[Request], options: Options) -> dict[str, float]:
    with CpuMeter(server.tree) as meter:
        load = drive(server.address, requests, connections=CONNECTIONS, seconds=options.seconds)
    if load.errors:
        raise RuntimeError(f"{server.name}: {load.errors}")
    return {
        "rate": load.rate,
        "cpu": 1000 * meter.server / len(load.latencies),
        "others": meter.others,
    }


def compare(name: str, python: str, options: Options) -> None:
    """Measure one row and print it: the median of the pairs' ratios, the least and the greatest."""
    with ExitStack() as stack:
        turns = {"this": ROWS[name](stack, None, options), "other": ROWS[name](stack, python, options)}
        pairs = []
        for number in range(-1, options.rounds):  # round -1 warms both
            found = {}
            for side in list(turns)[:: 1 if number % 2 else -1]:
                found[side] = least_disturbed(lambda s=side, n=number: turns[s](n), "others", options)  # type: ignore[misc]
            if number >= 0:
                pairs.append(found)
    for figure, good in (("rate", "more is better"), ("cpu", "less is better")):
        ratios = [pair["this"][figure] / pair["other"][figure] for pair in pairs]
        this, other = (statistics.median(pair[side][figure] for pair in pairs) for side in turns)
        noise = max(pair[side]["others"] for pair in pairs for side in turns)
        print(
            f"{name:10} {figure:5} {statistics.median(ratios):.3f} × ({min(ratios):.3f}..{max(ratios):.3f}; "
            f"{good})  this {this:,.2f}, other {other:,.2f}; others up to {noise:.1f} cores",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__.splitlines()[0])
    parser.add_argument("python", help="the interpreter of the other checkout's environment")
    parser.add_argument("--only", default=",".join(ROWS), help=f"some of: {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of each row")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one load")
    given = parser.parse_args()
    wanted = given.only.split(",")
    if unknown := sorted(set(wanted) - set(ROWS)):
        parser.error(f"no row {', '.join(unknown)}: choose from {', '.join(ROWS)}")
    where = "import lightwell; print(lightwell.__file__)"
    for python in (sys.executable, given.python):
        found = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True)
        print(found.stdout.strip(), flush=True)
    options = Options(rounds=given.rounds, seconds=given.seconds)
    for name in wanted:
        compare(name, given.python, options)


if __name__ == "__main__":
    main()
