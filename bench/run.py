"""Runs the benchmarks: ``python -m bench.run [--only import,frames] [--rounds N] [--quick]``.

Results go to $BENCH_WORK/results/SCENARIO.json; docs/performance.md gets a new table from all of them. A peer
that is not installed is skipped with the reason. Exit code 1 if a scenario failed, whatever the bars say.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict

from bench.machine import facts
from bench.report import write
from bench.results import Options, Outcome
from bench.workspace import work_folder

SCENARIOS = {
    "startup": "bench.scenarios.startup",
    "import": "bench.scenarios.imports",
    "import-small": "bench.scenarios.small_instances",
    "frames": "bench.scenarios.frames",
    "metadata": "bench.scenarios.metadata",
    "search": "bench.scenarios.search",
    "lives": "bench.scenarios.versions",
    "memory": "bench.scenarios.memory",
    "web-frames": "bench.scenarios.web_frames",
    "web-metadata": "bench.scenarios.web_metadata",
    "web-search": "bench.scenarios.web_search",
    "web-store": "bench.scenarios.web_store",
    "web-bearer": "bench.scenarios.web_bearer",
    "levels": "bench.scenarios.levels",
    "viewer": "bench.scenarios.viewer",
    "console": "bench.scenarios.console",
    "web-memory": "bench.scenarios.web_memory",
    "hostile-heads": "bench.scenarios.hostile_heads",
    "restore": "bench.scenarios.restores",
    "encryption": "bench.scenarios.trust.encryption",
    "audit": "bench.scenarios.trust.audit",
    "soak": "bench.scenarios.lasting.soak",
    "request-memory": "bench.scenarios.lasting.request_memory",
    "pg-search": "bench.scenarios.scale.pg_search",
    "pg-orthanc": "bench.scenarios.scale.pg_orthanc",
    "pg-reads": "bench.scenarios.scale.pg_reads",
    "s3-frames": "bench.scenarios.scale.s3_frames",
    "killed-import": "bench.scenarios.scale.killed_import",
    "pg-frames": "bench.scenarios.scale.pg_frames",
    "claims": "bench.scenarios.scale.claims",
    "kills": "bench.scenarios.scale.kills",
    "idle-workers": "bench.scenarios.scale.idle",
    "far-import": "bench.scenarios.scale.imports",
    "two-servers": "bench.scenarios.scale.two_servers",
    "costs": "bench.scenarios.scale.costs",
    "growth": "bench.scenarios.scale.growth",
}

# Only where they are asked for: they take an hour together.
LONG = ("soak", "request-memory")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__.splitlines()[0])
    usual = ",".join(name for name in SCENARIOS if name not in LONG)
    parser.add_argument("--only", default=usual, help=f"some of: {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, help="visits of every contestant; default 5, with --quick 2")
    parser.add_argument("--tries", type=int, help="measurements at most where others disturb; default 3")
    parser.add_argument("--seconds", type=float, help="length of one load; default 3, with --quick 1")
    parser.add_argument("--minutes", type=float, help="length of `soak`; default 30, with --quick 1")
    parser.add_argument(
        "--requests", type=int, help="how many `request-memory` sends; default 1,000,000, with --quick 20,000"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small inputs, to see that it works; never quote it"
    )
    parser.add_argument("--no-report", action="store_true", help="leave docs/performance.md as it is")
    given = parser.parse_args()
    wanted = given.only.split(",")
    if unknown := sorted(set(wanted) - set(SCENARIOS)):
        parser.error(f"no scenario {', '.join(unknown)}: choose from {', '.join(SCENARIOS)}")
    options = Options(
        rounds=given.rounds or (2 if given.quick else Options().rounds),
        seconds=given.seconds or (1.0 if given.quick else Options().seconds),
        quick=given.quick,
        tries=given.tries or (1 if given.quick else Options().tries),
        minutes=given.minutes or (1.0 if given.quick else Options().minutes),
        requests=given.requests or (20_000 if given.quick else Options().requests),
    )
    with (work_folder() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another run uses {work_folder()}; two at once would measure each other")
        shutil.rmtree(work_folder() / "run", ignore_errors=True)  # what an interrupted run left
        failed = [name for name in wanted if not _scenario(name, options)]
    if not given.no_report and not given.quick:
        write()
    sys.exit(1 if failed else 0)


def _scenario(name: str, options: Options) -> bool:
    """Runs one scenario and keeps its results; False if it failed."""
    print(f"{name}:", flush=True)
    begun = time.time()
    try:
        run: Callable[[Options], list[Outcome]] = importlib.import_module(SCENARIOS[name]).run
        outcomes = run(options)
    except Exception:
        traceback.print_exc()
        return False
    for outcome in outcomes:
        value = (
            f"skipped: {outcome.skipped}"
            if outcome.skipped
            else f"{outcome.median:.2f}"
            if outcome.values
            else "-"
        )
        print(f"  {outcome.bar:20} {value}  {outcome.detail}")
    folder = work_folder() / ("results-quick" if options.quick else "results")
    folder.mkdir(exist_ok=True)
    record = {
        "scenario": name,
        "seconds": round(time.time() - begun),
        "options": asdict(options),
        "command": " ".join(["python -m bench.run", *sys.argv[1:]]),
        "facts": facts(),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1))
    return True


if __name__ == "__main__":
    main()
