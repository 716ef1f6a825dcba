"""Uploads where buckets are on S3, and when they are removed."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from lightwell.clock import Clock
from lightwell.domain.imports.uploads import KEEP_MS, FileDigest, Upload
from lightwell.errors import ConflictError, NotFoundError, UnavailableError, ValidationError
from lightwell.operations.console import uploads
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
    target = uploads.target(server.context, server.datastore, upload.id, name, len(data))
    digest = FileDigest()
    digest.update(data)
    spooled = server.settings.data / "spool" / "sent"
    spooled.write_bytes(data)
    uploads.keep(server.context, target, spooled if len(data) > 600 else data, digest.hexdigest(), len(data))


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
    assert removal(server, Later(KEEP_MS + 60_000)).remove() == 1


def test_takes_no_more_than_was_said(server: Importing) -> None:
    for files, size in ((2, 100), (100, 2)):
        upload = uploads.begin(server.context, server.datastore, name="folder", files=files, size=size)
        send(server, upload, "a", b"1")
        send(server, upload, "b", b"2")
        send(server, upload, "b", b"2")
        with pytest.raises(ValidationError, match="more than that"):
            send(server, upload, "c", b"3")
        assert uploads.get(server.context, server.datastore, upload.id).files == 2
    assert [key[-1] for key in keys(server)] == ["a", "b"] * 2


def test_a_file_that_comes_when_the_import_has_begun_is_refused(server: Importing) -> None:
    upload = uploads.begin(server.context, server.datastore, name="folder", files=2, size=10)
    send(server, upload, "a", b"1")
    target = uploads.target(server.context, server.datastore, upload.id, "b", 1)
    input_uri, output_uri = uploads.uris(server.context, server.datastore, upload)
    server.start(input_uri=input_uri, output=output_uri)
    with pytest.raises(ConflictError, match="has begun"):
        uploads.keep(server.context, target, b"2", "0" * 64, 1)
    assert keys(server) == ["a"]


def test_an_upload_is_the_persons_whatever_the_session_is_called(server: Importing) -> None:
    caller = server.context.caller
    one, other = (
        replace(server.context, caller=replace(caller, person=f"https://id.example.org#{name}"))
        for name in ("1", "2")
    )
    upload = uploads.begin(one, server.datastore, name="folder", files=1, size=1)
    renamed = replace(one, caller=replace(one.caller, arn=f"{caller.arn}-2"))
    assert uploads.get(renamed, server.datastore, upload.id).upload == upload
    for who in (other, server.context):
        with pytest.raises(NotFoundError):
            uploads.get(who, server.datastore, upload.id)


def test_room_is_for_all_that_arrives_at_once(server: Importing) -> None:
    upload = uploads.begin(server.context, server.datastore, name="folder", files=2, size=2)
    target = uploads.target(server.context, server.datastore, upload.id, "a", 1)
    with uploads.spool_room(server.context, target, 1):
        uploads.check_room(server.context, target)
        with uploads.spool_room(server.context, target, 1 << 60), pytest.raises(UnavailableError):
            uploads.check_room(server.context, target)
        uploads.check_room(server.context, target)


def test_what_nobody_goes_on_with_is_removed_after_a_day(server: Importing) -> None:
    upload, other = (
        uploads.begin(server.context, server.datastore, name="folder", files=2, size=10) for _ in range(2)
    )
    send(server, upload, "a/1", b"1")
    send(server, other, "a/1", b"1")
    # A file whose server died before it was noted.
    bucket, folder = server.settings.upload_bucket, f"uploads/{server.datastore}/{upload.id}/"
    server.stores.buckets.put(bucket, f"{folder}b/2", b"2")
    target = uploads.target(server.context, server.datastore, upload.id, "late", 1)
    almost = Later(KEEP_MS - 60_000)
    assert removal(server, almost).remove() == 0
    uploads.discard(server.context, server.datastore, upload.id)
    assert removal(server, almost).remove() == 1
    assert [each.upload.id for each in uploads.of_caller(server.context, server.datastore)] == [other.id]
    # One that is still arriving when its upload is removed leaves nothing.
    with pytest.raises(NotFoundError):
        uploads.keep(server.context, target, b"x", "0" * 64, 1)
    assert len(keys(server)) == 1
    assert removal(server, Later(KEEP_MS + 60_000)).remove() == 1 and keys(server) == []
    assert uploads.of_caller(server.context, server.datastore) == []
