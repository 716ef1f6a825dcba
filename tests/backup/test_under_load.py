"""A backup while image sets are imported, changed, copied, deleted and collected: what comes back is whole,
and has all that was answered before the backup began.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from lightwell.clock import Ids
from lightwell.settings import Settings
from lightwell.stores.background.installation import agree_on_storage
from lightwell.stores.backup import snapshots
from lightwell.stores.db import tables
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.open import open_objects
from lightwell.work.backup import backup as work
from tests.backup.places import back_up, new_place, packs, restore
from tests.lifecycle.check import Checker
from tests.lifecycle.clients import InProcessService, collect
from tests.lifecycle.model import ImageSet, Model
from tests.lifecycle.steps import RandomWalk
from tests.support import invariants, services

_PATIENCE = 240.0


class Life(threading.Thread):
    """A random walk that goes on until it is told to end."""

    def __init__(self, walk: RandomWalk) -> None:
        super().__init__()
        self._walk = walk
        self._chance = Random(7)
        self._moved = threading.Condition()
        self._ends = False
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ends:
                with self._moved:
                    self._walk.step(self._chance)
                    self._moved.notify_all()
        except BaseException as error:
            self._error = error
            with self._moved:
                self._ends = True
                self._moved.notify_all()

    def go_on(self, steps: int) -> None:
        """Return when it has gone on by that many steps."""
        with self._moved:
            wanted = self._walk.steps + steps
            assert self._moved.wait_for(lambda: self._ends or self._walk.steps >= wanted, _PATIENCE)
        self.check()

    def import_more(self) -> list[ImageSet]:
        """Import files between two steps; the sets that are new."""
        with self._moved:
            known = set(map(id, self._walk.model.living))
            while not (new := [one for one in self._walk.model.living if id(one) not in known]):
                self._walk.import_files(self._chance)
        return new

    def delete(self, sets: Sequence[ImageSet]) -> None:
        """Delete these, and collect, between two steps."""
        with self._moved:
            for one in sets:
                self._walk.service.call("DeleteImageSet", imageSetId=one.id)
                one.deleted = True
            collect(self._walk.service)

    def model(self) -> Model:
        """What it knows that is there now."""
        with self._moved:
            return copy.deepcopy(self._walk.model)

    def end(self) -> None:
        self._ends = True
        self.join()
        self.check()

    def check(self) -> None:
        if self._error is not None:
            raise self._error


class _Walk(RandomWalk):
    """Other tests compare each step with the model; here only its answer is."""

    def collect(self, chance: Random) -> None:
        """The backup may hold what nothing refers to any more."""
        collect(self.service)
        self._over([])

    def _over(self, touched: Sequence[ImageSet]) -> None:
        self.steps += 1


class _CheckerOfOlder(Checker):
    """Compares sets that may have later versions than the model knows."""

    def check_version(self, one: ImageSet, number: int) -> None:
        older = copy.copy(one)
        older.versions = [*one.versions, one.versions[-1]]
        self._check_document(older, number)


@pytest.fixture
def destination(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> Objects:
    """A folder beside SQLite, S3 beside PostgreSQL."""
    if database_url.startswith("sqlite:"):
        return LocalObjects(tmp_path / "backup")
    s3: services.S3 = request.getfixturevalue("s3_endpoint")
    return open_objects(f"s3://{services.new_bucket(s3)}/backup", endpoint_url=s3.url)


@pytest.fixture
def restored_url(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> str:
    if database_url.startswith("sqlite:"):
        return f"sqlite:///{tmp_path / 'restored.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def test_holds_all_that_was_answered_before_it_began(
    tmp_path: Path,
    database_url: str,
    destination: Objects,
    restored_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = InProcessService(tmp_path / "data", database_url)
    agree_on_storage(service.stores.db, service.stores.objects, Ids().id())
    life = Life(_Walk(service))
    good = snapshots.snapshot

    @contextmanager
    def snapshot(*given: Any) -> Iterator[Any]:
        """Packs come that were not copied, and nothing refers to them once the snapshot is taken."""
        life.go_on(2)
        new = life.import_more()
        with good(*given) as taken:
            life.delete(new)
            life.go_on(2)
            yield taken

    monkeypatch.setattr(work, "snapshot", snapshot)
    life.start()
    try:
        life.go_on(5)
        before = life.model()
        report = back_up(service.stores, destination)
        life.go_on(1)
        life.end()
        assert report.run.damaged == []
    finally:
        life._ends = True
        life.join()
        service.close()
    settings = Settings(data=tmp_path / "restored", database_url=restored_url)
    new_place(settings, tmp_path / "data")
    restored = restore(destination, settings)
    assert restored.is_usable and restored.lost == []
    _check(settings, before, packs(destination))


def _check(settings: Settings, before: Model, copied: dict[str, str]) -> None:
    service = InProcessService(settings.data, settings.database)
    try:
        stores = service.stores
        assert packs(stores.objects).items() <= copied.items()
        invariants.check(stores, decode=True)
        with stores.db.read() as conn:
            rows = conn.execute(select(tables.image_set.c.id, tables.image_set.c.state)).all()
        states = {row.id: row.state for row in rows}
        checker = _CheckerOfOlder(service, before)
        compared = 0
        for one in before.sets:
            if one.deleted:
                assert states[one.id] == "DELETED"
            elif states[one.id] == "ACTIVE":  # else it was deleted since
                for number in range(1, one.number + 1):
                    checker.check_version(one, number)
                    compared += 1
        assert compared >= 2
        service._server.work()  # jobs that had not ended
        collect(service)
        invariants.check(stores, decode=True)
        invariants.check_collected(stores)
    finally:
        service.close()
