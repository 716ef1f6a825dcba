"""Import of 500 CT slices: lightwell by an import job, Orthanc by STOW, the minimal import in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from io import BytesIO
from typing import Protocol

from pydicom import dcmread

from bench.clients.http_load import Request, drive
from bench.clients.import_jobs import ImportJob
from bench.inputs import corpus
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options, Outcome, median, noise, ratios, spread
from bench.servers import lightwell_server, orthanc
from bench.servers.imported_series import only_image_set
from bench.servers.lightwell_server import Server
from bench.servers.orthanc import Orthanc

CONNECTIONS = 8
WARM = 16


class Contestant(Protocol):
    name: str

    def import_once(self) -> dict[str, float]:
        """Imports the corpus once: ``rate`` (slices/s), ``cpu`` (ms a slice), ``others`` (cores)."""

    def stop(self) -> None: ...


class Lightwell:
    """One server with a fixed number of codec workers; every round goes into a new data store."""

    def __init__(
        self, files: corpus.Corpus, warm: corpus.Corpus, workers: int, python: str | None = None
    ) -> None:
        self.name = f"lightwell-{workers}"
        self._files, self._warm, self._round = files, warm, 0
        self._server = Server(self.name, settings={"LIGHTWELL_CODEC_WORKERS": str(workers)}, python=python)

    def import_once(self) -> dict[str, float]:
        self._round += 1
        ImportJob(self._server, self._server.datastore(f"warm-{self._round}"), self._warm.uri).wait()
        datastore = self._server.datastore(f"round-{self._round}")
        os.sync()
        with CpuMeter(self._server.tree) as meter:
            seconds: float = ImportJob(self._server, datastore, self._files.uri).wait()["seconds"]
            time.sleep(0.25)  # whatever it still does after it said that it is done counts too
        count = len(self._files.slices)
        only_image_set(self._server, datastore, count)
        return {
            "rate": count / seconds,
            "cpu": 1000 * meter.server / count,
            "others": meter.others,
            "stolen": meter.stolen,
        }

    def stop(self) -> None:
        self._server.stop()


class Stow:
    """One Orthanc, emptied before every round."""

    def __init__(
        self, flavour: str, files: corpus.Corpus, requests: list[Request], warm: list[Request]
    ) -> None:
        self.name = f"orthanc-{flavour}"
        self._files, self._requests, self._warm = files, requests, warm
        self._orthanc = Orthanc(flavour)

    def import_once(self) -> dict[str, float]:
        drive(self._orthanc.address, self._warm, connections=CONNECTIONS, seconds=None)
        self._orthanc.empty()
        os.sync()
        count = len(self._requests)
        with CpuMeter(self._orthanc.tree) as meter:
            load = drive(
                self._orthanc.address, self._requests, connections=CONNECTIONS, seconds=None, processes=2
            )
        if load.errors or self._orthanc.instances() != count:
            raise RuntimeError(f"{self.name} took {self._orthanc.instances()} of {count}: {load.errors}")
        _check(self._orthanc, self._files)
        return {
            "rate": load.rate,
            "cpu": 1000 * meter.server / count,
            "others": meter.others,
            "stolen": meter.stolen,
            "kept": self._orthanc.bytes_kept() / 1e6,
        }

    def stop(self) -> None:
        self._orthanc.stop()


def _check(peer: Orthanc, files: corpus.Corpus) -> None:
    """Reads one slice back: what is called lossless must be so."""
    identity = peer.call("GET", "/instances?limit=1&since=0")[0]
    kept = dcmread(BytesIO(peer.fetch(f"/instances/{identity}/file")))
    names = [item.sop_instance_uid for item in files.slices]
    if kept.pixel_array.astype("<i2").tobytes() != files.pixels(names.index(kept.SOPInstanceUID)):
        raise RuntimeError(f"{peer.name} keeps other pixels than it was sent")


class MinimalImport:
    """`bench.minimal_import` in two processes."""

    name = "minimal"

    def __init__(self, files: corpus.Corpus) -> None:
        self._files = files

    def import_once(self) -> dict[str, float]:
        os.sync()
        command = [sys.executable, "-m", "bench.minimal_import", str(self._files.folder), "2"]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return {
            "rate": found["slices"] / found["wall"],
            "cpu": 1000 * found["cpu"] / found["slices"],
            "others": found["others"],
        }

    def stop(self) -> None:
        """Nothing runs between rounds."""


def run(options: Options) -> list[Outcome]:
    files = corpus.ct(100 if options.quick else corpus.COUNT)
    warm = corpus.ct(WARM, "warm")
    contestants: list[Contestant] = [MinimalImport(files)]
    absent = lightwell_server.missing()
    try:
        if absent is None:
            contestants += [Lightwell(files, warm, 2), Lightwell(files, warm, 1)]
        if (reason := orthanc.missing()) is None:
            requests, warm_requests = (
                [orthanc.stow(path.read_bytes()) for path in which.paths()] for which in (files, warm)
            )
            contestants += [Stow(flavour, files, requests, warm_requests) for flavour in ("jpegls", "tuned")]
        _round(contestants, -1, options)  # warms everybody
        rounds = [_round(contestants, number, options) for number in range(options.rounds)]
    finally:
        for contestant in contestants:
            contestant.stop()
    return _outcomes(rounds, absent, reason)


def _round(contestants: list[Contestant], number: int, options: Options) -> dict[str, float]:
    found: dict[str, float] = {}
    turn = number % len(contestants)  # nobody always comes after the same one
    for contestant in contestants[turn:] + contestants[:turn]:
        name = contestant.name
        found |= {
            f"{name} {key}": value
            for key, value in least_disturbed(contestant.import_once, "others", options).items()
        }
        print(
            f"  round {number + 1}  {name:16} {found[f'{name} rate']:7.1f} slices/s  "
            f"{found[f'{name} cpu']:6.2f} ms CPU  others {found[f'{name} others']:.2f} cores"
        )
    return found


def _outcomes(rounds: list[dict[str, float]], absent: str | None, no_orthanc: str | None) -> list[Outcome]:
    ours = f"lightwell {spread(rounds, 'lightwell-2 rate')} slices/s"
    outcomes = []
    for flavour in ("jpegls", "tuned"):
        outcome = Outcome(f"import-{flavour}", rounds=rounds, skipped=absent or no_orthanc or "")
        outcome.values = ratios(rounds, "lightwell-2 rate", f"orthanc-{flavour} rate")
        outcome.detail = f"{ours}, Orthanc {spread(rounds, f'orthanc-{flavour} rate')}; {noise(rounds)}"
        outcomes.append(outcome)
    outcomes.append(
        Outcome(
            "import-cpu",
            ratios(rounds, "lightwell-2 cpu", "minimal cpu"),
            f"lightwell {spread(rounds, 'lightwell-2 cpu', 2)} ms, "
            f"minimal import {spread(rounds, 'minimal cpu', 2)} ms; "
            f"Orthanc {median(rounds, 'orthanc-jpegls cpu'):.1f} ms (JPEG-LS), "
            f"{median(rounds, 'orthanc-tuned cpu'):.1f} ms (raw)",
            absent or "",
        )
    )
    outcomes.append(
        Outcome(
            "import-workers",
            ratios(rounds, "lightwell-2 rate", "lightwell-1 rate"),
            f"{ours} with 2, {spread(rounds, 'lightwell-1 rate')} with 1",
            absent or "",
        )
    )
    return outcomes
