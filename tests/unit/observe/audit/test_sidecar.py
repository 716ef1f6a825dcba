"""Indexes beside segments: queries read less by them, and find the same."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightwell.observe.audit import sidecar
from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import AuditRecord, Change
from lightwell.observe.audit.search import Wanted, search
from lightwell.observe.audit.segments import Segment, compress, index_path, segments
from lightwell.observe.audit.sidecar import build, hint
from tests.unit.observe.audit.chains import KEYS, place, records

ADA = "arn:aws:iam::000000000000:user/staff/ada"
OLD, NEW = "hospital_root_key_1", "AKLWNEWNEWNEWNEWNEW7"
ROTATED = (Change(f"access key rotated to {NEW}: {OLD} of ada"), Change(f"end of access key {OLD}"))
RECORDS = [
    AuditRecord(at=1_000, patient="P1", study="1.1", who=ADA, key="AKIAADA", status=200),
    AuditRecord(at=2_000, patients=("P2", "P1", "PATIENT-77"), image_sets=("s1", "SET-77"), store="d1"),
    AuditRecord(at=3_000, until=3_900, claimed="AKIAEVE", status=403, count=3),
    AuditRecord(at=4_000, patient="P3", taken_by=ADA, subject="bob", studies=("1.2", "1.3")),
    AuditRecord(at=5_000, image_set="s3", emergency=True, who="arn:aws:sts::0:assumed-role/r/eve"),
    # By the console, with another key, and by a command, after one with all but the change in common.
    AuditRecord(at=6_000, kind="access", key="AKIAADA", items=(OLD,), change=ROTATED),
    AuditRecord(at=7_000, kind="access", key=OLD),
    AuditRecord(at=7_001, kind="access", key=OLD, change=ROTATED),
    AuditRecord(at=8_000, kind="access", key="AKIAADA", items=(NEW, "user/ada"), status=404),
    AuditRecord(at=9_000, kind="access", change=(Change("(root access key)", OLD, NEW),)),
    AuditRecord(at=10_000, kind="read", items=(NEW,), query={"key": NEW}),
]
QUERIES = [
    Wanted(),
    *(Wanted(patient=each) for each in ("P1", "P2", "P3", "P", "")),
    *(Wanted(study=each) for each in ("1.1", "1.3", "1")),
    *(Wanted(image_set=each) for each in ("s1", "s3", "s")),
    *(Wanted(store=each) for each in ("d1", "d")),
    *(Wanted(key=each) for each in ("AKIAADA", "AKIAEVE", "AKIA", OLD, NEW, "access")),
    *(
        Wanted(principal=each)
        for each in (ADA, "ada", "staff/ada", "user/staff/ada", "bob", "eve", "r/eve", "a")
    ),
    *(Wanted(since=each) for each in (0, 1_000, 3_500, 3_900, 3_901, 6_000)),
    *(Wanted(until=each) for each in (0, 1_000, 1_001, 9_000)),
    Wanted(is_denied=True),
    Wanted(is_emergency=True),
    Wanted(patient="P1", principal="ada"),
    Wanted(patient="P3", principal="eve"),
    Wanted(request="r1"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A chain with a segment for each record, all but the last compressed and indexed."""
    chain = Chain(place(tmp_path, rotate_bytes=1))
    for record in [*RECORDS, *records(1)]:
        chain.append([record])
    chain.sync()
    chain.close()
    for segment in segments(tmp_path / "http-0")[:-1]:
        build(compress(segment), KEYS)
    return tmp_path / "http-0"


@pytest.fixture
def indexed_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with indexes of the first format."""

    def keys_of(record: AuditRecord) -> Iterator[str]:
        return (key for key in (record.key, record.claimed) if key)

    with monkeypatch.context() as patch:
        patch.setattr(sidecar, "FORMAT", 1)
        patch.setattr(sidecar, "keys_of", keys_of)
        for segment in segments(folder)[:-1]:
            build(segment, KEYS)
    return folder


def numbers(folder: Path, wanted: Wanted, keys: AuditKeys | None) -> list[int]:
    found = search(folder.parent, wanted, lambda *why: pytest.fail(str(why)), keys)
    return [each.record.number for each in found]


def test_the_same_is_found_with_indexes_and_without(folder: Path) -> None:
    for wanted in QUERIES:
        assert numbers(folder, wanted, KEYS) == numbers(folder, wanted, None), wanted


def test_the_same_is_found_with_indexes_of_the_first_format(indexed_before: Path) -> None:
    for wanted in QUERIES:
        assert numbers(indexed_before, wanted, KEYS) == numbers(indexed_before, wanted, None), wanted


@pytest.mark.parametrize("is_indexed", [True, False])
def test_a_rotation_is_found_by_the_old_key_and_by_the_new_one(folder: Path, is_indexed: bool) -> None:
    keys = KEYS if is_indexed else None
    assert numbers(folder, Wanted(key=OLD), keys) == [6, 7, 8, 10]
    assert numbers(folder, Wanted(key=NEW), keys) == [6, 8, 9, 10]
    assert numbers(folder, Wanted(key="AKIAADA"), keys) == [1, 6, 9]
    assert numbers(folder, Wanted(key="access"), keys) == []


def test_an_index_has_the_keys_of_each_record_of_keys(tmp_path: Path) -> None:
    chain = Chain(place(tmp_path))
    chain.append(RECORDS[6:8])  # which have all but the change in common
    chain.close()
    segment = compress(segments(tmp_path / "http-0")[0])
    build(segment, KEYS)
    said = hint(segment, KEYS)
    assert said is not None
    assert all(said.may_have(None, None, Wanted(key=each).terms()) for each in (OLD, NEW))
    assert not said.may_have(None, None, Wanted(key="AKLWOTHEROTHEROTHER2").terms())


def test_of_the_first_format_only_keys_are_looked_for_in_the_segment(indexed_before: Path) -> None:
    said = hint(segments(indexed_before)[0], KEYS)
    assert said is not None
    assert said.may_have(None, None, Wanted(key=NEW).terms())
    assert not said.may_have(None, None, Wanted(key=NEW, patient="P3").terms())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the segments that are read."""
    found: list[int] = []
    read = Segment.read

    def reading(segment: Segment) -> bytes:
        found.append(segment.number)
        return read(segment)

    monkeypatch.setattr(Segment, "read", reading)
    return found


def test_of_a_copy_with_its_indexes_little_is_read_too(
    folder: Path, tmp_path: Path, reads: list[int]
) -> None:
    copy = tmp_path / "archive" / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.jsonl"))
    assert numbers(copy, Wanted(patient="P1"), KEYS) == [1, 2] == reads


def test_what_has_nothing_of_it_is_not_read(folder: Path, reads: list[int]) -> None:
    for wanted, expected in (
        (Wanted(patient="P1"), [1, 2]),
        (Wanted(principal="ada"), [1, 4]),
        (Wanted(since=3_500, until=4_001), [3, 4]),
        (Wanted(is_emergency=True), [5]),
        (Wanted(key=NEW), [6, 8, 9, 10]),
    ):
        assert numbers(folder, wanted, KEYS) == expected
        assert reads == [*expected, 12], "the last one is written still, and has no index"
        reads.clear()


def test_an_index_that_is_not_its_own_is_no_index(folder: Path) -> None:
    first, second, *_ = segments(folder)
    path = index_path(first.path)
    whole = path.read_bytes()
    assert hint(first, KEYS) is not None
    for data in (
        b"",
        whole[:-1],
        whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:],
        whole.replace(b'"first":1000', b'"first":9000'),
        index_path(second.path).read_bytes(),
    ):
        path.write_bytes(data)
        assert hint(first, KEYS) is None
        assert numbers(folder, Wanted(patient="P1"), KEYS) == [1, 2]
    path.write_bytes(whole)
    assert hint(first, AuditKeys((bytes(32),))) is None
    path.unlink()
    assert hint(first, KEYS) is None


def test_nobody_is_named_in_an_index(folder: Path) -> None:
    """Nor can anybody try ids without the key."""
    second = segments(folder)[1]
    data = index_path(second.path).read_bytes()
    assert not any(word in data for word in (b"PATIENT-77", b"SET-77"))
    build(second, AuditKeys((bytes(range(1, 33)), *KEYS.keys)))
    assert data.partition(b"\n")[2][:-32] != index_path(second.path).read_bytes().partition(b"\n")[2][:-32]


@pytest.mark.parametrize("is_compressed", [True, False])
def test_an_index_is_made_in_little_memory(tmp_path: Path, is_compressed: bool) -> None:
    chain = Chain(place(tmp_path))
    chain.append([AuditRecord(at=number, who=ADA, query={"name": "q" * 4000}) for number in range(2000)])
    chain.sync()
    chain.close()
    segment = segments(tmp_path / "http-0")[0]
    if is_compressed:
        segment = compress(segment)
    tracemalloc.start()
    try:
        build(segment, KEYS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(segment.read()) > 8_000_000
    assert peak < 4_000_000
    assert hint(segment, KEYS) is not None
