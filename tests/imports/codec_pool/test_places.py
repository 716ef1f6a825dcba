"""Files in all kinds of places, which the engine opens for workers that may open none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lightwell.operations import import_jobs
from tests.support import invariants
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing


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
    """Without a new worker for each."""
    write_series(tmp_path / "a", 3, series="1")
    write_series(sqlite.input / "b", 3, series="2")
    assert local(sqlite, tmp_path / "a") == 3
    assert sqlite._engine is not None
    first = set(sqlite._engine.worker_pids())
    assert len(sqlite.run("b/").success) == 3
    assert first and set(sqlite._engine.worker_pids()) == first
    invariants.check(sqlite.stores)


def test_says_what_is_not_a_file(sqlite: Importing, tmp_path: Path) -> None:
    write(tmp_path / "named" / "1.dcm", ct(1))
    job = import_jobs.submit_local(sqlite.context, sqlite.datastore, [str(tmp_path / "named")])
    (tmp_path / "named" / "1.dcm").unlink()
    os.mkfifo(tmp_path / "named" / "1.dcm")  # whoever waited for its other end would wait for ever
    sqlite.work()
    report = sqlite.report(job.id)
    assert [line["exception"]["exceptionType"] for line in report.failure] == ["ValidationException"]


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
