"""What a process owes its audit trail is written by whoever finds it gone, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, update

from lightwell.clock import Clock, Ids
from lightwell.errors import UnavailableError
from lightwell.observe.audit.block import before, decode_head
from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.heads import Place, ends_missing, expectations, removals
from lightwell.observe.audit.record import AuditRecord, encode_lines
from lightwell.observe.audit.search import Wanted, search
from lightwell.observe.audit.segments import segments
from lightwell.observe.audit.trail import AuditTrail, TrailOptions
from lightwell.observe.audit.verification import verify
from lightwell.stores.background import audit_owed as debts_table
from lightwell.stores.background.audit_owed import Debt
from lightwell.stores.background.records import BackgroundRecords, Debtor, Owed
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.data_folder.node import Node
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import audit_owed
from lightwell.work import owed_records
from lightwell.work.owed_records import OwedPlaces, OwedRecords
from tests.support.server import until


class Process:
    """One that works in the background, on a data folder of its own or of others."""

    def __init__(self, data: Path, db: Database, writer: str = "work", now: int = 0) -> None:
        data.mkdir(exist_ok=True)
        clock = Clock()
        folder = AuditFolder(data, None)
        self.root, self.db = folder.root, db
        self.trail = AuditTrail(
            lambda: Chain(folder.chain(writer, clock.now)), clock.now, TrailOptions(writer=writer)
        )
        self.trail.begin()
        at = 0

        def later() -> int:
            # What is done within one millisecond has no order.
            nonlocal at
            at = max(at + 1, now or clock.now())
            return at

        self.records = BackgroundRecords(self.trail, later, Debtor(Node(data), Ids().id))
        self.owed = OwedRecords(OwedPlaces(db, folder, self.trail, clock), self.records)

    def do(self, image_set: str, *, dies: bool = False) -> Owed:
        """Make a version; one that dies then has not put it on record."""
        record = AuditRecord(operation="ImportIntoImageSet", image_set=image_set, version=1, number=7)
        owed = self.db.write(lambda conn: self.records.owe(conn, [record]))
        if not dies:
            self.records.put_owed(owed)
        return owed

    def on_record(self) -> list[tuple[str, str | None, bool]]:
        """Of each record: in whose chain, of which image set, whether it came late."""
        self.trail.flush()
        found = search(self.root, Wanted(), lambda *why: pytest.fail(str(why)))
        return [(each.writer, each.record.image_set, each.record.recovered > 0) for each in found]


def debts(db: Database) -> int:
    with db.read() as conn:
        return len(conn.execute(select(audit_owed.c.id)).all())


@contextmanager
def process(data: Path, db: Database, writer: str = "work", now: int = 0) -> Iterator[Process]:
    made = Process(data, db, writer, now)
    yield made
    made.trail.close()


def test_what_is_on_the_disk_is_owed_no_more(tmp_path: Path, database: Database) -> None:
    with process(tmp_path, database) as one:
        one.do("a")
        one.trail.flush()
        until(lambda: bool(one.records.kept()))
        assert debts(database) == 1
        # The next transaction clears it, too.
        one.do("b")
        assert (debts(database), one.records.kept()) == (1, ())
        one.owed.begin()
        one.owed.end()
        assert debts(database) == 0
        assert one.on_record() == [("work", "a", False), ("work", "b", False)]


def test_writes_what_those_before_it_owe_and_not_what_works(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(tmp_path, database) as dead, process(tmp_path, database, "import") as other:
        # Killed before it has cleared what the trail has.
        monkeypatch.setattr(dead.trail, "tell_when_kept", lambda tell: None)
        dead.do("a")
        dead.trail.flush()
        dead.do("b", dies=True)
        other.do("c", dies=True)
        dead.trail.close()
        with process(tmp_path, database) as one:
            one.do("d", dies=True)
            # What is in the trail already is only cleared; what this process owes, and one that works, waits.
            assert one.owed.recover() == 2
            assert one.on_record() == [("work", "a", False), ("work", "b", True)]
            assert debts(database) == 2
            other.trail.close()
            assert one.owed.recover() == 1
            assert one.on_record()[2:] == [("work", "c", True)]
            assert one.owed.recover() == 0


def test_after_a_day_it_writes_what_a_folder_owes_that_may_never_be_back(
    tmp_path: Path, database: Database
) -> None:
    a_day_ago = Clock().now() - 86_400_001
    with (
        process(tmp_path / "gone", database, now=a_day_ago) as gone,
        process(tmp_path / "busy", database) as busy,
    ):
        gone.do("a", dies=True)
        busy.do("b", dies=True)
    with process(tmp_path / "here", database) as one:
        assert (one.owed.recover(), one.owed.recover()) == (1, 0)
        assert one.on_record() == [("work", "a", True)]
        assert debts(database) == 1


def test_a_debt_stays_while_the_trail_has_no_room(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(tmp_path, database) as one:
        monkeypatch.setattr(one.trail, "put", lambda record: False)
        one.do("a")
        one.trail.flush()
        assert (one.records.kept(), debts(database)) == ((), 1)


def minutes_ago() -> int:
    return Clock().now() - 120_000


def test_pays_what_the_process_that_runs_has_not_put(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knew whether it was committed, or the trail had no room, as with ``audit_full = serve``."""
    with process(tmp_path, database, now=minutes_ago()) as one:
        unknown = one.do("a", dies=True)
        with monkeypatch.context() as patched:
            patched.setattr(one.trail, "put", lambda record: False)
            one.do("b")
            with pytest.raises(UnavailableError):
                one.owed.recover()
        with monkeypatch.context() as patched:
            # It waits for the disk, however long: nobody else puts it.
            patched.setattr(one.trail, "tell_when_kept", lambda tell: None)
            waiting = one.do("c")
        assert (one.owed.recover(), debts(database)) == (2, 1)
        # Whoever made the first learns only now that it was committed.
        one.records.put_owed(unknown)
        assert sorted(one.on_record()) == [("work", "a", True), ("work", "b", True), ("work", "c", False)]
        one.records.cleared([waiting.id])


def test_what_waits_hides_nothing(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owed_records, "_AT_ONCE", 1)
    with (
        process(tmp_path, database, "import", now=minutes_ago()) as busy,
        process(tmp_path, database, "worker") as dead,
    ):
        busy.do("a", dies=True)
        dead.do("b", dies=True)
        dead.do("c", dies=True)
        dead.trail.close()
        with process(tmp_path, database) as one:
            assert (one.owed.recover(), one.owed.recover(), debts(database)) == (2, 0, 1)
            assert one.on_record() == [("work", "b", True), ("work", "c", True)]


def test_writes_once_what_an_attempt_before_has_put(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(tmp_path, database) as dead:
        dead.do("a", dies=True)
        dead.do("b", dies=True)
    with process(tmp_path, database) as one:

        def keep(record: AuditRecord) -> None:
            one.trail.put(record)
            raise UnavailableError("the disk is slow")

        with monkeypatch.context() as patched:
            patched.setattr(one.trail, "keep", keep)
            with pytest.raises(UnavailableError):
                one.owed.recover()
        assert (one.owed.recover(), debts(database)) == (2, 0)
        assert one.on_record() == [("work", "a", True), ("work", "b", True)]


def test_writes_once_what_is_on_record_long_since(tmp_path: Path, database: Database) -> None:
    """As after the restore of a backup into the same data folder."""
    folder = AuditFolder(tmp_path, None)
    with process(tmp_path, database) as dead:
        owed = dead.do("a")
        dead.trail.flush()
    for _ in range(6):
        chain = Chain(folder.chain("work", Clock().now, 1))
        chain.append([AuditRecord(at=Clock().now(), operation="Later")])
        chain.close()
    assert len(segments(folder.root / "work")) == 7
    with process(tmp_path, database) as one:
        assert (one.owed.recover(), debts(database)) == (1, 0)
        assert one.on_record()[0] == ("work", "a", False)
        assert sum(image_set == "a" for _, image_set, _ in one.on_record()) == len(owed.records)


def test_says_how_many_records_of_a_debt_cannot_be_read(tmp_path: Path, database: Database) -> None:
    with process(tmp_path, database) as dead:
        kept = dead.do("a", dies=True)
        dead.do("b", dies=True)
    damaged = update(audit_owed).where(audit_owed.c.id != kept.id).values(records='{"at":1,"do\n{\n')
    database.write(lambda conn: conn.execute(damaged))
    with process(tmp_path, database) as one:
        assert (one.owed.recover(), debts(database)) == (2, 0)
        one.trail.flush()
        found = search(one.root, Wanted(), lambda *why: pytest.fail(str(why)))
        version, lost = [each.record for each in found]
    assert (version.image_set, version.lost) == ("a", 0)
    assert (lost.operation, lost.kind, lost.lost) == ("AuditLost", "security", 2)
    assert lost.at > 0 and lost.recovered > 0


def put_into_database(
    db: Database, data: Path, writer: str, *records: AuditRecord, id: str = "f" * 26
) -> None:
    """What somebody does who can write the database, and has no key."""
    debt = Debt(id, Node(data).id, writer, 5, encode_lines(records).decode())
    db.write(lambda conn: debts_table.add(conn, debt))


def findings(folder: AuditFolder) -> list[str]:
    root, keys = folder.root, folder.keys()
    reports = verify(root, keys, expectations(root, keys, ()))
    return [finding.text for report in reports for finding in report.findings]


def test_the_database_has_nothing_sealed_but_what_may_be_owed(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    folder, id = AuditFolder(tmp_path, None), "f" * 26
    with process(tmp_path, database) as one:
        for _ in range(3):
            chain = Chain(folder.chain("http-0", Clock().now, 1))
            chain.append([AuditRecord(at=Clock().now(), via="api", operation="GetImageFrame")])
            chain.sync()
            chain.close()
        *removed, last = segments(folder.root / "http-0")
        head = decode_head(last.read())
        assert head is not None
        places = [Place("http-0", head.first - 1, before(head))]
        for each in removed:
            each.path.unlink()
        missed = findings(folder)
        assert missed == ["the segments before it are missing"]
        forged = [
            removals(places, Clock().now(), 30, 0),
            ends_missing([Place("http-0", 1, b"x" * 32)], 1),
            AuditRecord(via="api", kind="read", operation="GetImageFrame", who="arn:aws:iam::1:user/bob"),
        ]
        for record in forged:
            record.id = id
        of_others = AuditRecord(id="g" * 26, operation="ImportIntoImageSet", image_set="x")
        put_into_database(database, tmp_path, "work", *forged, of_others)
        assert (one.owed.recover(), debts(database)) == (1, 0)
        assert caplog.text.count(f"nothing that could be: debt {id}") == 4
        # What may be owed is that and nothing else.
        version = AuditRecord(id=id, via="api", operation="StoreIntoImageSet", key="AK", patient="a\u2028b")
        version.change = removals(places, 1, 30, 0).change
        put_into_database(database, tmp_path, "work", version)
        assert one.owed.recover() == 1
        one.trail.flush()
        found = search(folder.root, Wanted(), lambda *why: pytest.fail(str(why)))
        (told,) = [each.record for each in found if each.writer == "work"]
        assert (told.via, told.kind, told.key, told.change) == ("engine", "change", None, ())
        assert told.patient == "a\u2028b"
        assert findings(folder) == missed


def test_what_an_earlier_version_has_sealed_from_the_database_proves_nothing(
    tmp_path: Path, database: Database
) -> None:
    folder = AuditFolder(tmp_path, None)
    with process(tmp_path, database) as one:
        one.do("a")
        false = ends_missing([Place("work", 1, b"x" * 32)], 1)
        false.recovered = 1
        one.trail.keep(false)
        assert findings(folder) == []


def test_a_debt_of_nobody_known_keeps_no_other_waiting(tmp_path: Path, database: Database) -> None:
    with process(tmp_path, database, "import") as dead:
        dead.do("a", dies=True)
        dead.trail.flush()
    for number, writer in enumerate(("gone", "../..", "", "a/b")):
        id = f"{number:026d}"
        record = AuditRecord(id=id, operation="ImportIntoImageSet", image_set=f"b{number}")
        put_into_database(database, tmp_path, writer, record, id=id)
    locked = tmp_path / "audit" / "cli" / "lock"
    locked.mkdir(parents=True)  # which cannot be opened as a file
    put_into_database(database, tmp_path, "cli", AuditRecord(id="c", operation="ImportIntoImageSet"), id="c")
    with process(tmp_path, database) as one:
        assert (one.owed.recover(), debts(database)) == (5, 1)
        assert sorted(str(image_set) for _, image_set, _ in one.on_record()) == ["a", "b0", "b1", "b2", "b3"]
    assert not (tmp_path.parent / "lock").exists()
