"""The same answers asked of lightwell and of nginx in turn, by our client and by wrk."""

from __future__ import annotations

from collections.abc import Callable

from bench.clients import wrk
from bench.clients.http_load import Request, drive
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.servers.lightwell_server import Server
from bench.servers.nginx import Nginx
from bench.servers.process_tree import ProcessTree

CONNECTIONS = 8


def compare_with_nginx(
    name: str,
    subject: Server,
    peer: Nginx,
    sign: Callable[[], list[Request]],
    files: list[Request],
    options: Options,
    detail: str = "",
) -> list[Outcome]:
    """Two outcomes, ``name`` by our client and ``name-wrk`` by wrk.

    ``sign`` makes lightwell's requests anew for each round, since signatures age; ``files`` are those of
    nginx for the same bytes. Who begins changes from round to round.
    """
    no_wrk = wrk.missing()
    rounds = []
    for number in range(-1, options.rounds):  # round -1 warms both
        contestants = [
            ("lightwell", subject.tree, subject.address, sign()),
            ("nginx", peer.tree, peer.address, files),
        ]
        found: dict[str, float] = {}
        for who, tree, address, requests in contestants[:: 1 if number % 2 else -1]:
            found |= _measure(who, tree, address, requests, options)
            if no_wrk is None:
                found[f"{who} wrk"] = wrk.drive(
                    address, requests, connections=CONNECTIONS, seconds=options.seconds
                )
        if number >= 0:
            _show(number, found)
            rounds.append(found)
    return [
        Outcome(
            name, ratios(rounds, "lightwell rate", "nginx rate"), _describe(rounds) + detail, rounds=rounds
        ),
        Outcome(
            f"{name}-wrk",
            ratios(rounds, "lightwell wrk", "nginx wrk"),
            f"lightwell {spread(rounds, 'lightwell wrk')} requests/s, nginx {spread(rounds, 'nginx wrk')}",
            no_wrk or "",
        ),
    ]


def _measure(
    name: str, tree: ProcessTree, address: tuple[str, int], requests: list[Request], options: Options
) -> dict[str, float]:
    """A closed-loop drive of one contestant; RuntimeError if any answer was wrong."""
    return least_disturbed(
        lambda: _drive(name, tree, address, requests, options.seconds), f"{name} others", options
    )


def _drive(
    name: str, tree: ProcessTree, address: tuple[str, int], requests: list[Request], seconds: float
) -> dict[str, float]:
    with CpuMeter(tree) as meter:
        load = drive(address, requests, connections=CONNECTIONS, seconds=seconds)
    if load.errors:
        raise RuntimeError(f"{name}: {load.errors}")
    count = len(load.latencies)
    return {
        f"{name} rate": load.rate,
        f"{name} p50": 1000 * load.quantile(0.5),
        f"{name} p99": 1000 * load.quantile(0.99),
        f"{name} cpu": 1e6 * meter.server / count,
        f"{name} client": 1e6 * meter.client / count,
        f"{name} others": meter.others,
    }


def _show(number: int, found: dict[str, float]) -> None:
    for name in ("lightwell", "nginx"):
        print(
            f"  round {number + 1}  {name:10} {found[f'{name} rate']:8.0f}/s  "
            f"p50 {found[f'{name} p50']:.2f} ms  "
            f"CPU {found[f'{name} cpu']:.0f} + client {found[f'{name} client']:.0f} µs a request  "
            f"others {found[f'{name} others']:.2f} cores  wrk {found.get(f'{name} wrk', float('nan')):.0f}/s"
        )


def _describe(rounds: list[dict[str, float]]) -> str:
    return (
        f"lightwell {spread(rounds, 'lightwell rate')} requests/s, nginx {spread(rounds, 'nginx rate')}; "
        f"p50 {spread(rounds, 'lightwell p50', 2)} ms; "
        f"CPU {spread(rounds, 'lightwell cpu')} µs a request, nginx {spread(rounds, 'nginx cpu')}, "
        f"client {spread(rounds, 'lightwell client')}; {noise(rounds)}"
    )
