"""Frames for half an hour at 70 % of what the server can do: does it get slower with time?"""

from __future__ import annotations

from bench.clients.http_load import drive
from bench.clients.paced_load import drive_paced
from bench.inputs import corpus
from bench.measure.cpu_meter import CpuMeter
from bench.results import Options, Outcome, noise, spread
from bench.servers import lightwell_server
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server

CONNECTIONS = 8
_SHARE = 0.7
_CALIBRATIONS = 20
_WINDOWS = 6  # of five minutes each where all takes thirty; signatures are good for a quarter of an hour
_MIB = 1 << 20


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome("soak", skipped=reason)]
    subject = Server("lightwell", workers=2)
    try:
        loaded = ImportedSeries(subject, corpus.ct(100 if options.quick else corpus.COUNT))
        sizes = [len(loaded.frame(index)) for index in range(len(loaded.frame_ids))]
        requests = loaded.frame_requests(sizes)
        # The least of several: the host of a virtual machine gives it a third less at one time than at
        # another, and a queue that grows while it does so is no matter of the server. The first warms it up.
        most = min(
            drive(subject.address, requests, connections=CONNECTIONS, seconds=options.seconds).rate
            for _ in range(_CALIBRATIONS)
        )
        rate, seconds = _SHARE * most, 60 * options.minutes / _WINDOWS
        rounds = []
        for number in range(_WINDOWS):
            requests = loaded.frame_requests(sizes)
            with CpuMeter(subject.tree) as meter:
                load = drive_paced(
                    subject.address, requests, rate=rate, connections=4 * CONNECTIONS, seconds=seconds
                )
            if load.errors:
                raise RuntimeError(f"window {number + 1}: {load.errors}")
            found = {
                "p50": 1000 * load.quantile(0.5),
                "p99": 1000 * load.quantile(0.99),
                "most": 1000 * load.quantile(1),
                "rate": load.rate,
                "MiB": subject.tree.pss() / _MIB,
                "others": meter.others,
            }
            rounds.append(found)
            print(
                f"  window {number + 1}  " + "  ".join(f"{key} {value:.2f}" for key, value in found.items())
            )
    finally:
        subject.stop()
    return [
        Outcome(
            "soak",
            [rounds[-1]["p99"] / rounds[0]["p99"]],
            f"{options.minutes:g} minutes at {rate:,.0f} of {most:,.0f} frames/s; p99 of each sixth "
            f"{spread(rounds, 'p99', 2)} ms, memory {spread(rounds, 'MiB')} MiB; {noise(rounds)}",
            rounds=rounds,
        )
    ]
