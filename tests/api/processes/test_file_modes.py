"""Who else on the machine may read what is kept: nobody, whatever the umask and whoever made the folder."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lightwell.stores.data_folder.file_modes import unknown_names
from tests.cli.running import doctor_here, lightwell
from tests.support.ct_files import write_series
from tests.support.server import Server, ended_job, running

ALWAYS = {"LIGHTWELL_ENCRYPTION": "always"}
ROLE = "arn:aws:iam::000000000000:role/import"


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_to_others(folder: Path) -> dict[str, str]:
    """What others may read or enter, itself and below but for the input bucket: path → mode."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        with suppress(FileNotFoundError):  # a server has removed it since
            if (its := mode(path)) & 0o077 and not path.is_relative_to(folder / "buckets" / "inn"):
                found[str(path.relative_to(folder))] = f"{its:04o}"
    return found


def fill(server: Server) -> None:
    """An import job, a document, a search: whatever leaves files."""
    client = server.client()
    store = client.create_datastore(datastoreName="d")["datastoreId"]
    uris = {"inputS3Uri": "s3://inn/", "outputS3Uri": "s3://out/results/"}
    job = client.start_dicom_import_job(datastoreId=store, dataAccessRoleArn=ROLE, **uris)["jobId"]
    assert ended_job(client, store, job)["jobStatus"] == "COMPLETED"
    (found,) = client.search_image_sets(datastoreId=store)["imageSetsMetadataSummaries"]
    client.get_image_set_metadata(datastoreId=store, imageSetId=found["imageSetId"])


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_keeps_what_is_stored_to_its_user(tmp_path: Path, mask: int) -> None:
    data = tmp_path / "data"
    with umask(mask):
        data.mkdir(0o755)
        write_series(data / "buckets" / "inn", 2)
        (data / "buckets" / "out").mkdir(0o700)
        (data / "buckets").chmod(0o700)
        theirs = {path: mode(path) for path in (data / "buckets" / "inn").rglob("*")}
        with running(data, env=ALWAYS) as server:
            fill(server)
            assert open_to_others(data) == {}
            names = {path.name for path in data.iterdir()}
            assert {"lightwell.db", "lightwell.db-wal", "work.sock", "encryption.key"} <= names
            assert unknown_names(data) == []
        assert lightwell("import", data / "buckets" / "inn", data=data).status == 0
        assert lightwell("export", tmp_path / "export", "--datastore", "d", data=data).status == 0
    assert open_to_others(data) == {}
    assert open_to_others(tmp_path / "export") == {}
    reports = [*data.rglob("success.ndjson")]
    assert len(reports) == 2 and all(report.stat().st_size for report in reports)
    assert theirs == {path: mode(path) for path in theirs}


def test_closes_what_was_left_open_and_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_series(data / "buckets" / "inn", 2)
    (data / "buckets" / "out").mkdir()
    with running(data, env=ALWAYS) as server:
        fill(server)
    for path in [data, *data.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    with running(data, env=ALWAYS) as server:
        server.client().list_datastores()
        top = [data, *(path for path in data.iterdir() if path.name != "buckets")]
        assert {str(path): f"{mode(path):04o}" for path in top if mode(path) & 0o077} == {}
    for name in ("", "/lightwell.db", "/objects", "/events.ndjson", "/secret.key", "/encryption.key"):
        assert any(f"other users could read {data}{name} (mode 0" in line for line in server.err), server.err
    assert mode(data / "buckets" / "inn") == mode(data / "buckets" / "out") == 0o777
    done = doctor_here(data=data)
    assert done.status == 0, done
    assert "other users could read" in done.out
    left = {path for path in open_to_others(data) if not path.startswith("buckets")}
    assert left == set()
    (job,) = (data / "buckets" / "out" / "results").iterdir()
    assert open_to_others(job) == {}
    assert mode(job.parent) == 0o777, "the bucket's own folder is its user's"
    again = doctor_here(data=data)
    assert "only you can read the data" in again.out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_warns_of_what_it_may_not_close(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    shutil.chown(data, "nobody")
    with running(data) as server:
        server.client().list_datastores()
    assert any(f"`chmod go= {data}`" in line and "nobody" in line for line in server.err), server.err
    assert mode(data) == 0o755
    assert set(open_to_others(data)) == {"."}
    done = doctor_here(data=data)
    assert (done.status, f"`chmod go= {data}`" in done.out) == (0, True)


def test_leaves_the_mode_of_a_folder_that_holds_other_things(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").write_text("mine")
    with running(tmp_path) as server:
        server.client().list_datastores()
    assert mode(tmp_path) == 0o755
    left = set(open_to_others(tmp_path))
    assert left == {".", "thesis.txt"}


def test_leaves_what_lies_beside_objects_that_are_kept_elsewhere(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    write_series(tmp_path / "in", 1)
    (shared / "theses").mkdir(parents=True)
    (shared / "theses" / "one.txt").write_text("mine")
    flags = ("--storage-url", f"file://{shared}")
    assert lightwell("import", tmp_path / "in", *flags, data=tmp_path / "data").status == 0
    for path in (shared, *shared.rglob("*")):
        path.chmod(0o755)
    done = doctor_here(*flags, data=tmp_path / "data")
    assert done.status == 0 and "other users could read" in done.out, done
    assert set(open_to_others(shared)) == {".", "theses", "theses/one.txt"}
