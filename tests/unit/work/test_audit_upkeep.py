"""What is removed of the audit trail once it is too old, and that the rest is proved all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from lightwell.clock import Clock
from lightwell.errors import UnavailableError
from lightwell.observe.audit.block import decode_head
from lightwell.observe.audit.chain import RESUME_MS, Chain
from lightwell.observe.audit.heads import (
    END_MISSING,
    MISSING,
    REMOVED,
    anchor,
    durable_heads,
    expectations,
)
from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.search import Wanted, search
from lightwell.observe.audit.segments import compress, index_path, segments
from lightwell.observe.audit.trail import AuditTrail, TrailOptions
from lightwell.observe.audit.verification import ChainReport, verify
from lightwell.stores.background import audit_heads
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import audit_head
from lightwell.work.audit_upkeep import AuditUpkeep
from tests.support.server import until

DAY = 86_400_000
NO_DATABASE: Any = None


class Days:
    """A data folder whose clock stands on a day."""

    def __init__(self, data: Path) -> None:
        self.folder = AuditFolder(data, None)
        self.day = 1_000

    def now(self) -> int:
        return self.day * DAY

    def write(self, writer: str = "http-0", rotate_bytes: int = 1) -> None:
        """A block of today, in a segment of its own unless that may be longer."""
        chain = Chain(self.folder.chain(writer, self.now, rotate_bytes))
        chain.append([AuditRecord(at=self.now(), via="api", patient=f"D{self.day}")])
        chain.sync()
        chain.close()

    @contextmanager
    def upkeep(self, keep: int = 30, db: Database = NO_DATABASE) -> Iterator[AuditUpkeep]:
        trail = AuditTrail(lambda: Chain(self.folder.chain("work", self.now, 1)), self.now)
        trail.begin()
        yield AuditUpkeep(self.folder, db, trail, "work", self.now, keep)
        trail.close()

    def reports(self) -> dict[str, ChainReport]:
        root, keys = self.folder.root, self.folder.keys()
        return {each.writer: each for each in verify(root, keys, expectations(root, keys, ()))}

    def is_whole(self) -> bool:
        return not any(report.findings for report in self.reports().values())

    def patients(self) -> list[str | None]:
        found = search(self.folder.root, Wanted(), lambda *why: pytest.fail(str(why)))
        return [each.record.patient for each in found if each.writer == "http-0"]


@pytest.fixture
def days(tmp_path: Path) -> Days:
    made = Days(tmp_path)
    for _ in range(5):
        made.write()
        made.day += 10
    return made  # It is day 1,050; there is a segment each of 1,000 to 1,040.


def test_what_is_old_goes_and_the_rest_is_proved(days: Days) -> None:
    compress(segments(days.folder.root / "http-0")[0])
    with days.upkeep() as upkeep:
        assert upkeep.remove_old(days.now()) == 2
        assert upkeep.remove_old(days.now()) == 0
    assert days.patients() == ["D1020", "D1030", "D1040"]
    report = days.reports()["http-0"]
    assert days.is_whole() and report.records == 3
    assert [remark.text for remark in report.remarks] == [
        "records up to 2 were removed, since they were old enough"
    ]
    # Who removes one more than is on record is found out.
    segments(days.folder.root / "http-0")[0].path.unlink()
    (finding,) = days.reports()["http-0"].findings
    assert finding.text == "the segments before it are missing"


def test_what_was_removed_stays_on_record_when_that_record_is_removed_itself(days: Days) -> None:
    for _ in range(6):
        days.write("cli")
        with days.upkeep() as upkeep:
            upkeep.remove_old(days.now())
        days.write()
        days.day += 40
        assert days.is_whole(), days.reports()
    work = segments(days.folder.root / "work")
    assert work[0].number > 1, "records of earlier removals are gone"
    assert all(segments(days.folder.root / writer)[0].number > 3 for writer in ("http-0", "cli"))


def test_the_last_file_of_a_chain_stays_and_nothing_goes_without_days(days: Days) -> None:
    days.day += 10_000
    with days.upkeep(keep=0) as upkeep:
        assert upkeep.remove_old(days.now()) == 0
    # Somebody has the chain open: it is only idle.
    with closing(Chain(days.folder.chain("http-0", days.now, 1))), days.upkeep() as upkeep:
        assert upkeep.remove_old(days.now()) >= 4
    assert days.patients() == ["D1040"] and days.is_whole()


def test_nothing_goes_that_is_damaged_or_behind_it(days: Days) -> None:
    days.day += 10_000
    first, second, *_ = segments(days.folder.root / "http-0")
    data = second.read()
    for broken in (data.replace(b'"before":"', b'"before":"0'), b""):
        second.path.write_bytes(broken)
        with days.upkeep() as upkeep:
            upkeep.remove_old(days.now())
        assert first.path.exists() and len(segments(days.folder.root / "http-0")) == 5
    second.path.unlink()
    with days.upkeep() as upkeep:
        upkeep.remove_old(days.now())
    assert first.path.exists()
    # A block that misses its seal: what is before it may go.
    second.path.write_bytes(data[:-90])
    with days.upkeep() as upkeep:
        upkeep.remove_old(days.now())
    assert [each.number for each in segments(days.folder.root / "http-0")] == [2, 3, 4, 5]


@pytest.mark.parametrize("refuses", [True, False])
def test_nothing_goes_that_cannot_be_recorded(days: Days, refuses: bool) -> None:
    def broken() -> Chain:
        raise OSError(28, "No space left on device")

    trail = AuditTrail(broken, days.now, TrailOptions(refuses=refuses))
    trail.begin()
    until(lambda: trail.failure() is not None)
    upkeep = AuditUpkeep(days.folder, NO_DATABASE, trail, "work", days.now, 30)
    with pytest.raises(UnavailableError):
        upkeep.remove_old(days.now())
    trail.close(0.0)
    assert len(segments(days.folder.root / "http-0")) == 5


def test_a_clock_that_is_ahead_removes_nothing(
    days: Days, migrated_sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def left() -> int:
        return len(segments(days.folder.root / "http-0"))

    with closing(Database(migrated_sqlite_url)) as db:
        # Nothing is noted: the database may be another.
        with days.upkeep(db=db) as upkeep:
            for number in (0, 60, 420):
                upkeep.do_round(number)
        assert left() == 5
        with days.upkeep(db=db) as upkeep:
            upkeep.do_round(0)
            assert left() == 5, "the machine may not have set its clock yet"
            days.day += 10_000
            upkeep.do_round(60)
            assert left() == 2, "it goes by day 1,057"
            assert "younger than the last run" in caplog.text
            days.day -= 10_000 - 3
            upkeep.do_round(420)
        assert left() == 2 and days.is_whole()


def test_a_machine_whose_clock_is_ahead_goes_by_the_database_s(
    tmp_path: Path, migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system_now = Clock.now
    monkeypatch.setattr(Clock, "now", lambda self: system_now(self) + 3 * DAY)
    days = Days(tmp_path)
    with closing(Database(migrated_postgres_url)) as db:
        trail = AuditTrail(lambda: Chain(days.folder.chain("work", days.now, 1)), days.now)
        upkeep = AuditUpkeep(days.folder, db, trail, "work", Clock().now, 30)
        days.write()
        db.write(
            lambda conn: audit_heads.note(conn, list(durable_heads(days.folder.root)), system_now(Clock()))
        )
        upkeep.look_back()
        assert abs(upkeep.sure_now() - system_now(Clock())) < DAY


def test_a_crash_between_record_and_removal_leaves_a_whole_trail(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []
    unlink = Path.unlink

    def once(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith(".jsonl"):
            if removed:
                raise OSError(5, "Input/output error")
            removed.append(path)
        unlink(path, missing_ok=missing_ok)

    with days.upkeep() as upkeep:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", once)
            with pytest.raises(OSError, match="Input/output"):
                upkeep.remove_old(days.now())
        assert len(removed) == 1 and days.is_whole()
        assert upkeep.remove_old(days.now()) == 1
    assert days.is_whole()
    found = search(days.folder.root, Wanted(), lambda *why: pytest.fail(str(why)))
    records = [each.record for each in found if each.record.operation == REMOVED]
    assert [len(each.change) for each in records] == [2, 2]


def test_no_removal_by_others_is_certified(days: Days, caplog: pytest.LogCaptureFixture) -> None:
    """Those who may write the files, but have no key, would have the server hide what they have removed."""
    for _ in range(2):
        days.write("cli")
        days.day += 10
    http, cli = days.folder.root / "http-0", days.folder.root / "cli"
    with days.upkeep(keep=50) as upkeep:
        assert upkeep.remove_old(days.now()) == 2  # of http-0, so its chain begins at 3
    third, fourth, _ = segments(http)
    kept, whole = third.path.read_bytes(), fourth.path.read_bytes()
    third.path.unlink()
    heads = [decode_head(each) for each in (kept, whole)]
    before, after = [head.before.encode() for head in heads if head is not None]
    days.day += 30
    records: list[AuditRecord] = []
    for forged in (whole.replace(after, before).replace(b'"first":4', b'"first":3'), whole):
        fourth.path.write_bytes(forged)
        days.write("cli")
        with days.upkeep() as upkeep:
            upkeep.remove_old(days.now())
            upkeep.remove_old(days.now())
        assert len(segments(http)) == 2 and segments(cli)[0].number > 1
        assert days.reports()["http-0"].findings
        found = search(days.folder.root, Wanted(), lambda *why: None)
        records += [each.record for each in found if each.record.operation == MISSING]
        days.day += 40
    assert caplog.text.count("http-0 begins behind record 3") == 1
    (told,) = records
    assert (told.kind, [change.what for change in told.change]) == ("security", ["http-0"])
    # Once all is as it was, it goes on, until only its end is there.
    third.path.write_bytes(kept)
    fourth.path.write_bytes(whole)
    with days.upkeep() as upkeep:
        assert upkeep.remove_old(days.now()) > 0
    assert [each.number for each in segments(http)] == [6] and days.is_whole()


def test_nothing_goes_that_was_changed(days: Days) -> None:
    for size in (1 << 20, 1 << 20, 1):
        days.write("some", size)
    path = segments(days.folder.root / "some")[0].path
    path.write_bytes(path.read_bytes().replace(b'"D1050"', b'"D1051"', 1))  # the first block of two
    days.day += 10_000
    _, second, *_ = segments(days.folder.root / "http-0")
    whole = second.path.read_bytes()
    for changed in (whole.replace(b'"D1010"', b'"D1011"'), whole + b'{"n":3}\n'):
        second.path.write_bytes(changed)
        with days.upkeep() as upkeep:
            upkeep.remove_old(days.now())
        assert [each.number for each in segments(days.folder.root / "http-0")] == [2, 3, 4, 5]
        assert len(segments(days.folder.root / "some")) == 2


def test_a_chain_of_commands_begins_a_file_each_day(tmp_path: Path) -> None:
    days = Days(tmp_path)
    days.write("cli", 1 << 20)
    days.write("cli", 1 << 20)
    assert len(segments(days.folder.root / "cli")) == 1
    days.day += RESUME_MS // DAY
    days.write("cli", 1 << 20)
    assert len(segments(days.folder.root / "cli")) == 2
    assert days.is_whole()


def test_complete_files_get_an_index_again_where_it_is_missing(days: Days) -> None:
    made = [compress(each) for each in segments(days.folder.root / "http-0")[:-1]]
    made[2].path.write_bytes(b"damaged")
    with days.upkeep() as upkeep:
        assert [upkeep.index_one() for _ in range(4)] == [True, True, True, False]
        path = index_path(made[0].path)
        before = path.read_bytes()
        path.unlink()
        assert upkeep.index_one() and path.read_bytes() == before
        assert not index_path(made[2].path).exists() and not upkeep.index_one()
        assert upkeep.remove_old(days.now()) == 1 and not path.exists()


def test_copies_of_complete_files_are_proved_by_themselves(days: Days, tmp_path: Path) -> None:
    """Others have noted ends that are not copied yet."""
    archive = tmp_path / "archive"
    chain = Chain(days.folder.chain("work", days.now, 1))
    for _ in range(2):
        chain.append([anchor(durable_heads(days.folder.root), days.now())])
    chain.sync()
    chain.close()
    for writer in ("http-0", "work"):
        for segment in segments(days.folder.root / writer)[:-1]:
            copy = archive / writer / segment.path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(segment.path.read_bytes())

    def findings(*, is_part: bool) -> list[str]:
        keys = days.folder.keys()
        found = verify(archive, keys, expectations(archive, keys, ()), is_part=is_part)
        return [finding.text for report in found for finding in report.findings]

    assert findings(is_part=True) == []
    assert any("its end is missing" in text for text in findings(is_part=False))
    first, second, *_ = segments(archive / "http-0")
    second.path.unlink()
    assert findings(is_part=True) == ["segment 2 is missing"]
    first.path.unlink()
    assert findings(is_part=True) == ["the segments before it are missing"]


@pytest.mark.parametrize("is_noted_in", ["database", "chain"])
def test_an_end_that_is_missing_stays_missed_however_the_chain_goes_on(
    tmp_path: Path, migrated_sqlite_url: str, caplog: pytest.LogCaptureFixture, is_noted_in: str
) -> None:
    """A process that starts goes on behind the cut, and is soon further than it was."""
    days, most = Days(tmp_path), 1 << 20
    path = days.folder.root / "http-0" / "000000000001.jsonl"
    with closing(Database(migrated_sqlite_url)) as db:
        days.write(rotate_bytes=most)
        cut = path.read_bytes()
        days.write(rotate_bytes=most)
        with days.upkeep(db=db) as upkeep:
            upkeep.do_round(0)
        if is_noted_in == "chain":
            db.write(lambda conn: conn.execute(delete(audit_head)))
        with days.upkeep(db=db) as upkeep:
            upkeep.do_round(0)
        assert days.is_whole() and "is missing" not in caplog.text
        path.write_bytes(cut)
        days.day += 1
        for _ in range(3):
            days.write(rotate_bytes=most)
        for _ in range(2):
            with days.upkeep(db=db) as upkeep:
                upkeep.do_round(0)
    assert (
        caplog.text.count("the end of the audit trail of http-0 is missing: record 2 was noted before") == 1
    )
    (finding,) = days.reports()["http-0"].findings
    assert "record 2 is not sealed as was noted elsewhere" in finding.text
    found = search(days.folder.root, Wanted(), lambda *why: None)
    (told,) = [each.record for each in found if each.record.operation == END_MISSING]
    assert (told.kind, [change.what for change in told.change]) == ("security", ["http-0"])


def test_the_end_of_the_own_chain_is_missed_by_the_database(tmp_path: Path, migrated_sqlite_url: str) -> None:
    days = Days(tmp_path)
    with closing(Database(migrated_sqlite_url)) as db:
        for _ in range(2):
            days.write("work")
        with days.upkeep(db=db) as upkeep:
            upkeep.do_round(0)
        segments(days.folder.root / "work")[-1].path.unlink()
        for _ in range(2):
            with days.upkeep(db=db) as upkeep:
                upkeep.do_round(0)
    (finding,) = days.reports()["work"].findings
    assert "record 2 is not sealed as was noted elsewhere" in finding.text


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_cut_is_missed_though_the_server_goes_on(
    tmp_path: Path, migrated_sqlite_url: str, caplog: pytest.LogCaptureFixture, is_cut: bool
) -> None:
    """The chain of a process that was killed grows past the cut before its next anchor is written."""
    days = Days(tmp_path)
    path = days.folder.root / "http-0" / "000000000001.jsonl"
    with closing(Database(migrated_sqlite_url)) as db, days.upkeep(db=db) as upkeep:
        for number in range(3):
            days.write(rotate_bytes=1 << 20)
            cut = path.read_bytes()
            days.write(rotate_bytes=1 << 20)
            upkeep.do_round(number)
        if is_cut:
            path.write_bytes(cut)
            days.day += 1
        for number in range(3, 9):
            for _ in range(2):
                # The chain is left for a new file, which is complete and compressed at the end.
                days.write(rotate_bytes=1 << 20 if number < 5 else 1)
            upkeep.do_round(number)
    assert caplog.text.count("record 6 was noted before") == is_cut
    assert days.is_whole() is not is_cut
    if is_cut:
        (finding,) = days.reports()["http-0"].findings
        assert "record 6 is not sealed as was noted elsewhere" in finding.text
