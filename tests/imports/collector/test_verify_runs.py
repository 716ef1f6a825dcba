"""Runs of `data verify`: gone on with after an interruption, paced, of servers; and what they compare."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from lightwell.clock import Clock
from lightwell.domain.image_sets.frame_table import pack_entries, unpack_entries
from lightwell.domain.integrity import FaultKind
from lightwell.stores.db import tables
from lightwell.stores.integrity import runs
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.work.verifying.pace import Pace
from lightwell.work.verifying.regular import RegularVerifying
from lightwell.work.verifying.report import Report
from lightwell.work.verifying.run import Mode, TakenOver, Verifier
from tests.encryption.pack_files import place_of
from tests.support.collector import living
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing


def verifier(server: Importing, mode: Mode = "all") -> Verifier:
    return Verifier(server.stores, server.settings, lambda done, total: None, mode=mode, processes=1)


def execute(server: Importing, statement: Any) -> None:
    server.stores.db.write(lambda conn: conn.execute(statement))


def turn_a_bit(server: Importing, name: str, offset: int) -> None:
    path = server.settings.data / "objects" / name
    data = bytearray(path.read_bytes())
    data[place_of(server.stores, name, offset)] ^= 1
    path.write_bytes(data)


@pytest.fixture
def made(server: Importing) -> str:
    """An image set of two slices, with a picture of its document in the cache."""
    write_series(server.input / "a", 2)
    server.run("a/")
    (id,) = living(server)
    return id


@pytest.fixture
def made_there(sqlite: Importing) -> str:
    """The same, on SQLite alone."""
    write_series(sqlite.input / "a", 1)
    sqlite.run("a/")
    (id,) = living(sqlite)
    return id


def shown(report: Report) -> tuple[Any, ...]:
    counts = (
        report.packs,
        report.instances,
        report.frames,
        report.image_sets,
        report.bytes,
        report.documents,
    )
    return counts, report.strays, sorted((p.reason, p.image_set_id or "") for p in report.problems)


@pytest.mark.long
def test_goes_on_where_it_was_interrupted_and_finds_the_same(server: Importing, made: str) -> None:
    for number in range(6):
        write(server.input / f"b{number}" / "x.dcm", ct(number, study=f"7{number}", PatientID=f"B{number}"))
        server.run(f"b{number}/")
    packs = sorted(name for name, _ in server.stores.objects.list("packs"))
    for name in packs[1::2]:
        turn_a_bit(server, name, 40)
    execute(server, update(tables.image_set).values(patient_sex="X"))
    expected = shown(verifier(server).run(from_start=True))
    assert len(expected[-1]) > 10

    class Killed(BaseException):
        pass

    # After each transaction, and before it, when its part is done and not kept.
    runs_of, steps, is_over = 0, 0, False
    while not is_over:
        for is_kept in (False, True):
            run = verifier(server)
            run.begin(from_start=not steps and not is_kept)
            assert run.is_resumed == (steps > 0)
            if is_kept:
                is_over = run.step()
                steps += 1
            else:
                run._keep = killed(Killed)  # type: ignore[method-assign]
                with pytest.raises(Killed):
                    run.step()
            run.close()
            runs_of += 1
    assert steps > 4
    again = shown(run.report())
    assert again[:2] == expected[:2] and set(again[2]) ^ set(expected[2]) == set()
    assert again == expected
    # The next one begins anew.
    anew = verifier(server)
    assert shown(anew.run()) == expected and not anew.is_resumed


def killed(error: type[BaseException]) -> Callable[..., None]:
    def keep(*given: object) -> None:
        raise error

    return keep


def test_leaves_a_run_to_who_went_on_with_it_last(server: Importing, made: str) -> None:
    first, second = verifier(server), verifier(server)
    first.begin()
    first.step()
    second.begin()
    assert second.is_resumed
    with pytest.raises(TakenOver, match="Another process"):
        first.step()
    while not second.step():
        pass
    assert second.report().problems == []
    first.close()
    second.close()


def test_a_server_leaves_a_run_alone_that_a_clock_slightly_ahead_has_seen(
    sqlite: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = sqlite
    settings = replace(server.settings, verify_days=30)
    clock = Moved()
    regular = RegularVerifying(server.stores, settings, clock, threading.Event())
    monkeypatch.setattr("lightwell.work.verifying.run.Verifier.begin", killed(Took))
    run = server.stores.db.write(lambda conn: runs.begin(conn, 5, "regular", Clock().now()))
    for ahead, is_taken in ((30_000, False), (-300_000, False), (120_000, True), (-700_000, True)):
        clock.by = run.seen_at - ahead
        regular._not_before = 0.0
        if is_taken:
            with pytest.raises(Took):
                regular.step()
        else:
            regular.step()
    regular.close()


class Took(Exception):
    pass


class Moved(Clock):
    by = 0

    def now(self) -> int:
        return self.by


def test_says_whose_study_is_concerned(server: Importing, made: str) -> None:
    (name,) = [name for name, _ in server.stores.objects.list("packs")]
    turn_a_bit(server, name, 30)
    with server.stores.db.read() as conn:
        row = conn.execute(select(tables.image_set)).one()
    quick = verifier(server, "quick").run().problems
    (store,) = {problem.concerns[0][0] for problem in quick}
    assert [problem.concerns for problem in quick] == [
        ((store, made, row.patient_id, row.study_instance_uid),)
    ]
    of_instance = [p for p in verifier(server).run().problems if p.sop_instance_uid]
    assert {(p.image_set_id, p.patient_id, p.study_instance_uid) for p in of_instance} == {
        (made, row.patient_id, row.study_instance_uid)
    }
    assert row.patient_id and row.study_instance_uid


@pytest.mark.long
def test_forgets_what_is_whole_again(server: Importing, made: str) -> None:
    (name,) = [name for name, _ in server.stores.objects.list("packs")]
    turn_a_bit(server, name, 30)
    assert verifier(server).run().problems
    turn_a_bit(server, name, 30)
    assert verifier(server).run().problems == []
    with server.stores.db.read() as conn:
        is_known = tables.integrity_fault.c.run.is_(None)
        assert conn.execute(select(tables.integrity_fault).where(is_known)).all() == []


T = tables
DAMAGES = {
    "width": (update(T.pixels).values(width=77), "the size of its frames in the database differs"),
    "image": (update(T.pixels).values(image=b"{"), "the description of its pixels cannot be read"),
    "instance_number": (update(T.record).values(instance_number=99), "its SOP class or number"),
    "sop_class_uid": (update(T.record).values(sop_class_uid="1.2"), "its SOP class or number"),
    "sop_instance_uid": (update(T.record).values(sop_instance_uid="1.2"), "its original is that of another"),
    "instance": (
        update(T.instance).values(sop_instance_uid=T.instance.c.sop_instance_uid + "9"),
        "members name the records of other",
    ),
    "version": (delete(T.version), "versions [1] are missing"),
    "series": (update(T.primary_series).values(modality="XX"), "modality of its series in DICOMweb's index"),
    "no series": (delete(T.primary_series), "DICOMweb does not find it"),
    "index": (
        update(T.primary_instance).values(number=T.primary_instance.c.number + 5),
        "number of an instance in DICOMweb's index",
    ),
    "index of others": (
        update(T.primary_instance).values(instance=T.primary_instance.c.instance + 1000),
        "2 instances in DICOMweb's index are not its own",
    ),
    "no index": (delete(T.primary_instance), "2 of its instances are not in DICOMweb's index"),
    "study": (update(T.study).values(patient_name="WRONG"), "patient_name of its study in DICOMweb's index"),
    "count": (update(T.study).values(instance_count=9), "instance_count of its study in DICOMweb's index"),
    "no study": (delete(T.study), "its study is lost"),
    "column": (update(T.image_set).values(accession_number="WRONG"), "a search by accession_number"),
    "further": (
        update(T.image_set).values(further='{"Manufacturer":"WRONG"}'),
        "a search by Manufacturer does not find",
    ),
    "series uid": (update(T.image_set).values(series_instance_uid="1.2"), "SeriesInstanceUID of the image"),
    "listed": (update(T.image_set).values(listed_in=None), "searches do not find it in its data store"),
    "first": (update(T.primary_series).values(performed_day="20200101"), "performed_day of its series"),
    "frames": (update(T.member).values(pixels=T.member.c.pixels + 1), "members show other pixels than"),
    "syntax": (update(T.pixels).values(stored_syntax="1.2.840.10008.1.2.4.50"), "not one of those it can be"),
}  # fmt: skip


@pytest.mark.long
def test_finds_each_wrong_row(server: Importing, made: str) -> None:
    """One after the other in one store, each with what was there before put back."""
    kept = {}
    with server.stores.db.read() as conn:
        for table in {statement.table for statement, _ in DAMAGES.values()}:
            kept[table] = [dict(row._mapping) for row in conn.execute(select(table))]
    for name, (statement, reason) in DAMAGES.items():
        execute(server, statement)
        found = {problem.reason for problem in verifier(server).run().problems}
        assert any(reason in each for each in found), f"{name}: {found}"
        table = statement.table
        execute(server, delete(table))
        execute(server, insert(table).values(kept[table]))
    assert verifier(server).run().problems == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("bits_stored", 12), ("photometric", "RGB"), ("frames", 2), ("original_syntax", "1.2")],
)
def test_finds_a_description_of_frames_that_is_not_the_original_s(
    sqlite: Importing, made_there: str, field: str, value: object
) -> None:
    with sqlite.stores.db.read() as conn:
        image = json.loads(conn.execute(select(T.pixels.c.image)).scalars().first() or b"")
    assert image[field] != value
    execute(sqlite, update(T.pixels).values(image=json.dumps({**image, field: value}).encode()))
    found = {problem.reason for problem in verifier(sqlite).run().problems}
    assert f"the description of its pixels in the database differs from its original: {field}" in found


def test_takes_a_number_that_no_column_holds_for_none(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "x.dcm", ct(1, InstanceNumber="99999999999"))
    sqlite.run("a/")
    assert verifier(sqlite).run().problems == []


def test_finds_wrong_least_and_greatest_values(server: Importing, made: str) -> None:
    with server.stores.db.read() as conn:
        entries = conn.execute(select(tables.frame_table.c.entries)).scalars().first()
    (frame,) = unpack_entries(entries or b"")
    assert frame.high is not None
    wrong = pack_entries([replace(frame, high=frame.high + 1)])
    one = tables.frame_table.c.entries == entries
    execute(server, update(tables.frame_table).where(one).values(entries=wrong))
    (problem,) = verifier(server).run().problems
    assert "other least and greatest values" in problem.reason


@pytest.mark.long
def test_drops_damaged_documents_and_says_so(server: Importing, made: str) -> None:
    documents = server.stores.documents
    with server.stores.db.read() as conn:
        key = conn.execute(select(tables.image_set.c.key)).scalar_one()
    documents.put(key, 1, 3, "json.gz", b"document" * 50)
    (path,) = documents.root.glob("*/*/*")
    documents.put(key, 1, 4, "json.gz", b"document" * 50)
    report = verifier(server).run()
    assert (report.documents, report.problems) == (2, [])
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    cut_off = path.parent / ".left-by-a-kill"
    cut_off.write_bytes(data[:20])
    (problem,) = verifier(server).run().problems
    assert "cached document" in problem.reason and not path.exists()
    assert problem.kind is FaultKind.DROPPED and cut_off.exists()
    assert documents.get(key, 1, 4, "json.gz") == b"document" * 50


@pytest.mark.long
def test_counts_packs_that_nothing_names(server: Importing, made: str) -> None:
    server.stores.objects.put(pack_name(0xABC), b"left")
    old = replace(server.settings, collect_grace=-60)
    run = Verifier(server.stores, old, lambda done, total: None)
    assert run.run().strays == 1


@pytest.mark.long
def test_decodes_another_hundredth_with_each_run(server: Importing, made: str) -> None:
    with server.stores.db.read() as conn:
        keys = list(conn.execute(select(tables.pixels.c.key)).scalars())
    decoded = []
    for _ in range(3):
        run = verifier(server, "sample")
        run.begin()
        number = run._run.number if run._run else -1
        while not run.step():
            pass
        decoded.append((run.report().frames, sum((key + 1) % 100 == number % 100 for key in keys)))
        run.close()
    assert all(frames == expected for frames, expected in decoded)
    assert verifier(server, "all").run().frames == 2 and verifier(server, "quick").run().frames == 0


def test_reads_at_the_rate_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = [100.0], []

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            now[0] += timeout or 0.0
            return False

    monkeypatch.setattr("lightwell.work.verifying.pace.time.monotonic", lambda: now[0])
    paced = Pace(10e6, Stopping())
    for _ in range(5):
        paced.spend(20_000_000)
        now[0] += 0.5  # what the reading itself takes
    assert sum(waits) == pytest.approx(4 * 1.5)
    Pace(None, Stopping()).spend(10**12)
    assert sum(waits) == pytest.approx(4 * 1.5)


@pytest.mark.long
def test_is_run_by_a_server_when_it_is_due(server: Importing, made: str) -> None:
    class Later(Clock):
        days = 29

        def now(self) -> int:
            return super().now() + self.days * 86_400_000

    clock = Later()
    regular = RegularVerifying(server.stores, server.settings, clock, threading.Event())

    def finished() -> list[str]:
        with server.stores.db.read() as conn:
            t = tables.integrity_run.c
            return list(conn.execute(select(t.mode).where(t.finished_at.is_not(None))).scalars())

    regular.step()
    assert finished() == []
    clock.days = 31
    for _ in range(30):
        regular._not_before = 0.0
        regular.step()
        if finished():
            break
    assert finished() == ["regular"]
    # It is over for as long, counted from when it ended by the other clock.
    regular._not_before = 0.0
    clock.days = 29
    regular.step()
    assert finished() == ["regular"]
    regular.close()
