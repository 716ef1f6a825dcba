"""Runs count in the order in which they were made, whatever clocks say, and stay whole beside others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightwell.cli.main import main
from lightwell.clock import Clock
from lightwell.stores.backup import claim
from lightwell.stores.backup.runs import Backups, Run, later_than, newest
from lightwell.stores.db import now
from lightwell.stores.objects.local import LocalObjects
from lightwell.work.backup import backup as work

LATER = 365 * 86_400_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An empty place."""
    folder = tmp_path / "data"
    assert main(["import", "--data", str(folder), str(_file(tmp_path))]) == 0
    return folder


def _file(folder: Path) -> Path:
    from tests.support.ct_files import write_series

    write_series(folder / "in", 1)
    return folder / "in"


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any, str]:
    capsys.readouterr()
    status = main(["data", *map(str, words), "--json"])
    said = capsys.readouterr()
    return status, json.loads(said.out), said.err


def test_a_clock_that_was_ahead_takes_no_run_away(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "to"
    backups, good = Backups(LocalObjects(to)), now.read_now
    monkeypatch.setattr(work, "read_now", lambda conn: good(conn) + LATER)
    early = told(capsys, "backup", to, "--data", data)[1]["run"]
    older = early.replace("-1-", "-")
    run = backups.run(early)
    backups.commit(replace(run, id=older, key_files=None))
    monkeypatch.setattr(work, "read_now", good)
    status, said, err = told(capsys, "backup", to, "--data", data, "--keep", 2)
    assert status == 0 and said["pruned"]["runs"] == 1
    assert backups.runs() == [early, said["run"]] and early > said["run"]
    assert said["runsFromFuture"] == [older, early] and "made later than now" in err
    status, listed, err = told(capsys, "restore", to, "--list")
    assert [each["run"] for each in listed] == [early, said["run"]] and early in err
    last = told(capsys, "backup", to, "--data", data, "--keep", 1)[1]["run"]
    assert backups.runs() == [last]

    capsys.readouterr()
    assert main(["data", "restore", str(to), "--data", str(tmp_path / "new")]) == 0
    out, err = capsys.readouterr()
    assert last in out and "later than now" not in err
    assert (
        "revoked" in out
        and "erased since are there again" in out
        and "audit query --data OLD --from 20" in out
    )


def test_runs_of_older_versions_come_first(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    backups = Backups(objects)
    backups.claim("me")
    moment = Clock().now()
    made = []
    for number in range(1, 12):
        made.append(backups.new_id(moment - number, "ab"))
        objects.put(f"runs/{made[-1]}.json", b"")
    objects.put("runs/20991231T000000.000Z-0123abcd.json", b"")
    assert backups.runs() == ["20991231T000000.000Z-0123abcd", *made]
    assert newest(backups.runs()) == made[-1]
    assert later_than(backups.runs(), moment) == ["20991231T000000.000Z-0123abcd"]


def test_a_run_is_withdrawn_if_another_backup_may_have_taken_its_packs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made again, and there is one."""
    to, good, made = tmp_path / "to", Backups.commit, list[str]()

    def commit(self: Backups, run: Run) -> None:
        good(self, run)
        made.append(run.id)
        if len(made) == 1:
            lost.append(1)

    lost: list[int] = []
    renew = claim.renew

    def renewed(conn: Any, id: str, *, holds: bool) -> bool:
        return lost.pop() != 1 if lost else renew(conn, id, holds=holds)

    monkeypatch.setattr(Backups, "commit", commit)
    monkeypatch.setattr(claim, "renew", renewed)
    status, said, err = told(capsys, "backup", to, "--data", data)
    assert status == 0, err
    assert len(made) == 2 and Backups(LocalObjects(to)).runs() == [said["run"]] == made[1:]
