"""kill -9 of `data verify --repair` at each of its steps: nothing is lost, and nothing half repaired."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, update

from lightwell.stores.db import tables as t
from lightwell.work.verifying.run import Verifier
from tests.imports.conftest import server as server  # a fixture
from tests.imports.conftest import sqlite as sqlite  # a fixture
from tests.support import invariants
from tests.support.ct_files import ct, write
from tests.support.imports import Importing

ROOT = Path(__file__).parents[2]
PACKS = 3


def _repair(server: Importing, source: Path, number: int) -> int:
    """How the command ends that kills itself at a step; 0 stands for none."""
    words = ["data", "verify", "--repair", "--from", str(source), "--from-start"]
    words += ["--data", str(server.settings.data), "--database-url", server.stores.db.url]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LIGHTWELL_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.repair_main", str(number), *words, "--codec-workers", "1"],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1, -signal.SIGKILL), done.stderr
    return done.returncode


def _turn(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60] ^= 16
    path.write_bytes(data)


def _damage_rows(conn: Connection) -> None:
    conn.execute(update(t.image_set).values(modality="MR", instance_count=7))


def _campaign(server: Importing, tmp_path: Path, numbers: list[int]) -> int:
    """Kill it at each of these steps, then let it end; returns how many kills there were."""
    for number in range(PACKS):
        write(server.input / f"p{number}" / "x.dcm", ct(number, study=f"5{number}", PatientID=f"P{number}"))
        server.run(f"p{number}/")
    server.close_engine()
    source, root = tmp_path / "copy", server.settings.data / "objects"
    shutil.copytree(root, source)
    names = sorted(name for name, _ in server.stores.objects.list("packs"))
    good = {name: (root / name).read_bytes() for name in names}
    kills = 0
    for number in numbers:
        for name in names:
            _turn(root / name)
        bad = {name: (root / name).read_bytes() for name in names}
        server.stores.db.write(_damage_rows)
        status = _repair(server, source, number)
        kills += status == -signal.SIGKILL
        for name in names:
            assert (root / name).read_bytes() in (bad[name], good[name]), f"step {number}: {name}"
        with server.stores.db.read() as conn:
            rows = conn.execute(select(t.image_set.c.modality, t.image_set.c.instance_count)).all()
        assert set(rows) <= {("MR", 7), ("CT", 1)}, f"step {number}"
        # What is there of it is gone on with, or begun anew: by the same command, in one go.
        assert _repair(server, source, 0) == 0, f"step {number}"
        assert {name: (root / name).read_bytes() for name in names} == good
        server.stores.objects.close()  # which has the damaged files open
        invariants.check(server.stores, decode=True)
        assert not list(server.stores.spool.iterdir()), f"step {number}"
        if status == 0:
            break
    run = Verifier(server.stores, server.settings, lambda done, total: None)
    assert run.run(from_start=True).problems == []
    return kills


def test_loses_nothing_when_it_is_killed_now_and_then(sqlite: Importing, tmp_path: Path) -> None:
    number = random.randrange(1, 20)
    assert _campaign(sqlite, tmp_path, [number]) == 1, number


@pytest.mark.endurance
def test_loses_nothing_wherever_it_is_killed(server: Importing, tmp_path: Path) -> None:
    assert _campaign(server, tmp_path, list(range(1, 500))) > 20
