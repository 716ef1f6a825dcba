"""``lightwell data move`` from SQLite and a folder to PostgreSQL and S3, interrupted, refused, and back."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from lightwell.stores.db.database import Database
from lightwell.stores.moving import rows
from tests.cli.running import Done, lightwell
from tests.support import services
from tests.support.server import Server, environment, launch, running, until, wait_until_ready
from tests.support.shared_data import SHARED, needs_shared
from tests.support.tcp_proxies import FaultyProxy

pytestmark = needs_shared


@dataclass(frozen=True)
class Ways:
    """An installation on SQLite and a folder, what it answered, and where it is to go."""

    data: Path
    answers: dict[str, str]
    database_url: str
    bucket: str
    s3: services.S3
    extra_key: tuple[str, str]

    @property
    def there(self) -> list[str]:
        return [
            *("--to-database-url", self.database_url, "--to-storage-url", f"s3://{self.bucket}/objects"),
            *("--to-storage-endpoint-url", self.s3.url),
        ]

    @property
    def settings(self) -> dict[str, str]:
        return {
            **self.s3.environment,
            "LIGHTWELL_DATABASE_URL": self.database_url,
            "LIGHTWELL_STORAGE_URL": f"s3://{self.bucket}/objects",
            "LIGHTWELL_STORAGE_ENDPOINT_URL": self.s3.url,
            "LIGHTWELL_SECRET_KEY_FILE": str(self.data / "secret.key"),
        }

    def move(self, *arguments: str) -> Done:
        return lightwell("data", "move", *arguments, data=self.data, environ=self.s3.environment)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, s3_server: services.S3) -> Ways:
    """What `ways` copies."""
    folder = tmp_path_factory.mktemp("move")
    data = folder / "old"
    (folder / "in").mkdir()
    for path in sorted((SHARED / "syntaxes").iterdir()):
        if path.stat().st_size < 90_000:
            shutil.copy(path, folder / "in")
    done = lightwell("import", folder / "in", "--datastore", "d", data=data)
    assert "files imported" in done.out, done  # a few of them are no good
    with running(data, "--codec-workers", "1") as server:
        _change(server)
        found = _answers(server)
    made = json.loads(lightwell("key", "create", "--name", "ward", "--admin", data=data).out)
    key = made["accessKeyId"], made["secretAccessKey"]
    return Ways(data, found, "", "", s3_server, key)


@pytest.fixture
def ways(installation: Ways, tmp_path: Path, postgres_server: str) -> Iterator[Ways]:
    """An installation and a place to go, of this test alone: what was moved cannot be moved elsewhere."""
    data = tmp_path / "installation" / "old"
    shutil.copytree(installation.data, data, ignore=shutil.ignore_patterns("*.sock"))
    with services.new_database(postgres_server) as url:
        yield replace(installation, data=data, database_url=url, bucket=services.new_bucket(installation.s3))


def _change(server: Server) -> None:
    """A second version, a copy and tags."""
    client = server.client()
    (store,) = client.list_datastores()["datastoreSummaries"]
    id = store["datastoreId"]
    sets = client.search_image_sets(datastoreId=id)["imageSetsMetadataSummaries"]
    first = sorted(each["imageSetId"] for each in sets)[0]
    edit = {"SchemaVersion": "1.1", "Study": {"DICOM": {"StudyDescription": "moved"}}}
    client.update_image_set_metadata(
        datastoreId=id,
        imageSetId=first,
        latestVersionId="1",
        includeStudyImageSets=True,
        updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": json.dumps(edit).encode()}},
    )
    client.copy_image_set(
        datastoreId=id,
        sourceImageSetId=first,
        copyImageSetInformation={"sourceImageSet": {"latestVersionId": "2"}},
    )
    client.tag_resource(resourceArn=store["datastoreArn"], tags={"ward": "3"})
    client.close()


def _answers(server: Server) -> dict[str, str]:
    """What the server answers to everything that can be asked, by a digest of the bytes."""
    client = server.client()
    (store,) = client.list_datastores()["datastoreSummaries"]
    id = store["datastoreId"]
    found = {"stores": json.dumps(store, default=str), "jobs": _jobs(client, id)}
    found["tags"] = json.dumps(client.list_tags_for_resource(resourceArn=store["datastoreArn"])["tags"])
    pages = client.get_paginator("search_image_sets").paginate(datastoreId=id)
    for image_set in (each["imageSetId"] for page in pages for each in page["imageSetsMetadataSummaries"]):
        versions = client.list_image_set_versions(datastoreId=id, imageSetId=image_set)
        listed = versions["imageSetPropertiesList"]
        found[f"{image_set} versions"] = json.dumps(listed, default=str)
        for version in (each["versionId"] for each in listed):
            path = f"/datastore/{id}/imageSet/{image_set}/getImageSetMetadata?version={version}"
            reply = server.send(server.signed("POST", path))
            assert reply.status == 200, reply
            found[f"{image_set} {version}"] = hashlib.sha256(reply.body).hexdigest()
        got = client.get_image_set_metadata(datastoreId=id, imageSetId=image_set)
        for frame in _frames(got["imageSetMetadataBlob"].read()):
            information = {"imageFrameId": frame}
            blob = client.get_image_frame(
                datastoreId=id, imageSetId=image_set, imageFrameInformation=information
            )
            data = blob["imageFrameBlob"].read()
            found[f"{image_set} frame {frame}"] = hashlib.sha256(data).hexdigest()
    for query in ("studies", "series", "instances", "studies?PatientName=*a*&includefield=all"):
        reply = server.send(server.signed("GET", f"/datastore/{id}/{query}"))
        assert reply.status == 200, (query, reply)
        found[query] = reply.body.decode().replace(server.url, "")
    client.close()
    return found


def _jobs(client: Any, id: str) -> str:
    return json.dumps(client.list_dicom_import_jobs(datastoreId=id)["jobSummaries"], default=str)


def _frames(blob: bytes) -> Iterator[str]:
    document = json.loads(gzip.decompress(blob) if blob[:2] == b"\x1f\x8b" else blob)
    for series in document["Study"]["Series"].values():
        for instance in series["Instances"].values():
            yield from (frame["ID"] for frame in instance.get("ImageFrames", []))


def _content(url: str) -> dict[str, list[Any]]:
    """All rows that are moved."""
    db = Database(url)
    try:
        with db.read() as conn:
            return {table.name: rows.between(conn, table, None, None) for table in rows.tables()}
    finally:
        db.close()


def _files(root: Path) -> dict[str, bytes]:
    packs = root / "packs"
    return {str(path.relative_to(root)): path.read_bytes() for path in packs.rglob("*.pack")}


@pytest.mark.timeout(1200)
def test_moves_there_and_back(ways: Ways, tmp_path: Path) -> None:
    before, packs = _content(f"sqlite:///{ways.data / 'lightwell.db'}"), _files(ways.data / "objects")
    _kill_in_the_middle(ways)
    served = lightwell("sets", "list", "--datastore", "d", data=tmp_path / "n", environ=ways.settings)
    assert served.status != 0
    _refuses_a_damaged_pack(ways)

    done = ways.move(*ways.there, "--json")
    assert done.status == 0, done
    report = done.json()
    assert report["problems"] == [] and report["packs"] == len(packs)
    assert sum(each["rows"] for each in report["tables"]) == sum(map(len, before.values()))
    assert _content(ways.database_url) == before
    again = ways.move(*ways.there)
    assert again.status == 1 and "was moved into the database" in again.err

    new = tmp_path / "new"
    new.mkdir(mode=0o700)
    back = lightwell(
        *("data", "move", "--to-database-url", f"sqlite:///{tmp_path / 'back' / 'lightwell.db'}"),
        *("--to-storage-url", f"file://{tmp_path / 'back' / 'objects'}"),
        data=new,
        environ=ways.settings,
    )
    assert back.status == 0, back
    assert "LIGHTWELL_STORAGE_URL=file://" in back.out
    assert _content(f"sqlite:///{tmp_path / 'back' / 'lightwell.db'}") == before
    assert _files(tmp_path / "back" / "objects") == packs

    with running(new, "--codec-workers", "1", env=ways.settings, database_url=ways.database_url) as server:
        assert _answers(server) == ways.answers
        busy = lightwell(
            *("data", "move", "--to-database-url", f"sqlite:///{tmp_path / 'x.db'}"),
            data=tmp_path / "new",
            environ=ways.settings,
        )
        assert busy.status == 1 and "is in use by" in busy.err
    assert _content(f"sqlite:///{ways.data / 'lightwell.db'}") == before
    assert _files(ways.data / "objects") == packs
    shutil.copy(ways.data / "secret.key", tmp_path / "back")
    with running(tmp_path / "back", "--codec-workers", "1") as server:
        assert _answers(server) == ways.answers


class _HoldsAPut(FaultyProxy):
    """The answer to the third PUT waits for ``may_go_on``."""

    def __init__(self, url: str) -> None:
        self.may_go_on = threading.Event()
        self._puts = 0
        super().__init__(url)

    def asked(self, link: Any, data: bytes) -> None:
        if data.startswith(b"PUT "):
            with self._lock:
                self._puts += 1
                if self._puts == 3:
                    self.holds.append(self.may_go_on)
        super().asked(link, data)

    @property
    def is_holding(self) -> bool:
        with self._lock:
            return self._puts >= 3 and not self.holds


def _kill_in_the_middle(ways: Ways) -> None:
    way = _HoldsAPut(ways.s3.url)
    moving = subprocess.Popen(
        [
            *(sys.executable, "-m", "lightwell.cli.main", "data", "move", "--data", str(ways.data)),
            *(*ways.there, "--to-storage-endpoint-url", way.url),
        ],
        env=environment(ways.s3.environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: way.is_holding or moving.poll() is not None)
        assert moving.poll() is None
    finally:
        moving.kill()
        moving.wait()
        way.may_go_on.set()
        way.end()


def _refuses_a_damaged_pack(ways: Ways) -> None:
    pack = min((ways.data / "objects" / "packs").rglob("*.pack"))
    client = services.boto3_client(ways.s3)
    name = f"objects/{pack.relative_to(ways.data / 'objects')}"
    client.delete_object(Bucket=ways.bucket, Key=name)  # if it was copied before the kill
    client.close()
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
    done = ways.move(*ways.there)
    assert done.status == 1 and f"{pack.name}: its bytes have changed" in done.err, done
    assert "not usable yet" in done.err
    early = lightwell("serve", "--port", "0", data=ways.data.parent / "early", environ=ways.settings)
    assert early.status != 0 and "does not have all of its data" in early.err, early
    pack.write_bytes(whole)


def test_refuses_where_something_is(ways: Ways, tmp_path: Path, postgres_server: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    full = lightwell("datastore", "create", "x", data=other)
    assert full.status == 0, full
    to = [
        "--to-database-url",
        f"sqlite:///{other / 'lightwell.db'}",
        "--to-storage-url",
        f"file://{tmp_path}/e",
    ]
    done = ways.move(*to)
    assert done.status == 1 and "is not empty: its table datastore has rows" in done.err
    (tmp_path / "e" / "packs" / "00").mkdir(parents=True)
    (tmp_path / "e" / "packs" / "00" / f"{0:016x}.pack").write_bytes(b"x")
    done = ways.move("--to-storage-url", f"file://{tmp_path}/e")
    assert done.status == 1 and "is not empty" in done.err
    assert ways.move().status == 2
    assert ways.move("--to-storage-url", f"file://{ways.data / 'objects'}").status == 2


def test_moves_only_one_of_both_and_seals_anew(ways: Ways, tmp_path: Path) -> None:
    done = ways.move("--to-storage-url", f"file://{tmp_path}/objects")
    assert done.status == 0, done
    assert _files(tmp_path / "objects") == _files(ways.data / "objects")
    (tmp_path / "key").write_text("k" * 43 + "=")
    database = f"sqlite:///{tmp_path / 'new' / 'lightwell.db'}"
    sealed = ["--to-database-url", database, "--to-secret-key-file", str(tmp_path / "key")]
    done = ways.move(*sealed)
    assert done.status == 1 and "is not the storage of the database" in done.err, done
    done = ways.move(*sealed, "--storage-url", f"file://{tmp_path}/objects")
    assert done.status == 0 and "a server with the old settings is refused" in done.out, done
    old = lightwell("serve", "--port", "0", "--storage-url", f"file://{tmp_path}/objects", data=ways.data)
    assert old.status == 2 and "`lightwell data move` has moved" in old.err, old
    server = launch(
        tmp_path / "new",
        *("--codec-workers", "1", "--storage-url", f"file://{tmp_path}/objects"),
        *("--secret-key-file", str(tmp_path / "key")),
    )
    try:
        wait_until_ready(server)
        assert _answers(server) == ways.answers
        listed = server.client(Credentials(*ways.extra_key)).list_datastores()["datastoreSummaries"]
        assert len(listed) == 1
    finally:
        server.stop()
