"""What `lightwell import` says while another process does not go on with its job."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from lightwell.cli.contents import waiting
from lightwell.cli.contents.waiting import Waiting, what_is_away
from lightwell.cli.doctor import machine
from lightwell.domain.imports.jobs import Job
from lightwell.domain.states import JobPhase
from lightwell.errors import LightwellError
from lightwell.operations.context import Context
from lightwell.settings import load
from lightwell.stores.objects.local import LocalObjects


class _Watched:
    """A job that is looked at each second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.why: str | None = None
        self.said: list[str] = []
        self._waiting = Waiting(self.said.append, lambda: self.why, lambda: self.now)

    def look(self, phase: JobPhase, read: int, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.now += 1
            self._waiting.look(cast(Job, SimpleNamespace(phase=phase, scanned=9, read=read)), 0)


def test_says_once_what_it_waits_for_and_that_it_goes_on() -> None:
    job = _Watched()
    job.look(JobPhase.READ, 3, 5)
    assert not job.said
    job.why = "only 3 MB are free at /data"
    job.look(JobPhase.READ, 3, 600)
    assert len(job.said) == 1
    assert "perhaps because only 3 MB are free at /data; the server's log says more" in job.said[0]
    job.look(JobPhase.READ, 4, 3)
    assert job.said[1:] == ["lightwell: the import job goes on"]
    job.look(JobPhase.READ, 4, 20)
    assert len(job.said) == 3


@pytest.mark.parametrize(("phase", "patience"), [(JobPhase.LIST, 8), (JobPhase.READ, 60)])
def test_names_the_log_where_it_cannot_see_what_is_away(phase: JobPhase, patience: int) -> None:
    job = _Watched()
    job.look(phase, 0, patience - 1)
    assert not job.said  # one file may take so long
    job.look(phase, 0, 20)
    assert len(job.said) == 1 and "the server's log says if it waits, and for what" in job.said[0]


def test_says_nothing_while_files_are_read() -> None:
    job = _Watched()
    job.why = "only 3 MB are free at /data"
    for read in range(30):
        job.look(JobPhase.READ, read, 5)
    assert not job.said


def test_finds_disks_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "objects" / "packs").mkdir(parents=True)
    settings = load({"data": tmp_path}, environ={})
    stores = SimpleNamespace(db=None, objects=LocalObjects(tmp_path / "objects"))
    ctx = cast(Context, SimpleNamespace(settings=settings, stores=stores))
    free = {tmp_path: 10 << 30, tmp_path / "objects": waiting.SCARCE}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[Path(folder)]))
    assert what_is_away(ctx) is None
    free[tmp_path / "objects"] -= 1
    assert f"are free at {tmp_path / 'objects'}" in str(what_is_away(ctx))
    free[tmp_path] = 0
    with pytest.raises(LightwellError, match="imports wait until there is room"):
        machine.disk(settings)
