"""What an import job takes as its input, and how it fails as a whole (native-api: StartDICOMImportJob)."""

from __future__ import annotations

import re
import shutil
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from lightwell.errors import ConflictError, InputError, NotFoundError, QuotaExceededError
from lightwell.operations import datastores, import_jobs
from lightwell.stores.db import tables
from lightwell.wire import shapes
from tests.support import invariants
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import IN, Importing

_MESSAGE = re.compile(r"[\w -:`]{1,2048}", re.ASCII)


def _failed(server: Importing, **start: Any) -> str:
    job = server.start(**start)
    server.work()
    job = server.job(job.id)
    assert (job.status, job.phase) == ("FAILED", "done")
    assert job.message and _MESSAGE.fullmatch(job.message), job.message
    assert job.ended_at is not None
    invariants.check(server.stores)
    return job.message


def test_takes_a_prefix_without_a_slash_for_the_folder(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "1.dcm", ct(1))
    write(sqlite.input / "ab.dcm", ct(2))
    assert [line["inputFile"] for line in sqlite.run("a").success] == ["a/1.dcm"]


def test_takes_a_prefix_for_the_beginning_of_keys_where_there_is_no_folder(sqlite: Importing) -> None:
    write(sqlite.input / "x-1.dcm", ct(1))
    write(sqlite.input / "x-2" / "2.dcm", ct(2))
    write(sqlite.input / "y.dcm", ct(3))
    assert [line["inputFile"] for line in sqlite.run("x-").success] == ["x-1.dcm", "x-2/2.dcm"]


def test_takes_a_whole_bucket(sqlite: Importing) -> None:
    write(sqlite.input / "deep" / "er" / "1.dcm", ct(1))
    assert sqlite.run(input_uri=f"s3://{IN}").manifest["numberOfImportedFiles"] == 1


def test_counts_files_that_are_not_dicom_as_scanned_and_failed(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "1.dcm", ct(1))
    (sqlite.input / "a" / "notes.txt").write_text("hello")
    (sqlite.input / "a" / "empty").touch()
    report = sqlite.run("a/")
    manifest = report.manifest
    assert manifest["numberOfScannedFiles"] == 3
    assert (manifest["numberOfImportedFiles"], manifest["numberOfFilesWithCustomerError"]) == (1, 2)
    assert report.messages() == {
        "a/empty": "DICOM attributes does not exist",
        "a/notes.txt": "DICOM attributes does not exist",
    }
    assert report.failure[0]["exception"]["exceptionType"] == "ValidationException"
    invariants.check(sqlite.stores)


def test_completes_when_no_file_could_be_imported(sqlite: Importing) -> None:
    (sqlite.input / "notes.txt").write_text("hello")
    report = sqlite.run()
    assert report.job.status == "COMPLETED"
    assert report.manifest["imageSetsSummary"] == []
    assert report.success == []


@pytest.mark.parametrize(
    "name", ["naïve ü 😀.dcm", "two\nlines.dcm", "tab\tand space .dcm", "quote'\".dcm", "..dcm", "a..b"]
)
def test_takes_keys_with_any_characters(sqlite: Importing, name: str) -> None:
    write(sqlite.input / "k" / name, ct(1))
    assert [line["inputFile"] for line in sqlite.run("k/").success] == [f"k/{name}"]


def test_fails_on_a_prefix_with_nothing_below_it(server: Importing) -> None:
    assert f"s3://{IN}/nothing/" in _failed(server, prefix="nothing/")


def test_fails_on_a_bucket_that_does_not_exist(sqlite: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite.stores.buckets.endpoint_url = "http://127.0.0.1:9"  # nobody listens there
    message = _failed(sqlite, input_uri="s3://no-such-bucket/x/")
    assert "no-such-bucket" in message


def test_fails_before_reading_when_the_output_cannot_be_written(sqlite: Importing) -> None:
    write(sqlite.input / "1.dcm", ct(1))
    sqlite.output.rmdir()
    sqlite.output.write_text("a file, not a folder")
    message = _failed(sqlite)
    assert "output" in message
    with sqlite.stores.db.read() as conn:
        from sqlalchemy import select

        from lightwell.stores.db.tables import image_set

        assert conn.execute(select(image_set)).first() is None


def test_refuses_a_prefix_that_climbs_out_of_the_bucket(sqlite: Importing) -> None:
    write(sqlite.settings.buckets / "other-bucket" / "1.dcm", ct(1))
    _failed(sqlite, prefix="../other-bucket/")


def test_fails_when_there_are_more_files_than_the_limit(tmp_path: Path, sqlite: Importing) -> None:
    server = replace(sqlite, settings=replace(sqlite.settings, import_max_files=5000))
    path = write(server.input / "0000.dcm", ct(1))
    for number in range(1, 5001):
        (server.input / f"{number:04}.dcm").hardlink_to(path)
    message = _failed(server)
    assert "5001" in message and "5000" in message and f"s3://{IN}/" in message
    server.close()


@pytest.mark.parametrize(
    ("limit", "word"), [({"import_max_bytes": 1000}, "bytes"), ({"import_max_folders": 2}, "folders")]
)
def test_fails_when_the_input_is_over_a_limit(sqlite: Importing, limit: dict[str, Any], word: str) -> None:
    server = replace(sqlite, settings=replace(sqlite.settings, **limit))
    for number, folder in enumerate(("a/b", "a/c", "d")):
        write(server.input / folder / "1.dcm", ct(number))
    assert word in _failed(server)
    server.close()


def test_fails_a_file_that_is_over_the_limit_alone(sqlite: Importing) -> None:
    server = replace(sqlite, settings=replace(sqlite.settings, import_max_file_bytes=2000))
    write(server.input / "1.dcm", ct(1))
    write(server.input / "2.dcm", ct(2, size=64))
    write(server.input / "3.dcm", ct(3))
    report = server.run()
    assert report.manifest["numberOfImportedFiles"] == 2
    assert "2000" in report.messages()["2.dcm"]
    invariants.check(server.stores)
    server.close()


def test_takes_a_sealed_upload_of_the_longest_file(sqlite: Importing) -> None:
    """The console has compared the file itself; its object is longer. This one is as long as an object."""
    write(sqlite.input / "uploads" / "1.dcm", ct(1))
    write(sqlite.input / "other" / "1.dcm", ct(1))
    longest = (sqlite.input / "other" / "1.dcm").stat().st_size - 100
    server = replace(sqlite, settings=replace(sqlite.settings, import_max_file_bytes=longest))
    assert list(server.run().messages()) == ["other/1.dcm"]
    server.close()


def test_answers_a_repeated_token_with_the_same_job(server: Importing) -> None:
    first = server.start("a/", client_token="same")
    assert server.start("a/", client_token="same").id == first.id
    with pytest.raises(ConflictError):
        server.start("b/", client_token="same")


def test_refuses_a_job_for_a_missing_data_store(server: Importing) -> None:
    gone = server.datastore
    datastores.delete_datastore(server.context, shapes.DeleteDatastoreRequest(datastore_id=gone))
    with pytest.raises(NotFoundError):
        server.start()
    server.datastore = "0" * 32
    with pytest.raises(NotFoundError):
        server.start()


def test_lets_a_hundred_jobs_run_where_quotas_are_enforced(sqlite: Importing) -> None:
    context = replace(sqlite.context, settings=replace(sqlite.settings, quotas="aws"))
    server = replace(sqlite, context=context)
    for _ in range(100):
        server.start()
    with pytest.raises(QuotaExceededError):
        server.start()


def test_shows_a_job_as_it_was_asked_for(server: Importing) -> None:
    mapping = shapes.DicomMetadataMapping(study_instance_uid="1.2", metadata_file_path="m.json")
    configuration = shapes.ImportConfiguration(
        dicom_json_metadata_import_configuration=shapes.DicomJsonMetadataImportConfiguration(
            dicom_metadata_mappings=[mapping]
        )
    )
    job = server.start(
        "a/", job_name="j1", import_configuration=configuration, input_owner_account_id="1" * 12
    )
    shown = import_jobs.get_dicom_import_job(
        server.context, shapes.GetDICOMImportJobRequest(datastore_id=server.datastore, job_id=job.id)
    ).job_properties
    assert (shown.job_name, shown.job_status, shown.message, shown.ended_at) == (
        "j1",
        "SUBMITTED",
        None,
        None,
    )
    assert shown.output_s3_uri == f"s3://out-bucket/res/{server.datastore}-DicomImport-{job.id}/"
    assert shown.import_configuration == configuration
    with pytest.raises(NotFoundError):
        import_jobs.get_dicom_import_job(
            server.context, shapes.GetDICOMImportJobRequest(datastore_id=server.datastore, job_id="f" * 32)
        )


def test_lists_jobs_newest_first_in_pages(server: Importing) -> None:
    ids = [server.start(job_name=f"j{n}").id for n in range(5)]
    server.work()
    seen: list[str] = []
    token = None
    while True:
        answer = import_jobs.list_dicom_import_jobs(
            server.context,
            shapes.ListDICOMImportJobsRequest(datastore_id=server.datastore, max_results=2, next_token=token),
        )
        seen += [j.job_id for j in answer.job_summaries]
        token = answer.next_token
        if token is None:
            break
    assert seen == sorted(ids, key=lambda id: (server.job(id).submitted_at, server.job(id).key), reverse=True)
    for status, count in (("FAILED", 5), ("COMPLETED", 0)):
        answer = import_jobs.list_dicom_import_jobs(
            server.context,
            shapes.ListDICOMImportJobsRequest(datastore_id=server.datastore, job_status=status),  # type: ignore[arg-type]
        )
        assert len(answer.job_summaries) == count


def test_imports_paths_zip_files_and_a_dicomdir(sqlite: Importing, tmp_path: Path) -> None:
    write_series(tmp_path / "folder", 2, series="1")
    (tmp_path / "folder" / "DICOMDIR").write_bytes(b"not counted in a folder")
    one = write(tmp_path / "one.dcm", ct(1, series="2"))
    write_series(tmp_path / "zipped", 2, series="3")
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "zipped").iterdir()):
            archive.write(path, f"in/{path.name}")
        archive.writestr("in/readme.txt", "hello")
    write(sqlite.input / "s3" / "1.dcm", ct(1, series="4"))
    sources = [str(tmp_path / "folder"), str(one), str(tmp_path / "z.zip"), f"s3://{IN}/s3/"]
    job = import_jobs.submit_local(sqlite.context, sqlite.datastore, sources)
    sqlite.work()
    report = sqlite.report(job.id)
    assert report.job.status == "COMPLETED"
    assert report.manifest["numberOfScannedFiles"] == 7
    assert [Path(line["inputFile"]).name for line in report.success] == [
        "0001.dcm",
        "0002.dcm",
        "one.dcm",
        "0001.dcm",
        "0002.dcm",
        "1.dcm",
    ]
    assert list(report.messages()) == [f"{tmp_path}/z.zip/in/readme.txt"]
    assert report.job.output_uri.startswith("s3://lightwell-imports/")
    invariants.check(sqlite.stores)
    with pytest.raises(InputError):
        import_jobs.submit_local(sqlite.context, sqlite.datastore, [str(tmp_path / "nothing")])


def test_imports_what_a_dicomdir_lists(sqlite: Importing, tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    source = Path(str(get_testdata_file("dicomdirtests/DICOMDIR")))
    shutil.copytree(source.parent, tmp_path / "media")
    job = import_jobs.submit_local(sqlite.context, sqlite.datastore, [str(tmp_path / "media" / "DICOMDIR")])
    sqlite.work()
    manifest = sqlite.report(job.id).manifest
    assert manifest["numberOfScannedFiles"] == 31
    assert manifest["numberOfImportedFiles"] == 31


def test_imports_each_of_the_members_of_a_zip_that_share_a_name(sqlite: Importing, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{number}.dcm", ct(number)) for number in (1, 2)]
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "same.zip", "w") as archive:
        warnings.simplefilter("ignore")
        for file in files:
            archive.write(file, "same.dcm")
    job = import_jobs.submit_local(sqlite.context, sqlite.datastore, [str(tmp_path / "same.zip")])
    sqlite.work()
    assert sqlite.report(job.id).manifest["numberOfImportedFiles"] == 2
    with sqlite.stores.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(tables.instance)).scalar() == 2


def test_stops_a_zip_member_that_grows_past_the_limit(sqlite: Importing, tmp_path: Path) -> None:
    server = replace(sqlite, settings=replace(sqlite.settings, inflate_max_bytes=1 << 20))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.dcm", b"\0" * 128 + b"DICM" + b"\0" * (50 << 20))
    job = import_jobs.submit_local(server.context, server.datastore, [str(tmp_path / "bomb.zip")])
    server.work()
    assert "larger than" in next(iter(server.report(job.id).messages().values()))
    server.close()
