"""What a codec worker has given up: tried in a process that calls the same function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightwell.codec_pool.sandbox import landlock

SCRIPT = Path(__file__).with_name("sandboxed.py")
CALLS = {
    "exec",
    "start a program",
    "fork",
    "listen",
    "ptrace",
    "signal the parent",
    "open a process",
    "limits of the parent",
    "keys",
    "another personality",
    "a user namespace",
    "mount",
    "type into the terminal",
}
OTHER_NUMBERS = {"calls of 32 bits", "calls of x32"}
CONNECTIONS = {"connect", "connect to a socket of the machine", "a packet socket"}
FILES = {
    "write to the input",
    "read another file",
    "read by a link",
    "list another folder",
    "write elsewhere",
    "see the parent's environment",
}
NEEDED = {
    "a pair of sockets",
    "a thread",
    "signal itself",
    "limits of its own",
    "read the input",
    "list the input",
    "make a pack",
    "remove a file",
    "what was open before",
    "import late",
    "random bytes",
}


def tried(folder: Path) -> dict[str, Any]:
    for name in ("input", "spool", "other"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "file").write_bytes(b"x")
    if not (folder / "input" / "link").is_symlink():
        (folder / "input" / "link").symlink_to(folder / "other" / "file")
    places = [folder / name for name in ("input", "spool", "other")]
    done = subprocess.run(
        [sys.executable, SCRIPT, *places],
        capture_output=True,
        text=True,
        timeout=120,
        # As for a worker: no pools of threads that are there before it is confined.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    for problem in ("seccomp", "Landlock"):
        if any(problem in sentence for sentence in answer["missing"]):
            pytest.skip(f"this kernel: {answer['missing']}")
    assert answer["missing"] == []
    return answer


def test_leaves_a_worker_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    results = tried(tmp_path)["results"]
    assert {name: results[name] for name in NEEDED} == dict.fromkeys(NEEDED, "done")
    calls = {*CALLS, *CONNECTIONS}
    assert {name: results[name] for name in calls} == dict.fromkeys(calls, "EPERM")
    assert {name: results[name] for name in FILES} == dict.fromkeys(FILES, "EACCES")
    strange = OTHER_NUMBERS & results.keys()
    # A kernel without the 32 bit ABI ends what uses it, and one without x32 has no such call.
    assert {results[name] for name in strange} <= {"EPERM"}
    assert set(results) == NEEDED | calls | FILES | strange


def test_says_why_there_is_no_landlock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert "keeps it from this process" in (landlock.restrict([], []) or "")
    monkeypatch.setattr(landlock, "version", lambda: 1)
    assert "5.19" in (landlock.restrict([], []) or "")
    assert list(tmp_path.iterdir()) == []  # and nothing was given up here
