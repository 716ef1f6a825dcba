"""Uploads where buckets are on S3, and when they are removed."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pydicom
import pytest

from lightwell.clock import Clock
from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.uploads import KEEP_MS, FileDigest, Upload
from lightwell.errors import (
    AccessDeniedError,
    ConflictError,
    NotFoundError,
    StorageError,
    UnavailableError,
    ValidationError,
)
from lightwell.operations.console import uploaded_files, uploads
from lightwell.operations.import_jobs import start_dicom_import_job
from lightwell.stores.buckets.registry import Buckets
from lightwell.stores.db import job_tables as tables
from lightwell.stores.jobs import uploads as table
from lightwell.wire.shapes import StartDICOMImportJobRequest
from lightwell.work.upload_removal import UploadRemoval
from tests.support.collector import Later
from tests.support.ct_files import ct
from tests.support.imports import Importing, importing
from tests.support.services import S3, new_bucket


@pytest.fixture
def far(tmp_path: Path, migrated_postgres_url: str, s3_endpoint: S3) -> Iterator[Importing]:
    """A server on PostgreSQL whose storage and buckets are on S3."""
    made = importing(
        tmp_path / "data",
        migrated_postgres_url,
        storage_url=f"s3://{new_bucket(s3_endpoint)}",
        storage_endpoint_url=s3_endpoint.url,
        s3_endpoint_url=s3_endpoint.url,
        console_bucket=new_bucket(s3_endpoint),
        storage_cache_bytes=0,
    )
    yield made
    made.close()


def send(server: Importing, upload: Upload, name: str, data: bytes) -> None:
    target = uploaded_files.target(server.context, server.datastore, upload.id, name, len(data))
    digest = FileDigest()
    digest.update(data)
    spooled = server.settings.data / "spool" / "sent"
    spooled.write_bytes(data)
    uploaded_files.keep(
        server.context, target, spooled if len(data) > 600 else data, digest.hexdigest(), len(data)
    )


def encoded(number: int) -> bytes:
    out = io.BytesIO()
    pydicom.dcmwrite(out, ct(number), enforce_file_format=True)
    return out.getvalue()


def removal(server: Importing, clock: Clock) -> UploadRemoval:
    return UploadRemoval(server.stores, server.settings, clock, threading.Event())


def keys(server: Importing) -> list[str]:
    bucket = server.settings.upload_bucket
    return [key.split("/", 3)[-1] for key, _ in server.stores.buckets.list(bucket, "uploads/")]


def test_uploads_are_in_a_bucket_of_s3(far: Importing) -> None:
    upload = uploads.begin(far.context, far.datastore, name="folder", files=3, size=5000)
    assert upload.node == ""  # any server takes files of it, any worker reads them
    for name, data in (("Ä 1/1", encoded(1)), ("Ä 1/2", encoded(2)), ("cut", encoded(3)[:300])):
        send(far, upload, name, data)
    send(far, upload, "cut", encoded(3)[:300])
    with pytest.raises(ConflictError):
        send(far, upload, "cut", encoded(3)[:301])
    assert keys(far) == ["cut", "Ä 1/1", "Ä 1/2"]
    input_uri, output_uri = uploads.uris(far.context, far.datastore, upload)
    job = far.start(input_uri=input_uri, output=output_uri)
    assert removal(far, Clock()).remove() == 0
    with pytest.raises(ConflictError):
        uploads.discard(far.context, far.datastore, upload.id)
    far.work()
    assert far.job(job.id).status == "COMPLETED"
    assert removal(far, Clock()).remove() == 2 and keys(far) == ["cut"]
    left = uploads.get(far.context, far.datastore, upload.id).upload
    assert (left.arrived_files, left.arrived_size, left.claimed_files) == (1, 300, 3)
    assert removal(far, Later(KEEP_MS - 60_000)).remove() == 0
    assert removal(far, Later(KEEP_MS + 60_000)).remove() == 1 and keys(far) == []
    with pytest.raises(NotFoundError):
        uploads.get(far.context, far.datastore, upload.id)


def test_a_bucket_that_is_not_there_is_said_at_once(far: Importing) -> None:
    missing = replace(far.context, settings=replace(far.settings, console_bucket="no-such-bucket"))
    with pytest.raises(ValidationError, match="console_bucket"):
        uploads.begin(missing, far.datastore, name="folder", files=1, size=1)


def test_a_bucket_of_s3_has_no_name_by_default(far: Importing) -> None:
    unset = replace(far.context, settings=replace(far.settings, console_bucket=None))
    with pytest.raises(ValidationError, match="set console_bucket"):
        uploads.begin(unset, far.datastore, name="folder", files=1, size=1)


def test_a_folder_that_is_gone_is_no_bucket_of_s3(server: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = uploads.begin(server.context, server.datastore, name="folder", files=2, size=2)
    send(server, upload, "a", b"1")
    folder = server.stores.buckets.root / server.settings.upload_bucket
    folder.rename(folder.with_name("elsewhere"))
    monkeypatch.setattr(server.stores.buckets, "_bucket", lambda _: pytest.fail("asked S3"))
    with pytest.raises(UnavailableError, match="is gone"):
        send(server, upload, "b", b"2")
    # Nor does it keep the collector from its work.
    assert removal(server, Later(KEEP_MS + 60_000)).remove() == 0
    folder.with_name("elsewhere").rename(folder)
    assert removal(server, Later(KEEP_MS + 60_000)).remove() == 2  # whether "b" came to be there is not known


def test_takes_no_more_than_was_said(server: Importing) -> None:
    for files, size in ((2, 100), (100, 2)):
        upload = uploads.begin(server.context, server.datastore, name="folder", files=files, size=size)
        send(server, upload, "a", b"1")
        send(server, upload, "b", b"2")
        send(server, upload, "b", b"2")
        with pytest.raises(ValidationError, match="more than that"):
            send(server, upload, "c", b"3")
        assert uploads.get(server.context, server.datastore, upload.id).upload.arrived_files == 2
    assert [key[-1] for key in keys(server)] == ["a", "b"] * 2


def test_a_file_that_comes_when_the_import_has_begun_is_refused(server: Importing) -> None:
    upload = uploads.begin(server.context, server.datastore, name="folder", files=2, size=10)
    send(server, upload, "a", b"1")
    target = uploaded_files.target(server.context, server.datastore, upload.id, "b", 1)
    input_uri, output_uri = uploads.uris(server.context, server.datastore, upload)
    server.start(input_uri=input_uri, output=output_uri)
    with pytest.raises(ConflictError, match="has begun"):
        uploaded_files.keep(server.context, target, b"2", "0" * 64, 1)
    assert keys(server) == ["a"]


def test_a_job_is_the_uploads_though_the_servers_clock_is_behind(server: Importing) -> None:
    ahead = replace(server.context, clock=Later(60_000))
    upload = uploads.begin(ahead, server.datastore, name="folder", files=2, size=10)
    send(server, upload, "a", b"1")
    input_uri, output_uri = uploads.uris(server.context, server.datastore, upload)
    job = server.start(input_uri=input_uri, output=output_uri)
    assert job.submitted_at < upload.created_at
    with pytest.raises(ConflictError, match="has begun"):
        send(server, upload, "b", b"2")
    with pytest.raises(ConflictError, match=job.id):
        uploads.discard(server.context, server.datastore, upload.id)
    assert removal(server, Later(2 * KEEP_MS)).remove() == 0 and keys(server) == ["a"]


def test_an_upload_whose_import_begins_while_it_is_looked_at_stays(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = uploads.begin(server.context, server.datastore, name="folder", files=1, size=10)
    send(server, upload, "a", b"1")
    input_uri, output_uri = uploads.uris(server.context, server.datastore, upload)
    find = table.newest_job
    started: list[Job] = []

    def begin_after(*given: Any) -> Job | None:
        found = find(*given)
        if not started:
            with ThreadPoolExecutor(1) as pool:
                started.append(pool.submit(server.start, input_uri=input_uri, output=output_uri).result())
        return found

    monkeypatch.setattr(table, "newest_job", begin_after)
    assert removal(server, Later(KEEP_MS + 60_000)).remove() == 0 and keys(server) == ["a"]
    assert started and uploads.get(server.context, server.datastore, upload.id).job == started[0]


def test_an_upload_is_the_persons_whatever_the_session_is_called(server: Importing) -> None:
    caller = server.context.caller
    one, other = (
        replace(server.context, caller=replace(caller, whose=f"https://id.example.org#{name}"))
        for name in ("1", "2")
    )
    upload = uploads.begin(one, server.datastore, name="folder", files=1, size=1)
    renamed = replace(one, caller=replace(one.caller, arn=f"{caller.arn}-2"))
    assert uploads.get(renamed, server.datastore, upload.id).upload == upload
    for who in (other, server.context):
        with pytest.raises(NotFoundError):
            uploads.get(who, server.datastore, upload.id)


def test_two_files_of_one_name_at_once_do_not_take_each_others_place(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = uploads.begin(server.context, server.datastore, name="folder", files=2, size=10)
    target = uploaded_files.target(server.context, server.datastore, upload.id, "a", 1)
    late = uploaded_files.target(server.context, server.datastore, upload.id, "a", 1)
    put = type(server.stores.buckets).put

    def put_beside(*of: Any) -> None:
        """Another one comes while the first is being written."""
        monkeypatch.undo()
        with pytest.raises(ConflictError, match="was sent"):
            uploaded_files.keep(server.context, late, b"2", "2" * 64, 1)
        put(*of)

    monkeypatch.setattr(type(server.stores.buckets), "put", put_beside)
    uploaded_files.keep(server.context, target, b"1", "1" * 64, 1)
    with pytest.raises(ConflictError, match="has arrived"):
        uploaded_files.keep(server.context, late, b"2", "2" * 64, 1)
    (key,) = keys(server)
    bucket, folder = server.settings.upload_bucket, f"uploads/{server.datastore}/{upload.id}/"
    found = server.stores.buckets.fetch(bucket, folder + key, memory_limit=9, spool_dir=server.stores.spool)
    assert (found if isinstance(found, bytes) else found.read_bytes()) == b"1"


def test_of_many_files_of_one_name_at_once_one_is_kept(server: Importing) -> None:
    """And it is the one whose sender was told so; who sends the same is told so, too."""
    upload = uploads.begin(server.context, server.datastore, name="folder", files=4, size=40)

    def try_to_send(number: int) -> tuple[str, bytes, bool]:
        name, data = f"{number % 4}", b"%d" % (number // 4 % 5)
        target = uploaded_files.target(server.context, server.datastore, upload.id, name, len(data))
        try:
            uploaded_files.keep(server.context, target, data, sha256(data).hexdigest(), len(data))
        except ConflictError:
            return name, data, False
        return name, data, True

    with ThreadPoolExecutor(8) as threads:
        tried = list(threads.map(try_to_send, range(80)))
    kept = {(name, data) for name, data, is_kept in tried if is_kept}
    assert sorted(name for name, _ in kept) == ["0", "1", "2", "3"]
    assert all(is_kept == ((name, data) in kept) for name, data, is_kept in tried)
    bucket, folder = server.settings.upload_bucket, f"uploads/{server.datastore}/{upload.id}/"
    root = server.stores.buckets.root / bucket / folder
    assert {(path.name, path.read_bytes()) for path in root.iterdir()} == kept
    there = uploads.get(server.context, server.datastore, upload.id).upload
    assert (there.arrived_files, there.arrived_size, there.claimed_files) == (4, 4, 4)


def test_a_file_that_could_not_be_written_has_not_arrived(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = uploads.begin(server.context, server.datastore, name="folder", files=1, size=1)
    with monkeypatch.context() as patch:
        patch.setattr(Buckets, "put", Mock(side_effect=StorageError("no room")))
        with pytest.raises(UnavailableError, match="no room"):
            send(server, upload, "a", b"1")
    there = uploads.get(server.context, server.datastore, upload.id).upload
    assert (there.arrived_files, there.claimed_files) == (0, 1)
    assert uploaded_files.arrived_page(server.context, server.datastore, upload.id, None, 9) == ([], None)
    send(server, upload, "a", b"1")
    there = uploads.get(server.context, server.datastore, upload.id).upload
    assert (there.arrived_files, there.arrived_size, there.claimed_files) == (1, 1, 1)
    # One name cannot be a file's and a folder's, and costs no room.
    wide = uploads.begin(server.context, server.datastore, name="folder", files=2, size=2)
    for name in ("a", "b"):
        send(server, wide, name, b"1")
        if name == "a":
            with pytest.raises(ValidationError, match="file and of a folder"):
                send(server, wide, "a/b", b"1")


def test_nothing_is_left_in_a_bucket_that_is_no_longer_named(server: Importing) -> None:
    """Neither what was sent before console_bucket was changed, nor can others import it."""
    bucket = server.settings.upload_bucket
    (server.stores.buckets.root / bucket).mkdir(parents=True)
    server.start(input_uri=f"s3://{bucket}/", output=f"s3://{bucket}/reports/")  # of nobody's uploads
    server.work()
    upload = uploads.begin(server.context, server.datastore, name="folder", files=2, size=2000)
    send(server, upload, "a", encoded(1))
    renamed = replace(server.settings, console_bucket="other-bucket")
    context = replace(server.context, settings=renamed)
    other = uploads.begin(context, server.datastore, name="folder", files=1, size=1)
    assert uploads.uris(context, server.datastore, other)[0].startswith("s3://other-bucket/")
    target = uploaded_files.target(context, server.datastore, upload.id, "b", 1)
    uploaded_files.keep(context, target, b"2", "2" * 64, 1)
    assert len(keys(server)) == 2

    input_uri, output_uri = uploads.uris(context, server.datastore, upload)
    role = uploads.passed_role(context, server.datastore)
    request = StartDICOMImportJobRequest(
        data_access_role_arn=role,
        client_token="t",
        datastore_id=server.datastore,
        input_s3_uri=input_uri,
        output_s3_uri=output_uri,
    )
    foreign = replace(context, caller=replace(context.caller, whose="somebody else"))
    for uri in (
        input_uri,
        f"s3://{bucket}",
        f"s3://{bucket}/",
        f"s3://{bucket}/up",
        f"s3://{bucket}/uploads",
    ):
        with pytest.raises(AccessDeniedError):
            start_dicom_import_job(foreign, msgspec.structs.replace(request, input_s3_uri=uri))
    for part in ("a", "b/"):
        with pytest.raises(AccessDeniedError):
            start_dicom_import_job(context, msgspec.structs.replace(request, input_s3_uri=input_uri + part))
    job_id = start_dicom_import_job(context, request).job_id
    server.work()
    assert uploads.get(context, server.datastore, upload.id).job.id == job_id  # type: ignore[union-attr]
    removing = UploadRemoval(server.stores, renamed, Later(KEEP_MS + 60_000), threading.Event())
    removing.remove()
    assert keys(server) == []


def test_a_job_that_waited_does_not_import_what_others_have_sent_meanwhile(server: Importing) -> None:
    bucket = server.settings.upload_bucket
    (server.stores.buckets.root / bucket).mkdir(parents=True)
    job = server.start(input_uri=f"s3://{bucket}/", output=f"s3://{bucket}/reports/")
    upload = uploads.begin(server.context, server.datastore, name="folder", files=1, size=2000)
    send(server, upload, "a", encoded(1))
    server.work()
    found = server.job(job.id)
    assert found.status == "FAILED" and "by the console" in str(found.message)


def test_room_is_for_all_that_arrives_at_once(server: Importing) -> None:
    upload = uploads.begin(server.context, server.datastore, name="folder", files=2, size=2)
    target = uploaded_files.target(server.context, server.datastore, upload.id, "a", 1)
    with uploaded_files.spool_room(server.context, target, 1):
        uploaded_files.check_room(server.context, target)
        with uploaded_files.spool_room(server.context, target, 1 << 60), pytest.raises(UnavailableError):
            uploaded_files.check_room(server.context, target)
        uploaded_files.check_room(server.context, target)


def test_what_nobody_goes_on_with_is_removed_after_a_day(server: Importing) -> None:
    upload, other = (
        uploads.begin(server.context, server.datastore, name="folder", files=2, size=10) for _ in range(2)
    )
    send(server, upload, "a/1", b"1")
    send(server, other, "a/1", b"1")
    # A file whose server died before it was noted.
    bucket, folder = server.settings.upload_bucket, f"uploads/{server.datastore}/{upload.id}/"
    server.stores.buckets.put(bucket, f"{folder}b/2", b"2")
    target = uploaded_files.target(server.context, server.datastore, upload.id, "late", 1)
    # And what it was writing when it died.
    place = server.settings.buckets / bucket / folder
    if place.is_dir():
        (place / "c").mkdir()
        (place / "c" / ".lightwell-0123456789abcdef.part").write_bytes(b"3")
    almost = Later(KEEP_MS - 60_000)
    assert removal(server, almost).remove() == 0
    uploads.discard(server.context, server.datastore, upload.id)
    assert removal(server, almost).remove() == 1
    assert [each.upload.id for each in uploads.of_caller(server.context, server.datastore)] == [other.id]
    assert not place.exists()
    # One that is still arriving when its upload is removed leaves nothing.
    with pytest.raises(NotFoundError):
        uploaded_files.keep(server.context, target, b"x", "0" * 64, 1)
    assert len(keys(server)) == 1
    assert removal(server, Later(KEEP_MS + 60_000)).remove() == 1 and keys(server) == []
    assert uploads.of_caller(server.context, server.datastore) == []


def test_what_is_in_a_folder_that_nobody_comes_with_again_does_not_count_for_ever(sqlite: Importing) -> None:
    upload = uploads.begin(sqlite.context, sqlite.datastore, name="folder", files=2, size=10)
    send(sqlite, upload, "a/1", b"1")

    def set_node(node: str | None) -> None:
        sqlite.stores.db.write(lambda conn: conn.execute(tables.upload.update().values(node=node)))

    # As after a restore or a move to another data folder.
    set_node("of-the-old-folder")
    assert removal(sqlite, Later(KEEP_MS - 60_000)).remove() == 0
    assert len(uploads.of_caller(sqlite.context, sqlite.datastore)) == 1
    assert removal(sqlite, Later(KEEP_MS + 60_000)).remove() == 0
    assert uploads.of_caller(sqlite.context, sqlite.datastore) == []
    assert len(keys(sqlite)) == 1
    # If it was only away, it removes the files.
    set_node(upload.node)
    assert removal(sqlite, Later(KEEP_MS + 60_000)).remove() == 1 and keys(sqlite) == []
