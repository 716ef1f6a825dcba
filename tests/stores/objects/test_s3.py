"""S3, against a real server: storage, buckets, and what is said when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightwell.codec_pool.far_storage.sealed_source import source_of
from lightwell.errors import InputError, StorageError, StorageUnavailableError
from lightwell.stores.buckets.registry import Buckets
from lightwell.stores.data_folder.sealed_files import UPLOADED
from lightwell.stores.objects.interface import MissingObjectError, Objects
from lightwell.stores.objects.open import open_objects
from lightwell.stores.objects.pack_objects import PackWriter, pack_name
from tests.support.services import S3, boto3_client, new_bucket

MiB = 1 << 20


@pytest.fixture
def bucket(s3_endpoint: S3) -> str:
    return new_bucket(s3_endpoint)


@pytest.fixture
def objects(s3_endpoint: S3, bucket: str) -> Objects:
    return open_objects(f"s3://{bucket}/some/prefix", endpoint_url=s3_endpoint.url)


@pytest.fixture
def buckets(s3_endpoint: S3, tmp_path: Path) -> Buckets:
    (tmp_path / "buckets").mkdir()
    return Buckets(tmp_path / "buckets", s3_endpoint.url)


def fill(s3: S3, bucket: str, contents: dict[str, bytes]) -> None:
    client = boto3_client(s3)
    for key, data in contents.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    client.close()


def test_keeps_objects_below_its_prefix(objects: Objects, s3_endpoint: S3, bucket: str) -> None:
    objects.put("packs/ab/1.pack", b"0123456789")
    client = boto3_client(s3_endpoint)
    assert client.get_object(Bucket=bucket, Key="some/prefix/packs/ab/1.pack")["Body"].read() == b"0123456789"
    client.close()
    assert objects.read("packs/ab/1.pack", 3, 4) == b"3456"
    assert objects.read("packs/ab/1.pack", 3, 0) == b""
    assert objects.get("packs/ab/1.pack") == b"0123456789"
    assert objects.size("packs/ab/1.pack") == 10
    assert objects.exists("packs/ab/1.pack")
    assert list(objects.list()) == [("packs/ab/1.pack", 10)]
    assert list(objects.list("packs/a")) == []
    objects.check()
    objects.delete("packs/ab/1.pack")
    objects.delete("packs/ab/1.pack")
    assert objects.get("packs/ab/1.pack") is None
    assert objects.size("packs/ab/1.pack") is None
    assert list(objects.list("packs")) == []


def test_says_when_an_object_is_missing_or_too_short(objects: Objects) -> None:
    objects.put("packs/1", b"0123456789")
    with pytest.raises(StorageError, match="ends at byte 10, but 5 bytes from 7"):
        objects.read("packs/1", 7, 5)
    with pytest.raises(StorageError):
        objects.read("packs/1", 11, 5)
    with pytest.raises(MissingObjectError, match="is not there"):
        objects.read("packs/2", 0, 5)


def test_writes_a_pack_of_several_parts(objects: Objects, tmp_path: Path) -> None:
    blocks = [os.urandom(3 * MiB + 17) for _ in range(12)]
    with PackWriter(objects, tmp_path, 0xAB) as writer:
        offsets = [writer.append(block) for block in blocks]
        assert not objects.exists(pack_name(0xAB))
        size, _ = writer.finish()
    assert objects.size(pack_name(0xAB)) == size == sum(map(len, blocks))
    for offset, block in zip(offsets, blocks, strict=True):
        assert objects.read(pack_name(0xAB), offset, len(block)) == block
    assert list(tmp_path.iterdir()) == []


def test_leaves_nothing_of_an_aborted_pack(objects: Objects, tmp_path: Path) -> None:
    with PackWriter(objects, tmp_path, 1) as writer:
        writer.append(b"x")
    assert list(objects.list()) == []
    assert list(tmp_path.iterdir()) == []


def test_puts_a_file(objects: Objects, tmp_path: Path) -> None:
    for size in (0, 5, 17 * MiB):
        source = tmp_path / "source"
        source.write_bytes(os.urandom(size))
        objects.put_file("file", source)
        assert objects.get("file") == source.read_bytes()


def test_lists_a_bucket_by_plain_prefix(buckets: Buckets, s3_endpoint: S3, bucket: str) -> None:
    keys = ["a/b.dcm", "a/c/d e.dcm", "a-b.dcm", "b.dcm", "ünï/日本.dcm", "p%41q.dcm", "plus+&?=#.dcm"]
    fill(s3_endpoint, bucket, {key: key.encode() for key in keys} | {"a/": b"", "empty/": b"", "zero": b""})
    assert dict(buckets.list(bucket, "")) == {key: len(key.encode()) for key in keys} | {"zero": 0}
    assert {key for key, _ in buckets.list(bucket, "a")} == {"a/b.dcm", "a/c/d e.dcm", "a-b.dcm"}
    assert {key for key, _ in buckets.list(bucket, "a/")} == {"a/b.dcm", "a/c/d e.dcm"}
    assert {key for key, _ in buckets.list(bucket, "a/c/d")} == {"a/c/d e.dcm"}
    assert list(buckets.list(bucket, "none/")) == []


def test_fetches_the_bytes_of_any_key(buckets: Buckets, s3_endpoint: S3, bucket: str, tmp_path: Path) -> None:
    keys = [
        "a b.dcm",
        "p%41q.dcm",
        "p%25.dcm",
        "ünï/日本.dcm",
        "plus+&?=#.dcm",
        "e\u0301.dcm",
        "quote'\".dcm",
        "zero",
    ]
    fill(s3_endpoint, bucket, {key: b"" if key == "zero" else key.encode() for key in keys})
    for key in keys:
        expected = b"" if key == "zero" else key.encode()
        assert buckets.fetch(bucket, key, memory_limit=100, spool_dir=tmp_path) == expected


def test_spools_what_is_too_big_for_memory(
    buckets: Buckets, s3_endpoint: S3, bucket: str, tmp_path: Path
) -> None:
    data = os.urandom(33 * MiB + 5)
    fill(s3_endpoint, bucket, {"big.dcm": data})
    spool = tmp_path / "spool"
    spool.mkdir()
    path = buckets.fetch(bucket, "big.dcm", memory_limit=1 * MiB, spool_dir=spool)
    assert isinstance(path, Path)
    assert path.parent == spool
    assert path.read_bytes() == data
    assert buckets.fetch(bucket, "big.dcm", memory_limit=len(data), spool_dir=spool) == data
    for limit in (1 * MiB, len(data)):
        with pytest.raises(InputError, match=f"has grown from {len(data) - 1} to {len(data)} bytes"):
            buckets.fetch(bucket, "big.dcm", memory_limit=limit, spool_dir=spool, listed=len(data) - 1)
    fill(s3_endpoint, bucket, {"sealed": UPLOADED + data})
    for name, is_sealed_here in (("big.dcm", True), ("sealed", False)):
        path, _, key = buckets.fetch_tagged(bucket, name, memory_limit=MiB, spool_dir=spool, sealed=True)
        assert isinstance(path, Path)
        if not is_sealed_here:
            assert key is None and path.read_bytes() == UPLOADED + data
            continue
        assert data[:16] not in path.read_bytes()
        with source_of(os.open(path, os.O_RDONLY), key) as source:
            assert source.read(0, source.size) == data


def test_reads_one_object_from_beginning_to_end_though_it_is_replaced(
    buckets: Buckets, s3_endpoint: S3, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    old, new = b"o" * (33 * MiB), b"n" * (20 * MiB)
    fill(s3_endpoint, bucket, {"big.dcm": old, "small.dcm": b"s"})
    tags = {key: tag for key, _, tag in buckets.list_tagged(bucket, "")}
    limits: dict[str, Any] = {"memory_limit": 1 * MiB, "spool_dir": tmp_path}
    assert buckets.fetch_tagged(bucket, "small.dcm", **limits) == (b"s", tags["small.dcm"], None)
    get, ranges = obstore.get, []

    def replacing(store: Any, key: str, **more: Any) -> Any:
        ranges.append(more)
        if len(ranges) == 3:
            fill(s3_endpoint, bucket, {"big.dcm": new})
        return get(store, key, **more)

    monkeypatch.setattr(obstore, "get", replacing)
    path, tag, _ = buckets.fetch_tagged(bucket, "big.dcm", **limits)
    assert isinstance(path, Path) and path.read_bytes() == new
    assert tag is not None and tag != tags["big.dcm"]
    assert list(tmp_path.glob("bucket-*")) == [path], "of the first try nothing is left"


def test_puts_manifests_and_large_files(
    buckets: Buckets, s3_endpoint: S3, bucket: str, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(17 * MiB))
    buckets.put(bucket, "out/job-output-manifest.json", b"{}")
    buckets.put_file(bucket, "out/SUCCESS/success.ndjson", big)
    client = boto3_client(s3_endpoint)
    assert client.get_object(Bucket=bucket, Key="out/job-output-manifest.json")["Body"].read() == b"{}"
    found = client.get_object(Bucket=bucket, Key="out/SUCCESS/success.ndjson")["Body"].read()
    client.close()
    assert found == big.read_bytes()


def test_refuses_keys_that_it_cannot_tell_apart(buckets: Buckets, bucket: str, tmp_path: Path) -> None:
    buckets.put(bucket, "lead", b"another object")
    for key in ("/lead", "lead/", "a//b", "a/../b", "a/./b", "a\nb", ""):
        with pytest.raises(InputError):
            buckets.fetch(bucket, key, memory_limit=100, spool_dir=tmp_path)


def test_names_the_key_for_which_it_cannot_list(buckets: Buckets, s3_endpoint: S3, bucket: str) -> None:
    fill(s3_endpoint, bucket, {"a/b.dcm": b"x", "n/with\nnewline.dcm": b"x"})
    with pytest.raises(InputError, match=r"n/with\\nnewline\.dcm has.*rename"):
        list(buckets.list(bucket, ""))
    assert list(buckets.list(bucket, "a/")) == [("a/b.dcm", 1)]


def test_says_that_there_is_no_such_bucket(buckets: Buckets, tmp_path: Path) -> None:
    attempts = (
        lambda: list(buckets.list("no-such-bucket", "")),
        lambda: buckets.fetch("no-such-bucket", "key", memory_limit=1, spool_dir=tmp_path),
        lambda: buckets.put("no-such-bucket", "key", b""),
    )
    for attempt in attempts:
        with pytest.raises(
            InputError, match=r"no such bucket on S3; and there is no folder .*no-such-bucket"
        ):
            attempt()


def test_says_that_an_object_is_not_there(buckets: Buckets, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"s3://{bucket}/vanished.dcm does not exist"):
        buckets.fetch(bucket, "vanished.dcm", memory_limit=1, spool_dir=tmp_path)


def test_says_that_the_secret_is_wrong(
    s3_endpoint: S3, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    buckets = Buckets(tmp_path, s3_endpoint.url)
    with pytest.raises(StorageError, match="refused the credentials") as raised:
        list(buckets.list(bucket, ""))
    assert "not-the-secret" not in str(raised.value)
    assert not isinstance(raised.value, StorageUnavailableError), "a job that cannot begin says so"
    # Of what has been listed no file fails for it, nor of what is kept: there it can only be waited for.
    with pytest.raises(StorageUnavailableError, match="refused the credentials"):
        buckets.fetch(bucket, "key", memory_limit=9, spool_dir=tmp_path)
    with pytest.raises(StorageUnavailableError, match="refused the credentials"):
        open_objects(f"s3://{bucket}", endpoint_url=s3_endpoint.url).check()


def test_says_that_the_endpoint_cannot_be_reached(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be reached"):
        list(Buckets(tmp_path, "http://127.0.0.1:9").list(bucket, ""))


def test_prefers_a_folder_to_a_bucket(buckets: Buckets, s3_endpoint: S3, bucket: str, tmp_path: Path) -> None:
    fill(s3_endpoint, bucket, {"remote": b"x"})
    assert not buckets.is_local(bucket)
    assert [key for key, _ in buckets.list(bucket, "")] == ["remote"]
    (buckets.root / bucket).mkdir()
    (buckets.root / bucket / "local").write_bytes(b"x")
    assert buckets.is_local(bucket)
    assert [key for key, _ in buckets.list(bucket, "")] == ["local"]


def test_refuses_to_hang_in_a_forked_process(s3_endpoint: S3, bucket: str) -> None:
    code = (
        "import os\n"
        "from lightwell.stores.objects.open import open_objects\n"
        f"objects = open_objects('s3://{bucket}', endpoint_url='{s3_endpoint.url}')\n"
        "before = os.fork()\n"  # before the first use: fine
        "objects.check()\n"
        "if before == 0: os._exit(0)\n"
        "assert os.waitpid(before, 0)[1] == 0\n"
        "if os.fork() == 0:\n"
        "    objects.close()\n"
        "    try: objects.check()\n"
        "    except RuntimeError: os._exit(0)\n"
        "    os._exit(1)\n"
        "raise SystemExit(os.wait()[1])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
