"""Measuring on a machine that others use too: a disturbed measurement is made again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from bench.results import Options


def least_disturbed(
    measure: Callable[[], dict[str, float]], others: str, options: Options
) -> dict[str, float]:
    """What ``measure`` found when everything else used at most ``options.quiet`` cores (entry ``others``).

    After ``options.tries`` measurements it is the least disturbed of them. The disturbance chooses, never the
    result.
    """
    best = measure()
    for attempt in range(1, options.tries):
        if best[others] <= options.quiet:
            break
        time.sleep(attempt)
        found = measure()
        if found[others] < best[others]:
            best = found
    return best


def _all_figures(found: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.1f}" for name, value in found.items())


def alternating(
    turns: Mapping[str, Callable[[], dict[str, float]]],
    options: Options,
    say: Callable[[dict[str, float]], str] = _all_figures,
) -> list[dict[str, float]]:
    """What all ``turns`` found together in each of ``options.rounds``, which is printed as ``say`` puts it.

    They take their turns forwards in one round and backwards in the next. A first round warms everybody and
    does not count.
    """
    rounds = []
    for number in range(-1, options.rounds):
        found: dict[str, float] = {}
        for name in list(turns)[:: 1 if number % 2 else -1]:
            found |= turns[name]()
        if number >= 0:
            rounds.append(found)
            print(f"  round {number + 1}  {say(found)}")
    return rounds
