"""How long one request after the other takes, and what a round of that found in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.clients.http_load import Request, drive
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options
from bench.servers.lightwell_server import Server
from bench.servers.orthanc import Orthanc


def p50(
    name: str, subject: Server | Orthanc, requests: Sequence[Request], options: Options
) -> dict[str, float]:
    """``name``: the p50 of one connection in milliseconds; ``name others`` as `CpuMeter` has it."""

    def once() -> dict[str, float]:
        with CpuMeter(subject.tree) as meter:
            load = drive(subject.address, requests, connections=1, seconds=options.seconds)
        if load.errors:
            raise RuntimeError(f"{name}: {load.errors}")
        return {name: 1000 * load.quantile(0.5), f"{name} others": meter.others}

    return least_disturbed(once, f"{name} others", options)


def show(number: int, found: Mapping[str, float]) -> None:
    """A line for round ``number``, which counts from 0."""
    print(f"  round {number + 1}  " + "  ".join(f"{key} {value:.2f}" for key, value in found.items()))
