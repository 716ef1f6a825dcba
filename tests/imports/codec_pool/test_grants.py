"""What a codec worker may reach follows from what it is to read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lightwell.codec_pool.sandbox.grants import Grants, inputs_of, of_files
from lightwell.domain.imports.jobs import InputFile
from lightwell.operations import import_jobs
from tests.support import invariants
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import IN, Importing


def local(server: Importing, *sources: Path) -> int:
    """Import these paths; how many files were."""
    job = import_jobs.submit_local(server.context, server.datastore, list(map(str, sources)))
    server.work()
    imported: int = server.report(job.id).manifest["numberOfImportedFiles"]
    return imported


def test_follows_links_of_a_folder_that_a_person_named(sqlite: Importing, tmp_path: Path) -> None:
    away = write(tmp_path / "away" / "1.dcm", ct(1))
    write(tmp_path / "named" / "2.dcm", ct(2))
    (tmp_path / "named" / "1.dcm").symlink_to(away)
    (tmp_path / "link").symlink_to(tmp_path / "named")
    assert local(sqlite, tmp_path / "named") == 2
    assert local(sqlite, tmp_path / "link" / "1.dcm") == 1


def test_reads_one_place_after_another(sqlite: Importing, tmp_path: Path) -> None:
    """The worker of the first may not read the second, and is replaced."""
    for name in ("a", "b"):
        write_series(tmp_path / name, 3, series=str(ord(name)))
    write_series(sqlite.input / "c", 3, series="99")
    assert local(sqlite, tmp_path / "a") == 3
    assert sqlite._engine is not None
    first = set(sqlite._engine.worker_pids())
    assert local(sqlite, tmp_path / "b") == 3
    second = set(sqlite._engine.worker_pids())
    assert first and second and not first & second
    assert len(sqlite.run("c/").success) == 3
    assert local(sqlite, tmp_path / "a") == 3
    assert set(sqlite._engine.worker_pids()) == second  # which may read both by now
    invariants.check(sqlite.stores)


def test_reads_several_jobs_at_once_from_several_places(sqlite: Importing, tmp_path: Path) -> None:
    started = []
    for name in ("a", "b", "c"):
        write_series(tmp_path / name, 70, series=str(ord(name)))
        started.append(import_jobs.submit_local(sqlite.context, sqlite.datastore, [str(tmp_path / name)]))
    sqlite.work()
    assert [sqlite.report(job.id).manifest["numberOfImportedFiles"] for job in started] == [70] * 3
    invariants.check(sqlite.stores)


def test_reads_a_bucket_that_is_a_link(sqlite: Importing, tmp_path: Path) -> None:
    write(sqlite.input / "1.dcm", ct(1))
    assert len(sqlite.run().success) == 1
    write(tmp_path / "elsewhere" / "2.dcm", ct(2))
    (sqlite.settings.buckets / "linked").symlink_to(tmp_path / "elsewhere")
    assert len(sqlite.run(input_uri="s3://linked/").success) == 1


def test_writes_to_a_storage_that_replaced_the_old_one(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "1.dcm", ct(1))
    assert len(sqlite.run("a/").success) == 1
    objects = sqlite.settings.data / "objects"
    objects.rename(objects.with_name("old"))
    shutil.copytree(objects.with_name("old"), objects)
    sqlite.stores.objects.close()
    write(sqlite.input / "b" / "2.dcm", ct(2))
    assert len(sqlite.run("b/").success) == 1
    invariants.check(sqlite.stores)


def test_grants_nothing_that_is_not_needed(sqlite: Importing, tmp_path: Path) -> None:
    buckets, settings = sqlite.stores.buckets, sqlite.settings
    inside = InputFile(0, "f", ("file", str(tmp_path / "x" / "1")), 1)
    assert of_files(settings, buckets, IN, [InputFile(0, "key", None, 1)]) == Grants()
    assert of_files(settings, buckets, "far-away", [InputFile(0, "key", None, 1)]).far
    assert of_files(settings, buckets.far(), IN, [InputFile(0, "key", None, 1)]).far
    assert of_files(settings, buckets, IN, [InputFile(0, "k", ("s3", "far-away", "k"), 1)]).far
    named = (str(tmp_path / "x"),)
    assert of_files(settings, buckets, IN, [inside], named) == Grants(paths=frozenset(named))
    other = (str(tmp_path / "y"),)
    assert of_files(settings, buckets, IN, [inside], other).paths == {*other, *named}


def test_knows_what_it_has() -> None:
    wide = Grants(paths=frozenset(("/a",)))
    assert wide.covers(Grants()) and wide.covers(Grants(paths=frozenset(("/a/b", "/a"))))
    assert not wide.covers(Grants(paths=frozenset(("/ab",))))
    assert not wide.covers(Grants(far=True)) and Grants(far=True).covers(Grants())
    assert wide.joined(Grants(True)) == Grants(True, frozenset(("/a",)))
    many = Grants(paths=frozenset(map(str, range(300))))
    assert wide.joined(many) == many and many.joined(wide) == wide


def test_takes_the_folder_of_a_dicomdir_and_of_many_files(tmp_path: Path) -> None:
    files = [str(tmp_path / "many" / str(number)) for number in range(100)]
    assert inputs_of(None) == ()
    assert inputs_of(_source(str(tmp_path / "cd" / "DICOMDIR"), "s3://x/y")) == (str(tmp_path / "cd"),)
    assert inputs_of(_source(*files)) == (str(tmp_path / "many"),)
    assert inputs_of(_source(files[0])) == (files[0],)


def _source(*names: str) -> bytes:
    return json.dumps(names).encode()
