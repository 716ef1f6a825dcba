from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import fields

from lightwell.observe.audit.record import (
    AuditRecord,
    Change,
    FrameRecord,
    SystemUser,
    decode_line,
    encode_lines,
)

FULL = AuditRecord(
    number=7,
    at=1_796_000_000_000,
    id="0f8a",
    via="cli",
    operation="GetImageFrame",
    kind="read",
    who="arn:aws:iam::123456789012:user/ada",
    key="AKIA",
    user=SystemUser(1000, "ada", loginuid=1001),
    address="10.1.2.3",
    certificate="CN=modality",
    store="d" * 32,
    image_set="i" * 32,
    patients=("P1", "P2"),
    status=200,
    is_cut=True,
    change=(Change("role/reader", after="ab12"),),
)


def test_a_record_is_a_line_that_reads_back() -> None:
    lines = encode_lines([FULL, AuditRecord(number=8, via="api")])
    first, second, end = lines.split(b"\n")
    assert end == b""
    assert decode_line(first) == FULL
    assert decode_line(second) == AuditRecord(number=8, via="api")


def test_names_members_briefly_and_leaves_absent_ones_out() -> None:
    assert json.loads(encode_lines([FULL])) == {
        "n": 7,
        "at": 1_796_000_000_000,
        "id": "0f8a",
        "via": "cli",
        "do": "GetImageFrame",
        "kind": "read",
        "who": "arn:aws:iam::123456789012:user/ada",
        "key": "AKIA",
        "os": {"uid": 1000, "name": "ada", "loginuid": 1001},
        "from": "10.1.2.3",
        "cert": "CN=modality",
        "store": "d" * 32,
        "set": "i" * 32,
        "patients": ["P1", "P2"],
        "status": 200,
        "cut": True,
        "change": [{"what": "role/reader", "after": "ab12"}],
    }


def test_what_a_client_sends_cannot_start_a_line() -> None:
    sent = 'a"}\n{"n":1,"do":"Forged"}\r\u2028\x00'
    lines = encode_lines([AuditRecord(number=1, agent=sent)])
    assert lines.count(b"\n") == 1
    assert decode_line(lines).agent == sent


@pytest.mark.parametrize(
    ("bad", "kept"),
    [
        (AuditRecord(number=2, agent="x\udcff", who="ada"), AuditRecord(number=2, agent="x?", who="ada")),
        (
            AuditRecord(number=2, patients=("\ud800", "P"), status=200),
            AuditRecord(number=2, patients=("?", "P"), status=200),
        ),
        (
            AuditRecord(number=2, query={"a": {"\udcff": 1}}, who="ada"),
            AuditRecord(number=2, query={"unrecordable": True}, who="ada"),
        ),
        (
            AuditRecord(number=2, query={"a": object()}, found=3),
            AuditRecord(number=2, query={"unrecordable": True}, found=3),
        ),
        (
            AuditRecord(number=2, user=SystemUser(0, "\udcff"), who="ada"),
            AuditRecord(number=2, who="ada"),
        ),
    ],
)
def test_what_json_cannot_hold_costs_no_other_member_and_no_other_record(
    bad: AuditRecord, kept: AuditRecord
) -> None:
    before, after = AuditRecord(number=1, who="a"), AuditRecord(number=3, who="b")
    lines = encode_lines([before, bad, after]).splitlines()
    assert [decode_line(line) for line in lines] == [before, kept, after]


def test_reads_what_a_newer_version_has_added() -> None:
    line = b'{"n":5,"via":"dimse","kind":"print","do":"C-STORE","title":"AE1"}'
    assert decode_line(line) == AuditRecord(number=5, via="dimse", kind="print", operation="C-STORE")


@pytest.mark.parametrize("line", [b"", b"{", b'{"n":"5"}', b"[]", b'{"n":5}{'])
def test_refuses_what_is_no_record(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode_line(line)


def test_a_record_of_a_frame_is_one_like_any_other() -> None:
    full = {each.name: each for each in fields(AuditRecord)}
    for each in fields(FrameRecord):
        assert (each.encode_name, each.type) == (full[each.name].encode_name, full[each.name].type)
    values: dict[str, Any] = {
        each.name: (each.name,) if each.name == "items" else 7 if each.type is int else each.name
        for each in fields(FrameRecord)
    } | {"status": 200, "sent": 5, "emergency": True}
    frame, record = FrameRecord(**values), AuditRecord(**values)
    assert [decode_line(line) for line in encode_lines([frame, record]).splitlines()] == [record, record]
    # Nothing else is asked of a record on its way into a chain.
    assert (frame.patients, frame.image_sets, frame.studies) == ((), (), ())


def test_what_json_cannot_hold_of_a_frame_keeps_no_other_record_from_being_written() -> None:
    odd = FrameRecord(at=1, agent="\ud800")
    kept = [decode_line(line) for line in encode_lines([odd, AuditRecord(at=2)]).splitlines()]
    assert [each.at for each in kept] == [1, 2] and kept[0].agent == "?"
