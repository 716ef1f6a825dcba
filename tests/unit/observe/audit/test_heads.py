"""Heads of chains, and what they prove of one another."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from msgspec import structs

from lightwell.observe.audit.block import blocks, decode_head, encode_head, read_blocks
from lightwell.observe.audit.chain import Chain, ChainPlace
from lightwell.observe.audit.heads import (
    Head,
    Place,
    anchor,
    durable_heads,
    expectations,
    goes_on,
    goes_through,
    removals,
)
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import AuditRecord, encode_lines
from lightwell.observe.audit.segments import compress, segments
from lightwell.observe.audit.verification import Finding, verify
from tests.unit.observe.audit.chains import KEYS, NODE, place, report, write


def put(at: ChainPlace, record: AuditRecord) -> None:
    chain = Chain(at)
    chain.append([record])
    chain.sync()
    chain.close()


def findings(root: Path) -> list[Finding]:
    return [
        finding for chain in verify(root, KEYS, expectations(root, KEYS, ())) for finding in chain.findings
    ]


def test_says_how_far_each_chain_has_come(tmp_path: Path) -> None:
    first, second, third = place(tmp_path), place(tmp_path, "work"), place(tmp_path, "cli")
    write(first, [2, 3])
    write(second, [1])
    write(replace(second, rotate_bytes=1), [4])
    with segments(second.folder)[-1].path.open("ab") as file:
        file.write(b'{"n":6,"at":')
    write(third, [7])
    compress(segments(third.folder)[0])
    third.folder.joinpath("000000000002.jsonl").touch()
    heads = {head.writer: head for head in durable_heads(tmp_path)}
    assert {writer: head.number for writer, head in heads.items()} == {"http-0": 5, "work": 5, "cli": 7}
    for at in (first, second, third):
        found = report(at)
        head = heads[at.writer]
        assert (head.node, head.key_id, head.number, head.mac) == (NODE, KEYS.newest, found.number, found.mac)


def test_the_end_of_a_chain_is_missed_by_another(tmp_path: Path) -> None:
    first, work = place(tmp_path), place(tmp_path, "work")
    write(first, [2])
    early = segments(first.folder)[0].path.read_bytes()
    write(first, [3])
    put(work, anchor(durable_heads(tmp_path), 17))
    write(first, [1])
    assert findings(tmp_path) == []
    segments(first.folder)[0].path.write_bytes(early)
    expected = Finding("http-0", 0, "its end is missing: record 5 was noted elsewhere, and 2 is the last")
    assert findings(tmp_path) == [expected]
    shutil.rmtree(first.folder)
    assert findings(tmp_path) == [
        Finding("http-0", 0, "its end is missing: record 5 was noted elsewhere, and 0 is the last")
    ]


def test_the_newest_anchor_counts(tmp_path: Path) -> None:
    first, work = place(tmp_path), place(tmp_path, "work")
    for _ in range(3):
        write(first, [1])
        put(work, anchor([head for head in durable_heads(tmp_path) if head.writer == "http-0"], 17))
    (known,) = expectations(tmp_path, KEYS, ())["http-0"].seals
    assert (known.number, known.mac) == (3, report(first).mac)
    path = segments(work.folder)[0].path
    path.write_bytes(path.read_bytes().replace(b'"at":17,', b'"at":18,', 1))
    assert [*expectations(tmp_path, KEYS, ())["http-0"].seals] == [known], "it is behind what was changed"


def test_what_was_removed_with_a_record_is_not_missed(tmp_path: Path) -> None:
    first, work = place(tmp_path), place(tmp_path, "work")
    write(first, [2, 3])
    end = report(first)
    write(replace(first, rotate_bytes=1), [1])
    segments(first.folder)[0].path.unlink()
    assert findings(tmp_path) == [Finding("http-0", 2, "the segments before it are missing")]
    put(work, removals([Place("http-0", end.number, end.mac)], 17, 30, 9))
    assert findings(tmp_path) == []


def test_a_line_that_nobody_sealed_explains_nothing(tmp_path: Path) -> None:
    first, work = place(tmp_path), place(tmp_path, "work")
    write(first, [2])
    end = report(first)
    write(replace(first, rotate_bytes=1), [1])
    write(replace(first, rotate_bytes=1), [1])
    put(work, anchor(durable_heads(tmp_path), 17))
    begin, _, tail = segments(first.folder)
    begin.path.unlink()
    tail.path.unlink()
    missed = findings(tmp_path)
    assert [finding.text.partition(":")[0] for finding in missed] == [
        "the segments before it are missing",
        "its end is missing",
    ]
    with segments(work.folder)[0].path.open("ab") as file:
        for record in (removals([Place("http-0", end.number, end.mac)], 17, 30, 9), anchor((), 17)):
            record.number = 9
            file.write(encode_lines([record]))
    assert findings(tmp_path) == missed


def noted(at: ChainPlace) -> tuple[Head, Place]:
    (head,) = [head for head in durable_heads(at.root) if head.writer == at.writer]
    return head, Place(head.writer, head.number, head.mac)


def test_a_head_with_a_key_that_nobody_has_hides_no_cut(tmp_path: Path) -> None:
    first = place(tmp_path)
    write(first, [2])
    path = segments(first.folder)[0].path
    early = path.read_bytes()
    write(first, [3])
    head, at = noted(first)
    assert goes_through(first.folder, KEYS, at, head.key_id)
    path.write_bytes(early)
    forged = decode_head(early)
    assert forged is not None
    for number, before in ((3, ""), (3, "ab" * 32), (6, "")):
        false = structs.replace(forged, segment=2, first=number, key="deadbeefdeadbeef", before=before)
        (first.folder / "000000000002.jsonl").write_bytes(encode_head(false))
        assert not goes_through(first.folder, KEYS, at)
        (first.folder / "000000000002.jsonl").write_bytes(
            encode_head(false) + b'{"seal":5,"at":1,"mac":"%s"}\n' % head.mac.hex().encode()
        )
        assert not goes_through(first.folder, KEYS, at, head.key_id)


def test_what_a_key_has_sealed_that_is_not_there_counts_as_long_as_it_is_there(tmp_path: Path) -> None:
    first = place(tmp_path)
    write(first, [2, 3])
    head, at = noted(first)
    newer = AuditKeys((bytes(32),))
    write(replace(first, keys=newer), [1])
    for keys in (newer, AuditKeys((*newer.keys, *KEYS.keys))):
        assert goes_through(first.folder, keys, at, head.key_id) and goes_through(first.folder, keys, at)
    segments(first.folder)[0].path.unlink()
    assert not goes_through(first.folder, newer, at, head.key_id)


def test_what_was_written_again_after_a_fault_of_the_disk_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place(tmp_path)
    chain = Chain(first)
    chain.append([AuditRecord(id="a")])
    chain.sync()
    durable = segments(first.folder)[0].path.read_bytes()
    chain.append([AuditRecord(id="b")])
    head, at = noted(first)

    def fails(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fails)
        with pytest.raises(OSError, match="Input/output"):
            chain.sync()
    chain.append([AuditRecord(id="c")])
    chain.sync()
    chain.close()
    assert goes_through(first.folder, KEYS, at, head.key_id)
    segments(first.folder)[0].path.write_bytes(durable)  # The disk has kept no more.
    assert goes_through(first.folder, KEYS, at, head.key_id)
    assert not goes_through(first.folder, KEYS, at._replace(number=9), head.key_id)


@pytest.mark.parametrize("part", [1 << 20, 16])
@pytest.mark.parametrize("compressed", [False, True])
def test_follows_a_chain_by_what_was_written_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int, compressed: bool
) -> None:
    """However much that is, and over as many segments as it has come to."""
    monkeypatch.setattr("lightwell.observe.audit.block.PART", part)
    first = place(tmp_path)
    write(first, [2])
    begun, _ = noted(first)
    write(first, [3])
    since, _ = noted(first)
    begin = segments(first.folder)[0].path
    early = begin.read_bytes()
    for count in (1, 4):
        write(replace(first, rotate_bytes=1), [count])
    if compressed:
        for segment in segments(first.folder)[:-1]:
            compress(segment)
    to, at = noted(first)
    assert len(segments(first.folder)) == 3
    assert goes_on(tmp_path, KEYS, begun, to) and goes_on(tmp_path, KEYS, since, to)
    assert not goes_on(tmp_path, KEYS, to, since)
    if compressed:
        assert compress(segments(first.folder)[-1]) and noted(first)[0] == to
    # Nothing is known of where a head ends that comes from the database.
    assert not goes_on(tmp_path, KEYS, since._replace(segment=0, end=0), to)
    for segment in segments(first.folder):
        segment.path.unlink()
    begin.write_bytes(early)
    write(first, [3, 4])
    cut = noted(first)[0]
    assert goes_on(tmp_path, KEYS, since, cut) and not goes_on(tmp_path, KEYS, to, cut)
    assert not goes_through(first.folder, KEYS, at, to.key_id)


def test_reads_of_a_part_no_more_than_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightwell.observe.audit.block.PART", 100)
    first = place(tmp_path)
    write(first, [2, 1])
    data = segments(first.folder)[0].path.read_bytes()
    head = decode_head(data)
    assert head is not None
    key = KEYS.seal_key(head.key, head.node, "http-0")
    assert key is not None
    whole = list(blocks(data, key, bytes(32)))
    assert len(whole) == 2 and list(read_blocks(BytesIO(data), key, bytes(32))) == whole
    # What a seal does not prove, nothing behind it can.
    file = BytesIO(data.replace(b'"n":2', b'"n":7') + bytes(10_000))
    assert not list(read_blocks(file, key, bytes(32)))
    assert file.tell() < len(data) + 10_000
