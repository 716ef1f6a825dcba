"""What is away pauses a job: when it is back, every file is imported, however often it was tried."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import select

from lightwell.codec_pool import sources
from lightwell.codec_pool.failures import CHUNK, PHASE, Cause
from lightwell.domain.backoff import Backoff
from lightwell.domain.imports.jobs import InputFile, Job
from lightwell.domain.states import JobPhase
from lightwell.errors import InputError, StorageError, StorageUnavailableError
from lightwell.imaging.dataset import byte_source
from lightwell.operations import import_jobs
from lightwell.stores.db.tables import chunk
from lightwell.stores.objects import s3_client
from lightwell.stores.objects.open import open_objects
from lightwell.work.imports import leases, pauses
from lightwell.work.imports.pauses import Pauses
from tests.support import invariants
from tests.support.ct_files import write_series
from tests.support.imports import Importing, importing, taken
from tests.support.services import S3, boto3_client, new_bucket
from tests.support.tcp_proxies import InterruptibleProxy

# More than a chunk's or a phase's tries for what is not away.
TRIES = (CHUNK[Cause.STORAGE].tries or 0) + 2
PATIENCE = 300.0


@pytest.fixture(autouse=True)
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why a job was paused, each time; the pauses are short."""
    found: list[str] = []
    begin = Pauses.begin

    def counting(self: Pauses, job: int, name: str, reason: str, in_full: str | None = None) -> int:
        found.append(reason)
        return begin(self, job, name, reason, in_full)

    monkeypatch.setattr(pauses, "BACKOFF", Backoff(10, 20))
    monkeypatch.setattr(Pauses, "begin", counting)
    return found


@pytest.fixture
def way(s3_endpoint: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[InterruptibleProxy]:
    """An interruptible proxy in front of the S3 server, whose client does not try for long by itself."""
    connect, answer, _ = s3_client._PATIENCE["long"]
    monkeypatch.setitem(s3_client._PATIENCE, "long", (connect, answer, 1))
    parts = urlsplit(s3_endpoint.url)
    assert parts.hostname and parts.port
    proxy = InterruptibleProxy(parts.hostname, parts.port)
    yield proxy
    proxy.end()


@pytest.fixture
def bucket(s3_endpoint: S3) -> str:
    return new_bucket(s3_endpoint)


@contextmanager
def working(server: Importing) -> Iterator[None]:
    one = server.engine()
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        yield
    finally:
        one.stop()
        thread.join()


def wait(until: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def finished(server: Importing, job: Job) -> None:
    wait(lambda: server.job(job.id).phase == JobPhase.DONE, "the job is done")
    assert server.job(job.id).status == "COMPLETED", server.job(job.id).message


def deaths(server: Importing) -> list[bytes]:
    with server.stores.db.read() as conn:
        return [row for row in conn.execute(select(chunk.c.deaths)).scalars() if row]


def test_waits_for_the_storage_of_objects(
    tmp_path: Path, migrated_sqlite_url: str, way: InterruptibleProxy, bucket: str, tries: list[str]
) -> None:
    server = importing(
        tmp_path / "data", migrated_sqlite_url,
        storage_url=f"s3://{bucket}/objects", storage_endpoint_url=f"http://127.0.0.1:{way.port}",
    )  # fmt: skip
    write_series(server.input, 6)
    way.close()
    job = server.start()
    with working(server):
        wait(lambda: len(tries) > TRIES, f"{len(tries)} tries")
        assert (server.job(job.id).phase, deaths(server)) == (JobPhase.READ, [])
        assert server.job(job.id).status == "IN_PROGRESS"
        way.is_open = True
        finished(server, job)
    assert all("cannot be reached" in reason or "answered 5" in reason for reason in tries)
    report = server.report(job.id)
    assert report.manifest["numberOfImportedFiles"] == 6 and not report.failure
    invariants.check(server.stores)
    server.close()


def test_waits_for_the_bucket_of_its_input_and_output(
    tmp_path: Path,
    migrated_sqlite_url: str,
    s3_endpoint: S3,
    way: InterruptibleProxy,
    bucket: str,
    tries: list[str],
) -> None:
    url = f"http://127.0.0.1:{way.port}"
    server = importing(tmp_path / "data", migrated_sqlite_url, s3_endpoint_url=url)
    client = boto3_client(s3_endpoint)
    for path in write_series(tmp_path / "made", 6):
        client.put_object(Bucket=bucket, Key=f"in/{path.name}", Body=path.read_bytes())
    way.close()
    job = server.start(input_uri=f"s3://{bucket}/in/", output=f"s3://{bucket}/out")
    with working(server):
        wait(lambda: len(tries) > (PHASE[Cause.STORAGE].tries or 0) + 2, f"{len(tries)} tries to list")
        assert server.job(job.id).phase == JobPhase.LIST
    # One phase at a time, so that the bucket is away in the middle of the next.
    way.is_open = True
    one = server.engine()
    one._phases.work(taken(one, JobPhase.LIST))
    assert server.job(job.id).phase == JobPhase.READ
    way.close()
    tries.clear()
    with working(server):
        wait(lambda: len(tries) > TRIES, f"{len(tries)} tries to read")
        assert (server.job(job.id).phase, deaths(server)) == (JobPhase.READ, [])
        way.is_open = True
        finished(server, job)
    folder = server.job(job.id).output_uri.removeprefix(f"s3://{bucket}/")
    found = {
        name: client.get_object(Bucket=bucket, Key=f"{folder}{name}")["Body"].read().splitlines()
        for name in ("SUCCESS/success.ndjson", "FAILURE/failure.ndjson")
    }
    client.close()
    assert [len(lines) for lines in found.values()] == [6, 0]
    invariants.check(server.stores)
    server.close()


def test_waits_for_the_database_that_goes_during_a_commit(
    tmp_path: Path, migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch, tries: list[str]
) -> None:
    parts = urlsplit(migrated_postgres_url)
    assert parts.hostname and parts.port
    proxy = InterruptibleProxy(parts.hostname, parts.port)
    place = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}"
    server = importing(tmp_path / "data", urlunsplit(parts._replace(netloc=place)))
    write_series(server.input, 6)
    commit, went = leases.Leases.commit, threading.Event()

    def closing(self: leases.Leases, claimed: leases.LeasedChunk) -> None:
        if not went.is_set():
            proxy.close()
            went.set()
        commit(self, claimed)

    monkeypatch.setattr(leases, "_COMMIT_ATTEMPTS", 2)
    monkeypatch.setattr(leases.Leases, "commit", closing)
    job = server.start()
    with working(server):
        wait(went.is_set, "a commit begins")
        wait(lambda: len(tries) > 0, "the commit is given up")
        proxy.is_open = True
        finished(server, job)
    report = server.report(job.id)
    assert report.manifest["numberOfImportedFiles"] == 6 and not report.failure
    invariants.check(server.stores)
    server.close()
    proxy.end()


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What codec workers were started by. The first are programs that end at once, as without memory."""
    python = sys.executable
    started: list[list[str]] = []

    class Started(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **more: Any) -> None:
            started.append(command)
            if len(started) == 3:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            missing = "/no/such/program" if len(started) % 2 else "/bin/false"
            super().__init__([missing if len(started) <= TRIES else python, *command[1:]], **more)

    monkeypatch.setattr(subprocess, "Popen", Started)
    return started


def test_waits_for_room_to_start_a_codec_worker(
    sqlite: Importing, tries: list[str], no_room: list[list[str]]
) -> None:
    write_series(sqlite.input / "a", 3)
    report = sqlite.run("a/")
    assert len(report.success) == 3 and not report.failure
    assert len(no_room) > TRIES
    assert any("a codec worker could not be started" in reason for reason in tries)


def test_waits_for_room_to_start_the_one_that_lists_a_zip_file(
    sqlite: Importing, tries: list[str], no_room: list[list[str]], tmp_path: Path
) -> None:
    write_series(tmp_path / "a", 3)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted((tmp_path / "a").rglob("*.dcm")):
            archive.write(path, path.name)
    job = import_jobs.submit_local(sqlite.context, sqlite.datastore, [str(tmp_path / "a.zip")])
    sqlite.work()
    report = sqlite.report(job.id)
    assert report.job.status == "COMPLETED", report.job.message
    assert len(report.success) == 3 and not report.failure
    assert len(no_room) > TRIES
    assert any("a codec worker could not be started" in reason for reason in tries)


def test_waits_for_a_folder_of_objects_that_is_not_mounted(sqlite: Importing) -> None:
    write_series(sqlite.input / "a", 2)
    write_series(sqlite.input / "b", 2, series="2")
    sqlite.run("a/")
    sqlite.close_engine()  # its worker could write to no other folder than it was started with
    objects, elsewhere = sqlite.settings.data / "objects", sqlite.settings.data / "elsewhere"
    kept = dict(sqlite.stores.objects.list("packs"))
    objects.rename(elsewhere)
    objects.mkdir(mode=0o700)
    started = [sqlite.start("b/"), sqlite.start("a/")]
    working = threading.Thread(target=sqlite.work)
    working.start()
    while working.is_alive() and (sqlite._engine is None or len(sqlite._engine._pauses._pauses) < 2):
        time.sleep(0.01)
    assert not list(objects.rglob("*.pack"))
    objects.rmdir()
    elsewhere.rename(objects)
    working.join()
    for job in started:
        report = sqlite.report(job.id)
        assert report.manifest["numberOfImportedFiles"] == 2 and not report.failure
    assert kept.items() < dict(sqlite.stores.objects.list("packs")).items()
    invariants.check(sqlite.stores, decode=True)


def test_tells_an_outage_from_a_fault(s3_endpoint: S3, way: InterruptibleProxy, bucket: str) -> None:
    objects = open_objects(f"s3://{bucket}/x", endpoint_url=f"http://127.0.0.1:{way.port}")
    objects.put("packs/1", b"0123456789")
    with pytest.raises(StorageError, match="ends at byte") as fault:
        objects.read("packs/1", 7, 5)
    assert not isinstance(fault.value, StorageUnavailableError)
    none = open_objects("s3://there-is-no-such-bucket/x", endpoint_url=s3_endpoint.url)
    with pytest.raises(StorageUnavailableError, match="no such bucket"):
        none.put("packs/1", b"x")
    way.close()
    with pytest.raises(StorageUnavailableError, match="cannot be reached"):
        objects.read("packs/1", 0, 5)


class _Opening:
    """The engine, as far as a worker needs it to open a zip file."""

    def open_input(self, path: str) -> int:
        return os.open(path, os.O_RDONLY)


def test_waits_for_room_to_unzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sources, "WHOLE", 10)
    monkeypatch.setattr(sources, "NamedTemporaryFile", full)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.dcm", bytes(100))
    opener = sources.Sources(_Opening(), tmp_path, 1 << 20)  # type: ignore[arg-type]
    file = InputFile(0, "a.dcm", ("zip", str(tmp_path / "a.zip"), "a.dcm", "0"), 100)
    with pytest.raises(StorageUnavailableError, match="the disk is full"):
        opener.open(1, file)
    opener.close_archive()


def test_refuses_what_unzips_to_all_room_that_the_disk_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "WHOLE", 10)
    monkeypatch.setattr(byte_source, "_LARGE", 50)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.dcm", bytes(100))
    opener = sources.Sources(_Opening(), tmp_path, 1 << 20)  # type: ignore[arg-type]
    file = InputFile(0, "a.dcm", ("zip", str(tmp_path / "a.zip"), "a.dcm", "0"), 100)
    monkeypatch.setattr(os, "fstatvfs", lambda fd: SimpleNamespace(f_bavail=12, f_frsize=1))
    opener.open(1, file).close()
    monkeypatch.setattr(os, "fstatvfs", lambda fd: SimpleNamespace(f_bavail=11, f_frsize=1))
    with pytest.raises(InputError, match="the disk has room for"):
        opener.open(1, file)
    opener.close_archive()
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip"}
