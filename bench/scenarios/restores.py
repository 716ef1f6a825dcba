"""Restore of a backup against `cp -r` and `sync` of the same files; what a backup takes, full or of little.

20,000 MR instances of 256 × 256; with ``BENCH_RESTORE=100000`` in the environment as many as that.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.inputs import small_mr
from bench.results import Options, Outcome, ratios, spread
from bench.scenarios.small_instances import import_all
from bench.servers import lightwell_server
from bench.servers.lightwell_server import Server
from bench.workspace import new_folder

COUNT = 20_000
_BAR = "restore"


def run(options: Options) -> list[Outcome]:
    reason = lightwell_server.missing()
    if reason:
        return [Outcome(_BAR, skipped=reason)]
    count = int(os.environ.get("BENCH_RESTORE") or (COUNT // 20 if options.quick else COUNT))
    folder = new_folder("restore")
    try:
        return [_measure(folder, count, options)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(folder: Path, count: int, options: Options) -> Outcome:
    data, to = folder / "data", folder / "backup"
    files, more = small_mr.instances(count), small_mr.instances(small_mr.SERIES)
    subject = Server("lightwell", data=data, workers=2)
    try:
        import_all(subject, "all", files)
        first = _timed(*_backup(data, to))
        nothing = _timed(*_backup(data, to))
        import_all(subject, "more", more)
        little = _timed(*_backup(data, to))
    finally:
        subject.stop()
    # What a server adds when it stops is in none of them.
    held = json.loads(_said(*_backup(data, to)))
    print(f"  backup {first:.1f} s, of nothing new {nothing:.1f} s, of {small_mr.SERIES} more {little:.1f} s")
    rounds = []
    for number in range(options.rounds):
        took: dict[str, float] = {}
        for name in ("copy", "restore")[:: 1 if number % 2 else -1]:
            new = folder / "new"
            os.sync()
            took[name] = _copied(data, new) if name == "copy" else _restored(to, new, files)
            shutil.rmtree(new)
        rounds.append(took)
        print(f"  round {number + 1}  copy {took['copy']:.2f} s  restore {took['restore']:.2f} s")
    detail = (
        f"{count + small_mr.SERIES:,} instances in {held['packs']:,} packs, "
        f"{held['packBytes'] / 1e6:,.0f} MB, and a database of {held['databaseBytes'] / 1e6:,.0f} MB: "
        f"{spread(rounds, 'restore', 1)} s against {spread(rounds, 'copy', 1)} s; backup {first:.1f} s, of "
        f"nothing new {nothing:.1f} s, of {small_mr.SERIES} more instances {little:.1f} s; the collector "
        f"was held for {held['heldSeconds']:.1f} s"
    )
    return Outcome(_BAR, ratios(rounds, "restore", "copy"), detail, rounds=rounds)


def _backup(data: Path, to: Path) -> list[str]:
    return ["data", "backup", str(to), "--data", str(data), "--json"]


def _restored(to: Path, new: Path, files: small_mr.SmallInstances) -> float:
    """Seconds of a restore, after which all instances are there."""
    begun = time.perf_counter()
    said = json.loads(_said("data", "restore", str(to), "--data", str(new), "--json"))
    took = time.perf_counter() - begun
    if not said["isUsable"] or said["rows"]["record"] < len(files.paths):
        raise RuntimeError(f"the restored place lacks something: {said}")
    return took


def _copied(data: Path, new: Path) -> float:
    """Seconds of a copy of what a restore writes, until it is on the disk."""
    new.mkdir()
    begun = time.perf_counter()
    subprocess.run(["cp", "-r", data / "objects", data / "lightwell.db", new], check=True)
    os.sync()
    return time.perf_counter() - begun


def _timed(*words: str) -> float:
    begun = time.perf_counter()
    _said(*words)
    return time.perf_counter() - begun


def _said(*words: str) -> str:
    command = [sys.executable, "-m", "lightwell.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout
