"""A restore to a disk that fails, or whose process dies: the same command goes on, and all is there."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from lightwell.settings import Settings
from tests.backup.places import Kind, back_up, contents, opened, packs
from tests.cli.running import Done, lightwell
from tests.faults.disk.campaign import FAULTS
from tests.faults.disk.faulty_disk import Fault, FaultyDisk
from tests.support import invariants
from tests.support.ct_files import write_series
from tests.support.imports import Importing

#: what a restore writes: its database, then the one that it becomes; packs; the rest
PLACES = ("/lightwell.db", "/objects/", "/audit/", "/spool/")
SAMPLE = (
    ("the disk is full in the middle of a write", "/lightwell.db.restoring", 1),
    ("the disk is full", "/lightwell.db", 6),
    ("an fsync fails", "/objects/packs", 4),
    ("the process dies", "/objects/", 6),
)


@dataclass(frozen=True)
class Restoring:
    """A backup of ``place``, and a disk that it is restored to."""

    place: Importing
    backup: Path
    disk: FaultyDisk
    data: Path

    def restore(self, fault: Fault | None = None) -> Done:
        if fault is None:
            return self._run()
        with self.disk.fault(fault):
            return self._run()

    def _run(self) -> Done:
        return lightwell("data", "restore", self.backup, data=self.data, environ=self.disk.environment)

    def meets(self, fault: Fault) -> bool:
        """Restore under a fault, and again without; whether it has hit anything."""
        shutil.rmtree(self.data.parent, ignore_errors=True)
        self.data.parent.mkdir()
        done = self.restore(fault)
        assert "Traceback" not in done.err, f"{fault}: {done}"
        assert done.status <= 0 or done.err.strip(), f"{fault}: {done}"
        if done.status:
            again = self.restore()
            assert again.status == 0, f"after {fault}, {done}: {again}"
        self._check(fault)
        return bool(self.disk.hits)

    def _check(self, fault: Fault) -> None:
        url = f"sqlite:///{self.data / 'lightwell.db'}"
        with opened(Settings(data=self.data, database_url=url)) as stores:
            assert contents(stores.db) == contents(self.place.stores.db), fault
            assert packs(stores.objects) == packs(self.place.stores.objects), fault
            invariants.forget()
            invariants.check(stores, decode=True)


@pytest.fixture
def restoring(tmp_path: Path, migrated_sqlite_url: str) -> Iterator[Restoring]:
    kind = Kind(tmp_path, None)
    with closing(kind.importing(migrated_sqlite_url)) as place:
        for series in ("1", "2", "3"):
            write_series(place.input / series, 2, series=series)
            place.run(f"{series}/")
        place.close_engine()
        back_up(place.stores, kind.objects("backup"))
        disk = FaultyDisk(tmp_path / "new", tmp_path / "scratch")
        yield Restoring(place, tmp_path / "backup", disk, tmp_path / "new" / "data")
        invariants.forget()


def test_goes_on_after_some_faults(restoring: Restoring) -> None:
    for name, part, number in SAMPLE:
        assert restoring.meets(FAULTS[name].at(number, part)), f"{name} at {part} has hit nothing"


@pytest.mark.endurance
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("name", [name for name in FAULTS if "slow" not in name])
def test_goes_on_after_each_fault(restoring: Restoring, name: str) -> None:
    for part in PLACES:
        for number in itertools.count(1):
            if not restoring.meets(FAULTS[name].at(number, part)):
                break
