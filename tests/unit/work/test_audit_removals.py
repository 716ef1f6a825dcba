"""What `audit_keep` leaves of chains whose processes are gone, and what `audit verify` says of removals."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.heads import ENDED, Head, durable_heads, expectations, removals
from lightwell.observe.audit.overdone import add_overdone
from lightwell.observe.audit.record import AuditRecord, Change
from lightwell.observe.audit.search import Wanted, search
from lightwell.observe.audit.segments import segments
from lightwell.observe.audit.trail import AuditTrail
from lightwell.observe.audit.verification import verify, verify_chain
from lightwell.stores.background import audit_heads
from lightwell.stores.db.database import Database
from lightwell.work import audit_upkeep
from tests.unit.work.test_audit_upkeep import DAY, Days
from tests.unit.work.test_audit_upkeep import days as days  # a fixture


def test_of_a_chain_whose_process_is_gone_only_its_end_stays(days: Days) -> None:
    days.write("cli", 1 << 20)
    days.day += 10_000
    before = days.reports()["http-0"]
    with days.upkeep() as upkeep:
        assert upkeep.remove_old(days.now()) == 6
        assert upkeep.remove_old(days.now()) == 0
    # It is proved that the end follows the last record that was there, and nobody else's word counts.
    assert days.patients() == [None] and days.is_whole()
    report = days.reports()["http-0"]
    assert (before.number, report.number, report.records) == (5, 6, 1)
    (end,) = segments(days.folder.root / "http-0")
    found = search(days.folder.root, Wanted(), lambda *why: pytest.fail(str(why)))
    (last,) = [each.record for each in found if each.writer == "http-0"]
    assert (last.operation, last.via, last.at) == (ENDED, "engine", days.now())
    # Once is enough; and a process of that name goes on behind it.
    days.day += 10_000
    with days.upkeep() as upkeep:
        upkeep.remove_old(days.now())
    assert segments(days.folder.root / "http-0") == [end]
    days.write()
    assert days.patients() == [None, f"D{days.day}"] and days.is_whole()
    # Whoever removes the end as well is found out.
    with days.upkeep() as upkeep:
        upkeep.remove_old(days.now())
    for segment in segments(days.folder.root / "http-0"):
        segment.path.unlink()
    heads = [Head("", "http-0", "", report.number, report.mac)]
    expected = expectations(days.folder.root, days.folder.keys(), heads)
    chains = verify(days.folder.root, days.folder.keys(), expected)
    said = [each.text for chain in chains for each in chain.findings]
    assert any("its end is missing" in text for text in said)


@pytest.mark.parametrize("harm", ["cut", "changed", "forged"])
def test_a_chain_that_is_not_whole_is_not_ended(days: Days, harm: str) -> None:
    """Else what somebody has cut off would look as if a crash had left it so."""
    days.write("http-1", 1 << 20)
    days.write("http-1", 1 << 20)
    (segment,) = segments(days.folder.root / "http-1")
    noted = list(durable_heads(days.folder.root))
    data = segment.read()
    half = data.index(b"\n", data.index(b'{"seal"')) + 1
    changed = data.replace(b'"D1050"', b'"D1051"', 1)
    segment.path.write_bytes({"cut": data[:half], "changed": changed, "forged": data + b"x\n"}[harm])
    days.day += 10_000
    with days.upkeep() as upkeep:
        upkeep.remove_old(days.now(), noted)
    assert len(segments(days.folder.root / "http-1")) == 1


def start_of(days: Days, keep: int) -> AuditRecord:
    change = (Change("audit_keep", "0", str(keep)),)
    return AuditRecord(at=days.now(), via="start", operation="ServerStarted", change=change)


def started(days: Days, keep: int, writer: str = "work") -> None:
    chain = Chain(days.folder.chain(writer, days.now, 1))
    chain.append([start_of(days, keep)])
    chain.close()


def overdone(days: Days) -> list[str]:
    root, keys = days.folder.root, days.folder.keys()
    reports = list(days.reports().values())
    add_overdone(reports, root, keys)
    return [finding.text for report in reports for finding in report.findings]


def test_verify_says_what_was_removed_earlier_than_was_set(days: Days) -> None:
    started(days, 30)
    with days.upkeep(keep=30) as upkeep:
        assert upkeep.remove_old(days.now()) == 2
    assert overdone(days) == []
    # Another process of the data folder tells of another setting: one without work.
    days.day += 1
    started(days, 3_650, "pool")
    with days.upkeep(keep=30) as upkeep:
        days.day += 10
        assert upkeep.remove_old(days.now()) == 2
    (said,) = overdone(days)
    assert "went by 30 days, and audit_keep was 3650 when the server started" in said
    days.day += 1
    started(days, 0)
    trail = AuditTrail(lambda: Chain(days.folder.chain("work", days.now, 1)), days.now)
    trail.begin()
    # By what a version before this one has written, and by one that did not keep to its own setting.
    old = removals([], days.now(), 0, 0)
    old.query = None
    trail.keep(old)
    days.day += 1
    trail.keep(start_of(days, 40))
    trail.keep(removals([], days.now(), 40, days.now() - 39 * DAY))
    trail.close()
    (_, forever, young) = overdone(days)
    assert "audit_keep was 0, which keeps them for ever" in forever
    assert "took records of" in young and "within 40 days" in young


def test_verify_says_that_a_removal_went_by_a_clock_that_was_ahead(days: Days) -> None:
    started(days, 30)
    days.day += 1_000
    with closing(Chain(days.folder.chain("http-0", days.now, 1))), days.upkeep() as upkeep:
        assert upkeep.remove_old(days.now()) > 0
    assert overdone(days) == []
    days.day -= 1_000
    started(days, 30)
    (said,) = overdone(days)
    assert "went by a clock that was ahead" in said and "within 30 days" in said


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_in_one_chain_keeps_no_other_from_its_upkeep(
    tmp_path: Path, migrated_sqlite_url: str, make: Callable[[Path], None]
) -> None:
    days = Days(tmp_path)
    for _ in range(2):
        days.write()
        days.write("cli")
    make(days.folder.root / "cli" / "000000000009.jsonl")
    with closing(Database(migrated_sqlite_url)) as db, days.upkeep(db=db) as upkeep:
        for number in range(3):
            upkeep.do_round(number)
        with db.read() as conn:
            noted = audit_heads.of_nodes(conn, [days.folder.node() or ""])
    assert {head.writer for head in noted} >= {"cli", "http-0"} and days.is_whole()
    assert all(segments(days.folder.root / writer)[0].is_compressed for writer in ("cli", "http-0"))


def test_what_goes_wrong_with_one_chain_is_an_error_after_a_minute(
    tmp_path: Path,
    migrated_sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    days = Days(tmp_path)
    for writer in ("cli", "http-0"):
        days.write(writer)
        days.write(writer)
    fdatasync = os.fdatasync

    def fails(file: int) -> None:
        if "/cli/" in str(Path(f"/proc/self/fd/{file}").readlink()):
            raise OSError(5, "Input/output error")
        fdatasync(file)

    monkeypatch.setattr(os, "fdatasync", fails)
    with closing(Database(migrated_sqlite_url)) as db, days.upkeep(db=db) as upkeep:
        for number in range(7):
            upkeep.try_round(number)
        with db.read() as conn:
            noted = audit_heads.of_nodes(conn, [days.folder.node() or ""])
    assert {head.writer for head in noted} - {"work"} == {"http-0"}
    assert segments(days.folder.root / "http-0")[0].is_compressed
    told = [each for each in caplog.records if "Input/output error" in each.getMessage()]
    assert [each.levelname for each in told if each.levelname == "ERROR"] == ["ERROR"]


def test_a_chain_that_is_not_whole_is_not_read_again_until_it_changes(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = segments(days.folder.root / "http-0")[-1].path
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"D1040", b"D1041"))
    days.day += 10_000
    read: list[Path] = []

    def counted(folder: Path, *rest: Any) -> Any:
        read.append(folder)
        return verify_chain(folder, *rest)

    monkeypatch.setattr(audit_upkeep, "verify_chain", counted)
    with days.upkeep() as upkeep:
        for _ in range(4):
            upkeep.remove_old(days.now())
        assert len(read) == 2, "the first has removed what was before"
        path.write_bytes(whole)
        upkeep.remove_old(days.now())
    assert len(read) == 3 and days.patients() == [None]
