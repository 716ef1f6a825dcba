"""Frames on PostgreSQL against SQLite, both with local files: GetImageFrame and DICOMweb, signed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request, drive
from bench.inputs import corpus
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import alternating, least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.scenarios.web_frames import FRAMES_AS, path_of
from bench.servers import lightwell_server, services
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server

CONNECTIONS = 8
ROWS = {"native": "pg-frames", "DICOMweb": "pg-web-frames"}


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome(row, skipped=reason) for row in ROWS.values()]
    with ExitStack() as stack:
        try:
            url = stack.enter_context(services.postgresql())
        except services.Unavailable as reason:
            return [Outcome(row, skipped=str(reason)) for row in ROWS.values()]
        settings = {"SQLite": {}, "PostgreSQL": {"LIGHTWELL_DATABASE_URL": url}}
        turns: dict[str, Callable[[], dict[str, float]]] = {}
        for side, more in settings.items():
            server = Server(side, workers=2, settings=more)
            stack.callback(server.stop)
            turns[side] = _turn(side, ImportedSeries(server, corpus.ct()), options)
        rounds = alternating(turns, options)
    return [
        Outcome(
            row,
            ratios(rounds, f"PostgreSQL {kind} rate", f"SQLite {kind} rate"),
            f"PostgreSQL {spread(rounds, f'PostgreSQL {kind} rate')}/s, "
            f"SQLite {spread(rounds, f'SQLite {kind} rate')}/s; {noise(rounds)}",
            rounds=rounds,
        )
        for kind, row in ROWS.items()
    ]


def _turn(side: str, series: ImportedSeries, options: Options) -> Callable[[], dict[str, float]]:
    sizes = [len(series.frame(index)) for index in range(len(series.frame_ids))]
    web = DicomwebClient(series.server, series.datastore)
    paths = [path_of(series.corpus, index) + "/frames/1" for index in range(len(sizes))]
    accept = {"Accept": FRAMES_AS.format("*")}

    def measure(kind: str, requests: list[Request]) -> dict[str, float]:
        with CpuMeter(series.server.tree) as meter:
            load = drive(series.server.address, requests, connections=CONNECTIONS, seconds=options.seconds)
        if load.errors:
            raise RuntimeError(f"{side}: {load.errors}")
        return {
            f"{side} {kind} rate": load.rate,
            f"{side} {kind} cpu": 1e6 * meter.server / len(load.latencies),
            f"{side} {kind} others": meter.others,
        }

    def turn() -> dict[str, float]:
        native = least_disturbed(
            lambda: measure("native", series.frame_requests(sizes)), f"{side} native others", options
        )
        return native | least_disturbed(
            lambda: measure("DICOMweb", [web.get(path, accept) for path in paths]),
            f"{side} DICOMweb others",
            options,
        )

    return turn
