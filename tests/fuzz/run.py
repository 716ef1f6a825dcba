"""Fuzzes the targets with atheris, one after the other: `make fuzz SECONDS=60`, or `make fuzz ARGS=part10`.

What a run finds worth keeping lies in .fuzz/NAME and is where the next one begins. A failure ends the run of
its target: the input is written to .fuzz/failed, and belongs into tests/fuzz/corpora/NAME once the fault is
mended, so that pytest tries it again. `ARGS=--keep`
puts the smallest inputs there that reach all that these runs reached.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".fuzz"
MOST_BYTES = 8192
"""Longer than Python's limit of 4,300 digits for int()."""
MOST_KEPT, MOST_KEPT_BYTES = 40, 12_000
_KEPT = re.compile("[0-9a-f]{16}")
_OPTIONS = [f"-max_len={MOST_BYTES}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many inputs were tried in how many seconds, and what the last one said if it failed."""

    inputs: int
    seconds: float
    failure: str


def child(name: str, options: list[str]) -> None:
    """This process becomes libFuzzer on one target."""
    import atheris

    with atheris.instrument_imports(include=["lightwell", "python_multipart"]):
        from tests.fuzz.targets import TARGETS
    # A merge starts itself again, by a shell.
    again = shlex.join([sys.executable, "-m", "tests.fuzz.run", "--child", name])
    atheris.Setup([again, *options], TARGETS[name].run)
    atheris.Fuzz()


def fuzz(name: str, seconds: int) -> Outcome:
    """One target for so many seconds."""
    from tests.fuzz.targets import inputs

    found, failed = WORK / name, WORK / "failed"
    found.mkdir(parents=True, exist_ok=True)
    failed.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(inputs(name)):
            Path(folder, str(number)).write_bytes(data)
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={failed}/{name}-", *_OPTIONS]
        begun = time.monotonic()
        ran = _child(name, [*options, str(found), folder])
    tried = re.search(r"stat::number_of_executed_units:\s+(\d+)", ran.stdout)
    (WORK / f"{name}.log").write_text(ran.stdout)
    reason = "" if ran.returncode == 0 else "\n".join(ran.stdout.splitlines()[-40:])
    return Outcome(int(tried[1]) if tried else 0, time.monotonic() - begun, reason)


def _child(name: str, options: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.run", "--child", name, *options]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def keep(name: str) -> int:
    """Puts some of the smallest set of inputs that reaches what all runs have reached into the tree.

    They are of all sizes, since small ones alone reach little. Returns how many are there.
    """
    from tests.fuzz.targets import CORPORA

    kept = CORPORA / name
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        _child(name, ["-merge=1", *_OPTIONS, folder, str(kept), str(WORK / name)])
        smallest = sorted(Path(folder).iterdir(), key=lambda path: path.stat().st_size)
        for path in kept.iterdir():
            if _KEPT.fullmatch(path.name):  # what has a name of its own has failed once, and stays
                path.unlink()
        total = 0
        for path in smallest[:: -(-len(smallest) // MOST_KEPT) or 1]:
            total += path.stat().st_size
            if total > MOST_KEPT_BYTES:
                break
            shutil.copy(path, kept / path.name[:16])
    return len(list(kept.iterdir()))


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
        return
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="targets; all if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", action="store_true", help="put what runs have found into the tree instead")
    arguments = parser.parse_args()
    names = arguments.names or list(TARGETS)
    if arguments.keep:
        for name in names:
            print(f"{name}: {keep(name)} inputs kept")
        return
    tried, failures = 0, []
    print("| target | inputs | inputs/s |\n|---|---|---|", flush=True)
    for name in names:
        outcome = fuzz(name, arguments.seconds)
        tried += outcome.inputs
        print(f"| {name} | {outcome.inputs:,} | {outcome.inputs / outcome.seconds:,.0f} |", flush=True)
        if outcome.failure:
            failures.append(name)
            print(outcome.failure, flush=True)
    print(f"| all | {tried:,} | |")
    if failures:
        raise SystemExit(f"failed: {', '.join(failures)}; the inputs are in {WORK / 'failed'}")


if __name__ == "__main__":
    main()
