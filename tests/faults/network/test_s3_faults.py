"""S3 answers wrongly, or not at all: what is stored is there, what is read is right, or it is said why."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lightwell.errors import DamagedError, StorageUnavailableError
from lightwell.stores.buckets.registry import Buckets
from lightwell.stores.objects import s3_client
from lightwell.stores.objects.checked_reads import CheckedSpan, read_part
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.open import open_objects
from lightwell.stores.objects.pack_objects import PackWriter, pack_name
from tests.faults.network import faulty_s3
from tests.faults.network.faulty_s3 import INTERNAL, SLOW_DOWN, WRONG_KEY, Answer, Ask, FaultyS3, Request
from tests.support.services import S3, new_bucket

PART = 1 << 16


@pytest.fixture
def s3(s3_endpoint: S3) -> Iterator[FaultyS3]:
    made = FaultyS3(s3_endpoint.url)
    yield made
    made.end()


@pytest.fixture
def bucket(s3_endpoint: S3) -> str:
    return new_bucket(s3_endpoint)


@pytest.fixture
def objects(s3: FaultyS3, bucket: str) -> Iterator[Objects]:
    made = open_objects(f"s3://{bucket}/x", endpoint_url=s3.url)
    yield made
    made.close()


@pytest.mark.parametrize(
    "fault",
    [
        faulty_s3.refuses(500, INTERNAL),
        faulty_s3.refuses(503, SLOW_DOWN),
        faulty_s3.stores_and_fails,
        faulty_s3.cuts(100),
    ],
)
def test_gets_over_what_passes_by_itself(objects: Objects, s3: FaultyS3, fault: faulty_s3.Fault) -> None:
    data = os.urandom(100_000)
    s3.faults = [fault, fault]
    objects.put("packs/a", data)
    assert objects.read("packs/a", 5, 90_000) == data[5:90_005]
    assert objects.get("packs/a") == data
    assert [key for key, _ in objects.list()] == ["packs/a"]
    assert s3.faults == []


def test_takes_no_answer_for_an_object(objects: Objects, s3: FaultyS3, tmp_path: Path) -> None:
    s3.faults = [faulty_s3.loses]
    with pytest.raises(StorageUnavailableError, match="is not there although S3 has answered"):
        objects.put("packs/a", b"data")
    s3.faults = [faulty_s3.loses]
    with (
        pytest.raises(StorageUnavailableError, match="is not there"),
        PackWriter(objects, tmp_path, 7) as pack,
    ):
        pack.append(b"frame")
        pack.finish()
    assert not objects.exists(pack_name(7))
    objects.put("packs/a", b"data")
    assert objects.get("packs/a") == b"data"


def test_takes_no_answer_for_a_report(s3: FaultyS3, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "buckets").mkdir()
    buckets = Buckets(tmp_path / "buckets", s3.url)
    s3.faults = [faulty_s3.loses]
    with pytest.raises(StorageUnavailableError, match="but has nothing there"):
        buckets.put(bucket, "out/success.ndjson", b"{}\n")
    # Whoever may write reports need not be allowed to read them.
    s3.faults = [faulty_s3.refuses(403, b"<Error><Code>AccessDenied</Code></Error>", method="HEAD")]
    buckets.put(bucket, "out/success.ndjson", b"{}\n")
    assert s3.faults == []


@pytest.mark.parametrize("which", ["partNumber=2", "uploadId="])
@pytest.mark.parametrize("how", [faulty_s3.loses, None])
def test_loses_no_part_of_an_upload(
    objects: Objects, s3: FaultyS3, monkeypatch: pytest.MonkeyPatch, which: str, how: faulty_s3.Fault | None
) -> None:
    """A part that was answered and is not there; the end of an upload, or a part, that is and was refused."""
    monkeypatch.setattr(s3_client, "PART", 5 << 20)
    data = os.urandom(11 << 20)

    def fault(request: Request, ask: Ask) -> Answer | None:
        if which not in request.target or (which == "uploadId=" and request.method != "POST"):
            return None
        return how(request, ask) if how else replace(ask(), status=500, body=INTERNAL)

    s3.faults = [fault]
    if how is faulty_s3.loses and which == "partNumber=2":
        with pytest.raises(StorageUnavailableError, match="InvalidPart"):
            objects.put("packs/a", data)
        assert objects.get("packs/a") is None
    objects.put("packs/a", data)
    assert objects.get("packs/a") == data


def test_serves_no_wrong_bytes_of_the_right_length(objects: Objects, s3: FaultyS3) -> None:
    from isal import isal_zlib

    data = os.urandom(50_000)
    objects.put("packs/a", data)
    span = CheckedSpan("packs/a", 0, len(data), isal_zlib.crc32(data))
    s3.faults = [faulty_s3.flips]
    assert read_part(objects, span, 0, len(data)) == data
    assert s3.faults == []
    s3.for_all = faulty_s3.flips
    with pytest.raises(DamagedError):
        read_part(objects, span, 0, len(data))
    s3.for_all = None
    assert read_part(objects, span, 100, 40_000) == data[100:40_100]


@pytest.mark.parametrize("body", [WRONG_KEY, b"<Error><Code>AccessDenied</Code></Error>", b""])
def test_waits_for_a_key_that_was_rotated(objects: Objects, s3: FaultyS3, body: bytes) -> None:
    objects.put("packs/a", b"data")
    s3.for_all = faulty_s3.refuses(403, body)
    calls: list[Callable[[], object]] = [
        lambda: objects.get("packs/a"),
        lambda: objects.read("packs/a", 0, 4),
        lambda: objects.put("packs/b", b"data"),
        lambda: objects.delete("packs/a"),
        lambda: list(objects.list()),
    ]
    for call in calls:
        with pytest.raises(StorageUnavailableError, match=r"credentials|denies access"):
            call()
    s3.for_all = None
    assert objects.get("packs/a") == b"data"


def test_sends_again_what_arrived_late_or_otherwise(objects: Objects, s3: FaultyS3) -> None:
    for code in (b"RequestTimeout", b"BadDigest", b"XAmzContentSHA256Mismatch", b"IncompleteBody"):
        s3.faults = [faulty_s3.refuses(400, b"<Error><Code>%s</Code></Error>" % code, method="PUT")]
        with pytest.raises(StorageUnavailableError, match=code.decode()):
            objects.put("packs/a", b"data")
        objects.put("packs/a", b"data")


def test_lists_all_or_says_that_it_did_not(objects: Objects, s3: FaultyS3) -> None:
    for number in range(4):
        objects.put(f"packs/{number}", b"data")

    def cut(request: Request, ask: Ask) -> Answer | None:
        return replace(ask(), cut=300) if request.is_listing else None

    s3.for_all = cut
    with pytest.raises(StorageUnavailableError):
        list(objects.list())
    s3.for_all = None
    assert len(list(objects.list())) == 4
