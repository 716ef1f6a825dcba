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
from lightwell.stores.objects.pack_objects import pack_name
from tests.imports.codec_pool.sabotage import break_out
from tests.support import invariants
from tests.support.ct_files import ct, write
from tests.support.imports import Importing

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


def test_confines_a_worker_to_its_own_folders_and_to_what_it_is_handed(
    sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if landlock.version() < 2:
        pytest.skip("this kernel has no Landlock")
    another = write(sqlite.input / "victim" / "a.dcm", ct(1))
    sqlite.run("victim/")
    sqlite.close_engine()
    with sqlite.stores.db.read() as conn:
        name = pack_name(conn.exec_driver_sql("SELECT key FROM pack WHERE size > 0").scalar_one())
    pack = sqlite.settings.data / "objects" / name
    before = pack.read_bytes()
    upload = sqlite.stores.spool / "upload-1"
    upload.write_bytes(b"of another client")
    bucket = write(sqlite.settings.buckets / "other-bucket" / "b.dcm", ct(2))
    own = write(sqlite.input / "in" / "1.dcm", ct(3))
    secret = sqlite.settings.data / "secret.key"
    secret.write_bytes(b"secret")
    others = [upload, bucket, secret, another, own]
    break_out(pack, name, list(map(str, others)), tmp_path / "modules", monkeypatch)
    (message,) = sqlite.run("in/").messages().values()
    found = json.loads(message.replace("<", "{").replace(">", "}"))
    by_asking = {what for what, outcome in found.items() if "not told of" in outcome}
    assert by_asking == {
        "have a pack opened", "have a pack measured", "keep a pack of another", "have another upload opened",
    }  # fmt: skip
    assert {outcome for what, outcome in found.items() if what not in by_asking} <= {"EACCES", "EXDEV"}, found
    assert len(found) == 15 and pack.read_bytes() == before
    assert [path.name for path in pack.parent.iterdir()] == [pack.name]
    invariants.check(sqlite.stores)
