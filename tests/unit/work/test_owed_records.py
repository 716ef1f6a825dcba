"""What a process owes its audit trail is written by whoever finds it gone, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from lightwell.clock import Clock, Ids
from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.search import Wanted, search
from lightwell.observe.audit.trail import AuditTrail, TrailOptions
from lightwell.stores.background.records import BackgroundRecords, Debtor
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.data_folder.node import Node
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import audit_owed
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
        self.records = BackgroundRecords(self.trail, lambda: now or clock.now(), Debtor(Node(data), Ids().id))
        self.owed = OwedRecords(OwedPlaces(db, folder, self.trail, clock), self.records)

    def do(self, image_set: str, *, dies: bool = False) -> None:
        """Make a version; one that dies then has not put it on record."""
        record = AuditRecord(operation="ImportIntoImageSet", image_set=image_set, version=1, number=7)
        owed = self.db.write(lambda conn: self.records.owe(conn, [record]))
        if not dies:
            self.records.put_owed(owed)

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
