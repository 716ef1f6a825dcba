"""From the spawn of `lightwell serve` until it is ready, and what it then holds in memory."""

from __future__ import annotations

import shutil
import time

from bench.results import Options, Outcome, spread
from bench.servers import lightwell_server
from bench.servers.lightwell_server import Server
from bench.workspace import new_folder

_MIB = 1 << 20
_SETTLE = 3.0  # seconds between ready and the look at its memory


def run(options: Options) -> list[Outcome]:
    reason = lightwell_server.missing()
    if reason:
        return [Outcome("start", skipped=reason), Outcome("idle", skipped=reason)]
    rounds = []
    for number in range(options.rounds):
        folder = new_folder("startup")
        try:
            first = Server("lightwell", data=folder / "data")
            first.stop()
            again = Server("lightwell", data=folder / "data")
            time.sleep(_SETTLE)
            found = {
                "first": first.start_seconds,
                "start": again.start_seconds,
                "idle": again.tree.pss() / _MIB,
                "processes": float(len(again.tree.pids())),
            }
            again.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"  round {number + 1}  " + "  ".join(f"{key} {value:.2f}" for key, value in found.items()))
        rounds.append(found)
    return [
        Outcome(
            "start",
            [entry["start"] for entry in rounds],
            f"the very first start, with database and root key to make: {spread(rounds, 'first', 2)} s",
            rounds=rounds,
        ),
        Outcome(
            "idle",
            [entry["idle"] for entry in rounds],
            f"{rounds[0]['processes']:.0f} processes, 2 of them HTTP workers, {_SETTLE:.0f} s after ready",
        ),
    ]
