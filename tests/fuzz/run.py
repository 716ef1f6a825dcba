"""Fuzzes the targets with atheris, one after the other: `make fuzz SECONDS=60`, or `make fuzz ARGS=part10`.

What a run finds worth keeping lies in .fuzz/NAME and is where the next one begins. A failure ends the run of
its target: the input is written to .fuzz/failed and shown in base64, and belongs into
tests/fuzz/corpora/NAME once the fault is mended, so that pytest tries it again. `ARGS=--keep` puts the
smallest inputs there that reach all that these runs reached.

`ARGS=--aside` is for a machine that has other things to do, as in CI: nothing waits for the fuzzers, and
their seconds are those in which a processor worked on them.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".fuzz"
MOST_BYTES = 8192
"""Longer than Python's limit of 4,300 digits for int()."""
MOST_KEPT, MOST_KEPT_BYTES = 40, 12_000
_KEPT = re.compile("[0-9a-f]{16}")
_OPTIONS = [f"-max_len={MOST_BYTES}", "-rss_limit_mb=2048", "-print_final_stats=1"]
_TIMEOUT, _TIMEOUT_ASIDE = 10, 600
"""Seconds by the clock for one input: more for a fuzzer to which others leave little of the processor."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many inputs were tried in how many seconds, and what the last one said if it failed."""

    inputs: int
    seconds: float
    failure: str


def child(name: str, seconds: int, options: list[str]) -> None:
    """This process becomes libFuzzer on one target, for ``seconds`` of the processor unless that is 0."""
    import atheris

    with atheris.instrument_imports(include=["lightwell", "python_multipart"]):
        from tests.fuzz.targets import TARGETS
    # A merge starts itself again, by a shell.
    again = shlex.join([sys.executable, "-m", "tests.fuzz.run", "--child", name, "0"])
    atheris.Setup([again, *options], TARGETS[name].run)
    if seconds:
        # libFuzzer goes by the clock alone; at this signal it ends as if its time were up.
        signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), signal.SIGUSR1))
        signal.setitimer(signal.ITIMER_PROF, seconds)
    atheris.Fuzz()


def fuzz(name: str, seconds: int, *, aside: bool = False) -> Outcome:
    """One target for so many seconds; of the processor's time where it runs ``aside``."""
    from tests.fuzz.targets import inputs

    found, failed = WORK / name, WORK / "failed"
    found.mkdir(parents=True, exist_ok=True)
    failed.mkdir(exist_ok=True)
    known = set(failed.iterdir())
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(inputs(name)):
            Path(folder, str(number)).write_bytes(data)
        timeout, limit = (_TIMEOUT_ASIDE, 0) if aside else (_TIMEOUT, seconds)
        options = [f"-max_total_time={limit}", f"-timeout={timeout}", f"-artifact_prefix={failed}/{name}-"]
        begun = time.monotonic()
        ran = _child(name, seconds if aside else 0, [*options, *_OPTIONS, str(found), folder])
    counted = re.search(r"stat::number_of_executed_units:\s+(\d+)", ran.stdout)
    tried = int(counted[1]) if counted else 0
    (WORK / f"{name}.log").write_text(ran.stdout)
    reason = ""
    if ran.returncode != 0 or not tried:
        new = sorted(set(failed.glob(f"{name}-*")) - known)
        shown = [f"{path.name} in base64: {base64.b64encode(path.read_bytes()).decode()}" for path in new]
        reason = "\n".join([*ran.stdout.splitlines()[-40:], *shown, f"exit code {ran.returncode}"])
    return Outcome(tried, time.monotonic() - begun, reason)


def _child(name: str, seconds: int, options: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.run", "--child", name, str(seconds), *options]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def _stand_back() -> None:
    """Have the lowest priority, and so what is started from here."""
    os.nice(19)
    if os.getsid(0) == os.getpid():
        # Linux may share the processors among sessions first, and by priority within each of them.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text("19")


def keep(name: str) -> int:
    """Puts some of the smallest set of inputs that reaches what all runs have reached into the tree.

    They are of all sizes, since small ones alone reach little. Returns how many are there.
    """
    from tests.fuzz.targets import CORPORA

    kept = CORPORA / name
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        merge = ["-merge=1", f"-timeout={_TIMEOUT}", *_OPTIONS]
        _child(name, 0, [*merge, folder, str(kept), str(WORK / name)])
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
        child(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
        return
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="targets; all if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--jobs", type=int, default=1, help="so many targets at a time")
    parser.add_argument(
        "--aside", action="store_true", help="at the lowest priority, for so many seconds of the processor"
    )
    parser.add_argument("--keep", action="store_true", help="put what runs have found into the tree instead")
    arguments = parser.parse_args()
    names = arguments.names or list(TARGETS)
    if arguments.keep:
        for name in names:
            print(f"{name}: {keep(name)} inputs kept")
        return
    if arguments.aside:
        _stand_back()
    tried, failures = 0, []
    print("| target | inputs | inputs/s |\n|---|---|---|", flush=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        ran = pool.map(lambda name: fuzz(name, arguments.seconds, aside=arguments.aside), names)
        for name, outcome in zip(names, ran, strict=True):
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
