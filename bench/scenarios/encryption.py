"""Frames of encrypted data stores against the same frames of data stores that are not, in pairs."""

from __future__ import annotations

from functools import partial

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request, drive
from bench.inputs import corpus
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import alternating, least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.scenarios.web_frames import CONNECTIONS, FRAMES_AS, path_of
from bench.servers import lightwell_server
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server

_BARS = {"encrypted-frames": "native", "encrypted-web-frames": "dicomweb"}
_SIDES = {"plain": {}, "encrypted": {"LIGHTWELL_ENCRYPTION": "always"}}


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome(bar, skipped=reason) for bar in _BARS]
    servers: dict[str, Server] = {}
    try:
        files = corpus.ct(100 if options.quick else corpus.COUNT)
        loaded: dict[str, ImportedSeries] = {}
        for side, settings in _SIDES.items():
            servers[side] = Server(f"lightwell {side}", workers=2, settings=settings)
            loaded[side] = ImportedSeries(servers[side], files)
        _check(loaded)
        return [_compare(bar, way, loaded, options) for bar, way in _BARS.items()]
    finally:
        for server in servers.values():
            server.stop()


def _check(loaded: dict[str, ImportedSeries]) -> None:
    """Both give the same frame, and one of them keeps it encrypted."""
    if loaded["plain"].frame(0) != loaded["encrypted"].frame(0):
        raise RuntimeError("an encrypted frame is another than the same frame in plain")
    for side, series in loaded.items():
        packs = list(series.server.data.rglob("*.pack"))
        sealed = sum(path.read_bytes()[:4] == b"LWS1" for path in packs)
        if sealed != (len(packs) if side == "encrypted" else 0) or not packs:
            raise RuntimeError(f"{sealed} of {len(packs)} packs of the side {side} are encrypted")


def _compare(bar: str, way: str, loaded: dict[str, ImportedSeries], options: Options) -> Outcome:
    def turn(side: str) -> dict[str, float]:
        series = loaded[side]
        requests = _requests(series, way)

        def once() -> dict[str, float]:
            with CpuMeter(series.server.tree) as meter:
                load = drive(
                    series.server.address, requests, connections=CONNECTIONS, seconds=options.seconds
                )
            if load.errors:
                raise RuntimeError(f"{side}: {load.errors}")
            return {
                f"{side} rate": load.rate,
                f"{side} cpu": 1e6 * meter.server / len(load.latencies),
                f"{side} others": meter.others,
            }

        return least_disturbed(once, f"{side} others", options)

    rounds = alternating({side: partial(turn, side) for side in _SIDES}, options)
    return Outcome(
        bar,
        ratios(rounds, "encrypted rate", "plain rate"),
        f"encrypted {spread(rounds, 'encrypted rate')} frames/s ({spread(rounds, 'encrypted cpu')} µs CPU), "
        f"plain {spread(rounds, 'plain rate')} ({spread(rounds, 'plain cpu')}); {noise(rounds)}",
        rounds=rounds,
    )


def _requests(series: ImportedSeries, way: str) -> list[Request]:
    if way == "native":
        return series.frame_requests([len(series.frame(index)) for index in range(len(series.frame_ids))])
    web = DicomwebClient(series.server, series.datastore)
    accept = {"Accept": FRAMES_AS.format("*")}
    paths = (path_of(series.corpus, index) + "/frames/1" for index in range(len(series.frame_ids)))
    return [web.get(path, accept) for path in paths]
