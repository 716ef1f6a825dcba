"""What each run of `data verify` has found, with others under way, and what is forgotten at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from lightwell.domain.events import EventHeader
from lightwell.domain.integrity import FaultKind
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.stores.integrity import faults, runs
from lightwell.stores.integrity.faults import Fault
from lightwell.stores.integrity.runs import Run
from lightwell.work.verifying.run import TakenOver, Verifier
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW

PACK = Fault(place="packs/ab", reason="its checksum differs", pack=3)
SET = Fault(place="image set x", reason="a search does not find it", image_set=5)


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    found.close()


def header(datastore_id: str) -> EventHeader:
    raise AssertionError("of no data store")


def note(stores: Stores, at: int, *found: Fault, run: Run | None = None) -> None:
    for each in found:
        fault = Fault(
            place=each.place, reason=each.reason, kind=each.kind, pack=each.pack, image_set=each.image_set,
            run=None if run is None else run.key,
        )  # fmt: skip
        stores.db.write(lambda conn, fault=fault: faults.note(conn, fault, at, header, []))  # type: ignore[misc]


def begin(stores: Stores, key: int, mode: str, at: int) -> Run:
    return stores.db.write(lambda conn: runs.begin(conn, key, mode, at))


def found_by(stores: Stores, run: Run) -> list[str]:
    with stores.db.read() as conn:
        return sorted(fault.reason for fault in faults.known(conn, run.key, "", 10))


def known(stores: Stores) -> list[str]:
    place = tables.integrity_fault.c.place
    with stores.db.read() as conn:
        found = conn.execute(select(place).where(tables.integrity_fault.c.run.is_(None)))
        return sorted(found.scalars())


def end(stores: Stores, run: Run) -> None:
    stores.db.write(lambda conn: runs.drop_healed(conn, run, everything=True))


def test_a_run_takes_nothing_from_what_another_has_found(stores: Stores) -> None:
    note(stores, NOW - 50, PACK, SET)
    thorough = begin(stores, 1, "all", NOW)
    note(stores, NOW + 1, PACK, SET, run=thorough)
    of_server = begin(stores, 2, "regular", NOW + 2)
    note(stores, NOW + 3, PACK, SET, run=of_server)
    both = sorted([PACK.reason, SET.reason])
    end(stores, of_server)
    assert found_by(stores, thorough) == found_by(stores, of_server) == both
    end(stores, thorough)
    assert found_by(stores, thorough) == both and known(stores) == [SET.place, PACK.place]


def test_forgets_what_nobody_has_found_again(stores: Stores) -> None:
    note(stores, NOW - 50, PACK, SET)
    thorough = begin(stores, 1, "all", NOW)
    other = begin(stores, 2, "quick", NOW + 1)
    note(stores, NOW + 2, SET, run=other)
    end(stores, thorough)
    assert known(stores) == [SET.place]
    end(stores, begin(stores, 3, "all", NOW + 10))
    assert known(stores) == []


def test_does_not_forget_what_it_could_not_look_at(stores: Stores) -> None:
    note(stores, NOW - 50, PACK)
    run = begin(stores, 1, "all", NOW)
    closed = Fault(place="packs/ab without-key", reason="no key", kind=FaultKind.WITHOUT_KEY, pack=PACK.pack)
    note(stores, NOW + 1, closed, run=run)
    end(stores, run)
    assert known(stores) == [PACK.place, closed.place] and found_by(stores, run) == ["no key"]


def test_a_run_that_was_given_up_reports_nothing_rather_than_all_is_well(stores: Stores) -> None:
    given_up = Verifier(stores, Settings(), lambda done, total: None, mode="quick")
    given_up.begin()
    assert given_up._run is not None
    note(stores, NOW + 1, PACK, run=given_up._run)
    begin(stores, 2, "quick", NOW + 2)
    assert found_by(stores, given_up._run) == [] and known(stores) == [PACK.place]
    with pytest.raises(TakenOver, match="was given up"):
        given_up.report()
    given_up.close()
