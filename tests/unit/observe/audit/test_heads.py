"""Heads of chains, and what they prove of one another."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from lightwell.observe.audit.chain import Chain, ChainPlace
from lightwell.observe.audit.heads import Place, anchor, durable_heads, expectations, removals
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
