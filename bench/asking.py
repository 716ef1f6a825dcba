"""How long one request after the other takes, and what a round of that found in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.load import Request, drive
from bench.meter import Meter
from bench.orthanc import Orthanc
from bench.outcome import Options
from bench.patience import undisturbed
from bench.server import Server


def p50(
    name: str, asked: Server | Orthanc, requests: Sequence[Request], options: Options
) -> dict[str, float]:
    """``name``: the p50 of one connection in milliseconds; ``name others`` as `Meter` has it."""

    def once() -> dict[str, float]:
        with Meter(asked.tree) as meter:
            load = drive(asked.address, requests, connections=1, seconds=options.seconds)
        if load.errors:
            raise RuntimeError(f"{name}: {load.errors}")
        return {name: 1000 * load.quantile(0.5), f"{name} others": meter.others}

    return undisturbed(once, f"{name} others", options)


def show(number: int, found: Mapping[str, float]) -> None:
    """A line for round ``number``, which counts from 0."""
    print(f"  round {number + 1}  " + "  ".join(f"{key} {value:.2f}" for key, value in found.items()))
