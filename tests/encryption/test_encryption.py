"""Encryption at rest as people meet it: no image readable where it is kept, each as it came for who may."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.cli.running import doctor_here, lightwell, lightwell_here
from tests.dicomweb.support.sample_datastore import EXPLICIT, FRAMES, SampleDatastore, fill, parts, read
from tests.dicomweb.support.uploads import Store
from tests.support.ct_files import ct
from tests.support.server import Server, running
from tests.support.services import S3, boto3_client, new_bucket

ALWAYS = {"LIGHTWELL_ENCRYPTION": "always"}
ARN = "arn:aws:kms:us-east-1:000000000000:key/12345678-1234-1234-1234-123456789012"


@dataclass(slots=True)
class Kept:
    """A filled data store of a running server, and how to look at what is kept of it."""

    sample: SampleDatastore
    variables: dict[str, str]
    s3: S3 | None

    @property
    def server(self) -> Server:
        return self.sample.server

    def places(self) -> Iterator[tuple[str, bytes]]:
        """Every file and object."""
        for path in self.server.data.rglob("*"):
            if path.is_file() and "buckets" not in path.relative_to(self.server.data).parts:
                yield str(path), path.read_bytes()
        if self.s3 is not None:
            client = boto3_client(self.s3)
            bucket = self.variables["LIGHTWELL_STORAGE_URL"].split("/")[2]
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for one in page["Contents"]:
                    yield one["Key"], client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()

    def frame(self, name: str) -> bytes:
        """The first frame as it is stored."""
        reply = self.sample.get(self.sample.instance(name) + "/frames/1", FRAMES + "*")
        assert reply.status == 200
        return parts(reply)[0].body

    def samples(self, name: str) -> bytes:
        """The pixel data of a whole instance as native samples."""
        accept = f"application/dicom; transfer-syntax={EXPLICIT}"
        reply = self.sample.get(self.sample.instance(name), accept)
        assert reply.status == 200
        return bytes(read(reply.body).PixelData)


@pytest.fixture(scope="module", params=["folder", "S3"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    variables, s3 = dict(ALWAYS), None
    if request.param == "S3":
        s3 = request.getfixturevalue("s3_server")
        variables |= s3.environment
        variables["LIGHTWELL_STORAGE_URL"] = f"s3://{new_bucket(s3)}/objects"
        variables["LIGHTWELL_STORAGE_ENDPOINT_URL"] = s3.url
    with running(tmp_path_factory.mktemp("encrypted") / "data", env=variables) as server:
        yield Kept(fill(server), variables, s3)


def test_no_image_is_readable_where_it_is_kept(kept: Kept) -> None:
    names = ("ct1", "frames", "colour", "jpeg", "video")
    frames = {name: kept.frame(name) for name in names}
    # Whoever may read it gets what came in.
    for name in ("ct1", "frames", "colour", "bits", "large"):
        assert kept.samples(name) == bytes(kept.sample.files[name].PixelData)
    rendered = kept.sample.get(kept.sample.instance("ct1") + "/rendered", "image/png")
    assert rendered.status == 200 and rendered.body.startswith(b"\x89PNG")
    cut = kept.sample.get(kept.sample.instance("ct2") + "/frames/1?level=1", FRAMES + "*")
    assert cut.status == 200
    pieces = [frame[len(frame) // 2 :][:64] for frame in frames.values()]
    places = dict(kept.places())
    packs = [data for name, data in places.items() if name.endswith(".pack")]
    assert packs and all(data.startswith(b"LWS1") for data in packs)
    for place, data in places.items():
        assert not [piece for piece in pieces if piece in data], place


def test_what_comes_again_is_compared_with_what_is_sealed(kept: Kept) -> None:
    before = [name for name, _ in kept.places() if name.endswith(".pack")]
    report = Store(kept.server, kept.sample.datastore).store(kept.sample.files["ct1"])
    assert len(report.stored) == 1 and not report.failed
    assert kept.samples("ct1") == bytes(kept.sample.files["ct1"].PixelData)
    # A worker has read what is sealed, and found that nothing is new.
    assert len([name for name, _ in kept.places() if name.endswith(".pack")]) == len(before)


def test_all_of_it_is_verified_and_a_flipped_bit_is_found_and_served_to_nobody(kept: Kept) -> None:
    done = lightwell("data", "verify", data=kept.server.data, environ=kept.variables)
    assert done.status == 0, done.err + done.out
    if kept.s3 is not None:
        return  # `tests/dicomweb/test_s3_cache.py` damages objects of S3
    kept.frame("colour")
    # The pack of `colour` is that with its 66 × 66 samples of one frame and the original.
    damaged = 0
    for path in sorted((kept.server.data / "objects").rglob("*.pack")):
        whole = path.read_bytes()
        with path.open("r+b") as stream:
            stream.seek(36 + 100)
            stream.write(bytes([whole[36 + 100] ^ 1]))
        status = kept.sample.get(kept.sample.instance("colour") + "/frames/1", FRAMES + "*").status
        damaged += status == 500
        assert status in (200, 500)
        with path.open("r+b") as stream:
            stream.seek(36 + 100)
            stream.write(whole[36 + 100 : 36 + 101])
    assert damaged == 1
    kept.frame("colour")


def test_a_backup_needs_the_key_and_brings_it_back(kept: Kept, tmp_path: Path) -> None:
    if kept.s3 is not None:
        pytest.skip("the packs are copied as they are, wherever they lie")
    to, recovery, new = tmp_path / "to", tmp_path / "recovery.key", tmp_path / "new" / "data"
    done = lightwell_here("data", "backup", to, data=kept.server.data, environ=ALWAYS)
    assert done.status == 2 and "encryption.key" in done.err and "--recovery-key" in done.err
    recovery.write_text("A" * 43 + "=\n")
    done = lightwell("data", "backup", to, "--recovery-key", recovery, data=kept.server.data, environ=ALWAYS)
    assert done.status == 0, done.err
    key = (kept.server.data / "encryption.key").read_bytes()
    before = kept.frame("colour")
    for path in (kept.server.data / "objects").rglob("*.pack"):
        whole = path.read_bytes()
        path.write_bytes(whole[:140] + bytes([whole[140] ^ 1]) + whole[141:])
    done = lightwell(
        "data", "verify", "--all", "--repair", "--from", to, data=kept.server.data, environ=ALWAYS
    )
    assert done.status == 0 and done.out.count(".pack") >= 5, done.out
    assert kept.frame("colour") == before, done.out + done.err
    assert lightwell_here("data", "verify", "--all", data=kept.server.data, environ=ALWAYS).status == 0
    assert all(key.strip() not in path.read_bytes() for path in to.rglob("*") if path.is_file())
    new.parent.mkdir()
    done = lightwell_here("data", "restore", to, data=new, environ=ALWAYS)
    assert done.status == 2 and "encryption.key" in done.err and "--recovery-key FILE" in done.err
    done = lightwell("data", "restore", to, "--recovery-key", recovery, data=new, environ=ALWAYS)
    assert done.status == 0 and "frames read" in done.out, done.err
    assert (new / "encryption.key").read_bytes() == key
    with running(new, env=ALWAYS) as server:
        sample = kept.sample
        again = Kept(SampleDatastore(server, sample.datastore, sample.files), ALWAYS, None)
        for name in ("ct1", "colour", "jpeg", "video"):
            assert again.frame(name) == kept.frame(name)


def test_a_server_without_the_key_does_not_start(kept: Kept, tmp_path: Path) -> None:
    if kept.s3 is not None:
        pytest.skip("the key lies in the data folder, wherever the packs lie")
    copy = shutil.copytree(
        kept.server.data, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock", "*.lock")
    )
    (copy / "encryption.key").unlink()
    done = lightwell("serve", "--port", "0", data=copy)
    assert done.status == 2 and "encryption.key" in done.err and "restore it from your backup" in done.err
    assert not (copy / "encryption.key").exists()
    assert "cannot be read" in about_encryption(copy)
    # Another key: nobody may think that data is lost, and import it again or restore an older backup.
    (copy / "encryption.key").write_text("A" * 43 + "=\n")
    assert "restore that file from your backup" in about_encryption(copy)
    done = lightwell_here("data", "verify", data=copy)
    assert done.status == 1 and "its key is not to be had" in done.err, done.err
    assert "No data is known to be lost" in done.err
    assert not any(word in done.err for word in ("damaged", "chown", "--repair", "Restore")), done.err
    shutil.copy(kept.server.data / "encryption.key", copy)
    assert about_encryption(copy).startswith(
        "1 data store encrypted; the keys are there, wrapped under local"
    )
    assert lightwell_here("data", "verify", data=copy).status == 0


def about_encryption(data: Path) -> str:
    rows = {row["check"]: row for row in doctor_here("--json", data=data).json()}
    return str(rows["encryption"]["says"])


@pytest.mark.plain
def test_only_what_has_a_key_is_sealed_and_its_key_ends_with_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(running(tmp_path / "data"))
        client = server.client()
        sealed = client.create_datastore(datastoreName="sealed", kmsKeyArn=ARN)["datastoreId"]
        plain = client.create_datastore(datastoreName="plain")["datastoreId"]
        assert client.get_datastore(datastoreId=sealed)["datastoreProperties"]["kmsKeyArn"] == ARN
        for number, id in enumerate((sealed, plain), 1):
            assert len(Store(server, id).store(ct(number, study=str(number))).stored) == 1
        heads = sorted(path.read_bytes()[:4] for path in (server.data / "objects").rglob("*.pack"))
        assert len(heads) == 2 and heads.count(b"LWS1") == 1
        assert not [line for line in server.err if "kmsKeyArn" in line]
        (found,) = client.search_image_sets(datastoreId=sealed)["imageSetsMetadataSummaries"]
        with pytest.raises(ClientError, match="not empty"):
            client.delete_datastore(datastoreId=sealed)
        client.delete_image_set(datastoreId=sealed, imageSetId=found["imageSetId"])
        client.delete_datastore(datastoreId=sealed)
        with server.database() as db, db.read() as conn:
            row = conn.exec_driver_sql("SELECT wrapped, destroyed_at FROM data_key").one()
        assert row[0] is None and row[1] > 0
        # What waits for the collector is no damage, and keeps nobody from the rest.
        done = lightwell("data", "verify", "--all", data=server.data)
        assert done.status == 0, done.out + done.err
