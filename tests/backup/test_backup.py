"""What a backup holds comes back, each byte and each row; what is damaged is named, and never passed on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from lightwell.errors import ConfigurationError, DamagedError, StorageError
from lightwell.settings import Settings
from lightwell.stores.background import installation
from lightwell.stores.backup import claim, pieces, snapshots
from lightwell.stores.backup.runs import Backups
from lightwell.stores.backup.targets import target
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.db import tables
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import schema_state
from lightwell.stores.jobs import import_jobs
from lightwell.stores.objects.interface import Objects
from lightwell.work.backup import backup as work
from lightwell.work.backup import restore as work_restore
from lightwell.work.backup.backup import Backup, HeldKeys
from lightwell.work.backup.restore import Restore, RestoreReport
from tests.backup.places import Kind, back_up, contents, new_place, opened, packs, restore
from tests.support import invariants
from tests.support.ct_files import write_series
from tests.support.imports import Importing


@pytest.fixture(scope="module")
def made(kind: Kind, place: Importing) -> Objects:
    """A backup with one run, in the middle of `lightwell data verify`."""
    row = {"key": 1, "mode": "all", "started_at": 1, "seen_at": 1, "progress": "{}"}
    place.stores.db.write(lambda conn: conn.execute(tables.integrity_run.insert(), [row]))
    objects = kind.objects("backup")
    back_up(place.stores, objects)
    return objects


@pytest.fixture
def new(kind: Kind, empty_url: str, request: pytest.FixtureRequest) -> Settings:
    """An empty place."""
    settings = kind.settings(f"new-{abs(hash(request.node.name))}", empty_url)
    return new_place(settings, kind.folder / "data")


def check_same(place: Importing, settings: Settings) -> None:
    """Assert that a restored place holds what the other one does, and is one of its own."""
    with opened(settings) as stores:
        assert schema_state(stores.db) == "current"
        assert contents(stores.db) == contents(place.stores.db)
        assert packs(stores.objects) == packs(place.stores.objects) != {}
        invariants.check(stores, decode=True)
        with stores.db.read() as conn, place.stores.db.read() as old:
            mine, theirs = installation.known_id(conn), installation.known_id(old)
            for table in (tables.server, tables.integrity_run):
                assert conn.execute(table.select()).all() == [], "what is true of the old place only"
            assert not claim.is_held(conn)
        assert installation.read_id(stores.objects) == mine != theirs
        if stores.db.dialect == "postgresql":
            assert target(settings.database, None, stores.spool).under_way() is None


def is_refused(settings: Settings) -> bool:
    """Whether servers and commands refuse the database since a restore has not ended."""
    db = Database(settings.database)
    try:
        with pytest.raises(ConfigurationError, match="a restore into it has begun and not ended"):
            schema_state(db)
    finally:
        db.close()
    return True


@contextmanager
def flipped(objects: Objects, name: str) -> Iterator[None]:
    """One bit in the middle of an object is another one meanwhile."""
    data = objects.get(name)
    assert data is not None
    middle = len(data) // 2
    objects.put(name, data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    yield
    objects.put(name, data)


def test_brings_back_each_row_and_each_pack(place: Importing, made: Objects, new: Settings) -> None:
    report = restore(made, new)
    assert report.is_usable and not report.lost and report.frames == 4
    check_same(place, new)


def test_lets_any_server_go_on_with_a_job_whose_data_folder_is_gone(
    tmp_path: Path, migrated_sqlite_url: str
) -> None:
    """Only the server of that folder would go on with it otherwise, and nobody has that any more."""
    kind = Kind(tmp_path, None)
    place = kind.importing(migrated_sqlite_url)
    write_series(place.input / "a", 1)
    job = place.start("a/")
    nodes = {"input_node": "f" * 32, "output_node": NOBODY}
    place.stores.db.write(lambda conn: conn.execute(update(tables.import_job).values(nodes)))
    destination = kind.objects("backup")
    back_up(place.stores, destination)
    place.close()
    new = new_place(kind.settings("new", f"sqlite:///{tmp_path / 'new.db'}"), kind.folder / "data")
    assert restore(destination, new).open_jobs == [job.id]
    with opened(new) as stores, stores.db.read() as conn:
        found = import_jobs.find_anywhere(conn, job.id)
    assert found is not None and (found.input_node, found.output_node) == (None, NOBODY)


def test_copies_only_what_the_destination_lacks(place: Importing, kind: Kind) -> None:
    objects = kind.objects("again")
    first = back_up(place.stores, objects)
    assert first.packs_copied == first.run.packs == len(packs(place.stores.objects))
    assert first.bytes_copied == first.run.pack_bytes
    assert back_up(place.stores, objects).packs_copied == 0
    lost = next(iter(packs(objects)))
    objects.delete(lost)
    assert back_up(place.stores, objects).packs_copied == 1
    assert packs(objects) == packs(place.stores.objects)


def test_stores_what_stays_of_an_sqlite_database_once(
    place: Importing, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.stores.db.dialect != "sqlite":
        pytest.skip("the dump of a PostgreSQL database is another one each time")
    for module in (pieces, snapshots):
        monkeypatch.setattr(module, "PIECE", 64 << 10)
    objects = kind.objects("pieces")
    back_up(place.stores, objects)
    before = {name for name, _ in objects.list("database")}
    run = back_up(place.stores, objects).run
    after = {name for name, _ in objects.list("database")}
    assert len(before) > 4 and 0 < len(after - before) <= 2, "the page with the claim, and the first one"
    assert {f"database/{piece}" for piece in run.pieces} <= after


def test_names_a_damaged_pack_and_does_not_copy_it(place: Importing, kind: Kind, new: Settings) -> None:
    objects = kind.objects("damaged")
    name = next(iter(packs(place.stores.objects)))
    with flipped(place.stores.objects, name):
        report = back_up(place.stores, objects)
        assert [each.name for each in report.run.damaged] == [name]
        assert "checksum differs" in report.run.damaged[0].reason
        assert not objects.exists(name)
    refused = restore(objects, new)
    assert not refused.is_usable and [each.name for each in refused.lost] == [name]
    assert "checksum differs" in refused.lost[0].reason, "why the backup lacks it"
    assert is_refused(new)
    taken = restore(objects, new, accepts_damage=True)
    assert taken.is_usable and taken.frames == 2
    with opened(new) as stores:
        assert contents(stores.db) == contents(place.stores.db)
        assert packs(stores.objects).keys() == packs(place.stores.objects).keys() - {name}
    healed = back_up(place.stores, objects)
    assert healed.packs_copied == 1 and healed.run.damaged == []


def test_keeps_the_good_copy_of_a_pack_that_was_damaged_since(place: Importing, kind: Kind) -> None:
    objects = kind.objects("good")
    back_up(place.stores, objects)
    good = packs(objects)
    with flipped(place.stores.objects, next(iter(good))):
        assert back_up(place.stores, objects).run.damaged == []
    assert packs(objects) == good


def test_goes_on_from_another_copy_where_one_is_damaged(
    place: Importing, made: Objects, kind: Kind, new: Settings
) -> None:
    other = kind.objects("other")
    for name, _ in made.list():
        other.put(name, made.get(name) or b"")
    name = next(iter(packs(other)))
    with flipped(other, name):
        report = restore(other, new)
    assert not report.is_usable and [each.name for each in report.lost] == [name]
    assert is_refused(new)
    assert restore(made, new).is_usable
    check_same(place, new)


@pytest.mark.parametrize("folder", ["database", "runs"])
def test_refuses_a_damaged_database_or_manifest(
    place: Importing, made: Objects, new: Settings, folder: str
) -> None:
    for name, _ in sorted(made.list(folder)):
        with flipped(made, name), pytest.raises(DamagedError, match="missing or damaged"):
            restore(made, new)
    assert restore(made, new).is_usable
    check_same(place, new)


def test_goes_on_wherever_it_was_interrupted(
    place: Importing, made: Objects, new: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step fails once."""
    failed: list[str] = []

    def fail_once(owner: Any, name: str) -> None:
        good = getattr(owner, name)

        def fails(*given: Any, **named: Any) -> Any:
            if name not in failed:
                failed.append(name)
                raise StorageError(name)
            return good(*given, **named)

        monkeypatch.setattr(owner, name, fails)

    kind = type(target(new.database, None, new.data))
    for name in ("load", "opened", "finish"):
        fail_once(kind, name)
    for name in ("_copy", "_settle", "_blocks"):
        fail_once(Restore, name)
    fail_once(work_restore, "look_at_frames")
    report: RestoreReport | None = None
    while report is None:
        try:
            report = restore(made, new)
        except StorageError:
            if new.database.startswith("sqlite:") or failed[-1] not in ("look_at_frames", "finish"):
                assert is_refused(new)
            elif failed[-1] == "look_at_frames":
                with (
                    opened(new) as stores,
                    pytest.raises(ConfigurationError, match="not ended: run the same"),
                ):
                    installation.agree_on_storage(stores.db, stores.objects, "id")
    steps = ["_blocks", "_copy", "_settle", "finish", "load", "look_at_frames", "opened"]
    assert sorted(failed) == steps and report.is_usable
    check_same(place, new)


def test_refuses_a_place_that_is_not_empty(place: Importing, made: Objects, new: Settings) -> None:
    with pytest.raises(ConfigurationError, match="needs an empty"):
        restore(made, replace(place.settings, storage_url=new.storage_url))
    assert not packs(target_storage(new))
    with pytest.raises(ConfigurationError, match="not empty: a restore needs an empty storage"):
        restore(made, replace(new, storage_url=place.settings.storage_url))


def target_storage(settings: Settings) -> Objects:
    from lightwell.stores.objects.open import open_objects

    return open_objects(settings.storage, endpoint_url=settings.storage_endpoint_url)


def test_refuses_runs_that_do_not_fit(made: Objects, new: Settings, kind: Kind) -> None:
    other = kind.objects("unfit")
    for name, _ in made.list():
        other.put(name, made.get(name) or b"")
    backups = Backups(other)
    (id,) = backups.runs()
    run = backups.run(id)
    backups.commit(replace(run, schema="9999", version="99.0"))
    with pytest.raises(ConfigurationError, match=r"newer lightwell, 99\.0, .* 9999.* install that version"):
        restore(other, new)
    kinds = {"sqlite": "postgresql", "postgresql": "sqlite"}
    backups.commit(replace(run, database=kinds[run.database]))
    with pytest.raises(ConfigurationError, match="of a database of the kind"):
        restore(other, new)
    with pytest.raises(ConfigurationError, match="has no run nothing"):
        restore(other, new, run_id="nothing")
    with pytest.raises(ConfigurationError, match="is no backup"):
        restore(kind.objects("nowhere"), new)


def test_refuses_to_write_into_what_is_no_backup_of_the_same(place: Importing, kind: Kind) -> None:
    with pytest.raises(ConfigurationError, match="is the storage of an installation"):
        back_up(place.stores, place.stores.objects)
    other = kind.objects("used")
    other.put("something", b"else")
    with pytest.raises(ConfigurationError, match="not empty, and no backup"):
        back_up(place.stores, other)
    theirs = kind.objects("theirs")
    Backups(theirs).claim("another")
    with pytest.raises(ConfigurationError, match="--take-over"):
        back_up(place.stores, theirs)
    assert not packs(theirs)
    back_up(place.stores, theirs, takes_over=True)
    back_up(place.stores, theirs)


def test_removes_what_no_run_names_that_is_kept(place: Importing, kind: Kind, new: Settings) -> None:
    objects = kind.objects("pruned")
    first = back_up(place.stores, objects, keys=lambda conn: HeldKeys(["secret.key"], b"first")).run
    stray = "packs/01/0000000000000001.pack"
    objects.put(stray, b"of a run that was removed")
    objects.put("database/" + "0" * 64, b"")
    report = back_up(place.stores, objects, keep=2, keys=lambda conn: HeldKeys(["secret.key"], b"2"))
    found = [Backups(objects).keys_of(run) for run in (first, report.run)]
    assert [each and each[1] for each in found] == [b"first", b"2"]
    assert (report.pruned.runs, report.pruned.packs, report.pruned.pieces) == (0, 1, 1)
    report = back_up(place.stores, objects, keep=1)
    assert report.pruned.runs == 2 and report.pruned.packs == 0
    backups = Backups(objects)
    assert backups.runs() == [report.run.id] != [first.id]
    assert backups.keys_of(report.run) is None and not list(objects.list("keys"))
    needed = set(report.run.pieces)
    assert {name.rpartition("/")[2] for name, _ in objects.list("database")} == needed
    assert restore(objects, new).is_usable
    check_same(place, new)


@pytest.mark.parametrize(("often", "runs"), [(1, 1), (3, 0)])
def test_begins_again_if_erasing_takes_what_it_held(
    place: Importing, kind: Kind, monkeypatch: pytest.MonkeyPatch, often: int, runs: int
) -> None:
    objects = kind.objects(f"erased-{often}")
    good = snapshots.snapshot
    taken: list[Any] = []

    @contextmanager
    def snapshot(db: Database, *more: Any) -> Iterator[Any]:
        with good(db, *more) as found:
            with db.read() as conn:
                assert claim.is_held(conn)
            if len(taken) < often:
                db.write(claim.cancel_hold)
            taken.append(found)
            yield found

    monkeypatch.setattr(work, "snapshot", snapshot)
    if runs:
        back_up(place.stores, objects)
    else:
        with pytest.raises(StorageError, match="run it again"):
            back_up(place.stores, objects)
    assert len(taken) == (2 if runs else 3)
    assert len(Backups(objects).runs()) == runs
    with place.stores.db.read() as conn:
        assert not claim.is_held(conn)


def test_refuses_a_second_backup_at_the_same_time(
    place: Importing, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Backup._run
    second: list[Backup] = []

    def run(self: Backup, *given: Any, **named: Any) -> Any:
        if not second:
            second.append(self)
            with pytest.raises(Exception, match="Another backup of this installation is running"):
                back_up(place.stores, kind.objects("second"))
        return good(self, *given, **named)

    monkeypatch.setattr(Backup, "_run", run)
    back_up(place.stores, kind.objects("first"))
    assert second and Backups(kind.objects("first")).runs() != []
