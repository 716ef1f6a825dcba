"""Measuring on a machine that others use too: a disturbed measurement is made again."""

from __future__ import annotations

import time
from collections.abc import Callable

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
