"""CPU a frame of two servers behind nginx, against one: behind the same nginx, and asked directly.

PostgreSQL, objects on S3, warm. What nginx itself uses does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from bench.clients.http_load import drive
from bench.inputs import corpus
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import alternating, least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.servers import lightwell_server, nginx, services
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server

CONNECTIONS = 8
ROW = "two-servers"
DIRECT = "two-servers-direct"


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing() or nginx.missing():
        return [Outcome(ROW, skipped=reason)]
    with ExitStack() as stack:
        try:
            url = stack.enter_context(services.postgresql())
            endpoint = stack.enter_context(services.s3())
        except services.Unavailable as missing:
            return [Outcome(ROW, skipped=str(missing))]
        settings = {
            **services.s3_settings(endpoint),
            "LIGHTWELL_DATABASE_URL": url,
            "LIGHTWELL_SECRET_KEY": "b" * 43 + "=",
        }
        servers = []
        for name, work in (("first", "on"), ("second", "off")):
            servers.append(Server(name, workers=2, settings={**settings, "LIGHTWELL_WORK": work}))
            stack.callback(servers[-1].stop)
        proxies = [nginx.Proxy([server.address for server in behind]) for behind in (servers[:1], servers)]
        for proxy in proxies:
            stack.callback(proxy.stop)
        series = ImportedSeries(servers[0], corpus.ct())
        sizes = [len(series.frame(index)) for index in range(len(series.frame_ids))]
        turns = {
            "direct": _turn("direct", servers[:1], servers[0].address, series, sizes, options),
            "one": _turn("one", servers[:1], proxies[0].address, series, sizes, options),
            "two": _turn("two", servers, proxies[1].address, series, sizes, options),
        }
        rounds = alternating(turns, options)
    return [
        Outcome(
            row,
            ratios(rounds, "two cpu", f"{other} cpu"),
            f"two {spread(rounds, 'two cpu')} µs a frame, one {how} {spread(rounds, f'{other} cpu')} µs; "
            f"{noise(rounds)}",
            rounds=rounds,
        )
        for row, other, how in ((ROW, "one", "behind nginx, too,"), (DIRECT, "direct", "asked directly"))
    ]


def _turn(
    side: str,
    servers: list[Server],
    address: tuple[str, int],
    series: ImportedSeries,
    sizes: list[int],
    options: Options,
) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        with CpuMeter(*(server.tree for server in servers)) as meter:
            requests = series.frame_requests(sizes)
            load = drive(address, requests, connections=CONNECTIONS, seconds=options.seconds)
        if load.errors:
            raise RuntimeError(f"{side}: {load.errors}")
        return {
            f"{side} cpu": 1e6 * meter.server / len(load.latencies),
            f"{side} rate": load.rate,
            f"{side} others": meter.others,
        }

    return lambda: least_disturbed(measure, f"{side} others", options)
