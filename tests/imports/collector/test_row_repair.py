"""`data verify` on what image sets are found by, and `--repair`, which makes it anew from what they show."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, update

from lightwell.domain.integrity import FaultKind, Problem
from lightwell.domain.qido.grams import keyword_of_gram
from lightwell.stores.db import tables as t
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.qido.grams import Of, grams_of
from lightwell.work.verifying.repair import Repairs
from lightwell.work.verifying.row_repair import rebuild_rows
from lightwell.work.verifying.run import Mode, Verifier
from tests.support import invariants
from tests.support.collector import living
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing


@pytest.fixture
def two(server: Importing) -> list[str]:
    """The ids of two image sets of two patients, one with letters of several alphabets in its names."""
    write_series(server.input / "a", 3, SeriesDescription="Chest, thin")
    other = ct(
        1, study="2", PatientID="P2", SpecificCharacterSet="ISO_IR 192", PatientName="Łukasz=山田^太郎"
    )
    write(server.input / "b" / "x.dcm", other)
    for folder in ("a/", "b/"):
        server.run(folder)
    return living(server)


def execute(server: Importing, *statements: Any) -> None:
    def work(conn: Connection) -> None:
        for statement in statements:
            conn.execute(statement)

    server.stores.db.write(work)


def rows(server: Importing) -> list[set[Any]]:
    with server.stores.db.read() as conn:
        return [set(conn.execute(select(each)).all()) for each in (t.image_set, t.primary_series, t.study)]


def found(server: Importing, mode: Mode = "quick") -> list[Problem]:
    run = Verifier(server.stores, server.settings, lambda done, total: None, mode=mode, processes=1)
    return run.run(from_start=True).problems


def lose(server: Importing, of: Of, key: int, row: Any, keyword: str) -> None:
    """Take the grams of an attribute out of the index."""
    every = grams_of(of, dict(row)).split()
    some = [gram for gram in every if keyword_of_gram(gram) == keyword]
    left = " ".join(gram for gram in every if gram not in some)
    assert some and left

    def work(conn: Connection) -> None:
        if conn.dialect.name == "sqlite":
            remove = f"INSERT INTO {of}_grams ({of}_grams, rowid, grams) VALUES ('delete', ?, ?)"
            conn.exec_driver_sql(remove, (key, " ".join(some)))
        else:
            change = f"UPDATE {of}_grams SET grams = array_to_tsvector(string_to_array(%s, ' '))"
            conn.exec_driver_sql(f"{change} WHERE {of} = %s", (left, key))

    server.stores.db.write(work)


def lose_some(server: Importing) -> None:
    with server.stores.db.read() as conn:
        studies = conn.execute(select(t.study)).mappings().all()
        series = conn.execute(select(t.primary_series)).mappings().all()
    for row in studies:
        lose(server, "study", row["key"], row, "PatientName")
    for row in series:
        lose(server, "series", row["image_set"], row, "Modality")


def test_finds_and_puts_right_texts_of_which_parts_are_not_found(server: Importing, two: list[str]) -> None:
    """The rows are right, and what leads to them is not."""
    lose_some(server)
    problems = found(server)
    assert sorted({problem.reason.split(":")[0] for problem in problems}) == [
        "parts of Modality of its series do not find it",
        "parts of PatientName of its study do not find it",
    ]
    assert {(problem.image_set_id, problem.patient_id) for problem in problems} == {
        *zip(two, ("P1", "P2"), strict=True)
    }
    done = Repairs()
    rebuild_rows(server.stores, problems, done)
    assert (sorted(done.rebuilt), done.failed) == (sorted(two), {})
    assert found(server) == []
    invariants.check(server.stores)
    # What is deleted leaves nothing behind, although grams were added one by one.
    lose_some(server)


def test_makes_everything_anew_that_sets_are_found_by(server: Importing, two: list[str]) -> None:
    right = rows(server)
    lose_some(server)
    execute(
        server,
        update(t.image_set).values(patient_name="WRONG", instance_count=9, modality=None, further='{"x":1}'),
        update(t.primary_series).where(t.primary_series.c.modality == "CT").values(modality="MR"),
        update(t.primary_instance).values(
            number=t.primary_instance.c.number + 7, instance=t.primary_instance.c.instance + 1000
        ),
        update(t.study).values(patient_id="WRONG", series_count=9),
    )
    done, told = Repairs(), list[str]()
    rebuild_rows(server.stores, found(server, "all"), done, told.append)
    assert (sorted(told), done.failed) == (sorted(two), {})
    assert found(server, "all") == []
    assert rows(server) == right
    invariants.check(server.stores)
    execute(server, delete(t.primary_series), delete(t.primary_instance))
    rebuild_rows(server.stores, found(server), done)
    invariants.check(server.stores)


def test_makes_nothing_anew_of_what_is_in_doubt(server: Importing, two: list[str]) -> None:
    """One shows the other's patient, and what searches find is right by chance."""
    execute(server, update(t.primary_series).values(modality="MR"))
    with server.stores.db.read() as conn:
        of = {id: key for id, key in conn.execute(select(t.image_set.c.id, t.image_set.c.key))}
    patient = select(t.level.c.base).where(t.level.c.image_set == of[two[1]], t.level.c.level == 0)
    execute(
        server,
        update(t.level)
        .where(t.level.c.image_set == of[two[0]], t.level.c.level == 0)
        .values(base=patient.scalar_subquery()),
    )
    problems = found(server)
    reason = "version 1 shows a patient that none of its instances came with"
    assert reason in {problem.reason for problem in problems if problem.image_set_id == two[0]}
    of_instance = Problem("damaged", "", two[1], "1.2.3")
    done = Repairs()
    rebuild_rows(server.stores, [*problems, of_instance], done)
    assert done.rebuilt == [] and sorted(done.failed) == sorted(two)
    assert reason in done.failed[two[0]] and "instances are damaged" in done.failed[two[1]]
    with server.stores.db.read() as conn:
        assert set(conn.execute(select(t.primary_series.c.modality)).scalars()) == {"MR"}


def test_makes_nothing_anew_whose_originals_were_not_compared(sqlite: Importing) -> None:
    """A pack that is missing, could not be read, or has no key is a problem of the pack alone."""
    write_series(sqlite.input / "a", 2)
    write(sqlite.input / "b" / "x.dcm", ct(1, study="2", PatientID="P2"))
    for folder in ("a/", "b/"):
        sqlite.run(folder)
    execute(sqlite, update(t.image_set).values(patient_name="WRONG"))
    problems = found(sqlite)
    with sqlite.stores.db.read() as conn:
        of_pack = select(t.image_set.c.id, t.record.c.pack).select_from(
            t.member.join(t.image_set, t.image_set.c.key == t.member.c.image_set).join(
                t.record, t.record.c.key == t.member.c.record
            )
        )
        packs = {id: pack for id, pack in conn.execute(of_pack)}
    one, other = packs
    assert packs[one] != packs[other]
    # It names none of the sets that it concerns: of many, only the first are named.
    of_whole = Problem("could not be read", pack=pack_name(packs[one]), kind=FaultKind.UNREADABLE)
    done = Repairs()
    rebuild_rows(sqlite.stores, [*problems, of_whole], done)
    assert done.rebuilt == [other] and "were not compared" in done.failed[one]


def doubtful(server: Importing) -> dict[str, str]:
    """What ``--repair`` leaves as it is, by PatientID, after it has changed nothing."""
    before, done = rows(server), Repairs()
    rebuild_rows(server.stores, found(server), done)
    assert done.rebuilt == [] and rows(server) == before
    with server.stores.db.read() as conn:
        patients = {id: of for id, of in conn.execute(select(t.image_set.c.id, t.image_set.c.patient_id))}
    return {patients[id]: reason for id, reason in done.failed.items()}


def of_patient(id: str, **values: Any) -> Any:
    return update(t.image_set).where(t.image_set.c.patient_id == id).values(**values)


def test_puts_no_series_into_a_study_and_hides_none_because_a_row_says_so(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "x.dcm", ct(1, study="1", PatientID="RIGHT"))
    write(sqlite.input / "b" / "x.dcm", ct(1, study="1", series="2", PatientID="OTHER"))
    write(sqlite.input / "c" / "x.dcm", ct(1, study="2", PatientID="THIRD"))
    for folder in ("a/", "b/", "c/"):
        sqlite.run(folder)
    assert found(sqlite) == []
    execute(sqlite, of_patient("OTHER", is_primary=True), of_patient("THIRD", is_primary=False))
    reasons = doubtful(sqlite)
    assert reasons.keys() == {"RIGHT", "OTHER", "THIRD"}
    assert all("has another PatientID, StudyDate" in reasons[of] for of in ("RIGHT", "OTHER"))
    assert "nothing proves it" in reasons["OTHER"] and "nothing proves either" in reasons["THIRD"]
    # Also where the index has come to agree, as an earlier --repair made it, and where it is lost.
    execute(
        sqlite, of_patient("THIRD", is_primary=True), delete(t.primary_series), delete(t.primary_instance)
    )
    done = Repairs()
    rebuild_rows(sqlite.stores, found(sqlite), done)
    assert len(done.rebuilt) == 1 and len(done.failed) == 2  # nothing else is in THIRD's study
    with sqlite.stores.db.read() as conn:
        series = t.primary_series.join(t.image_set, t.image_set.c.key == t.primary_series.c.image_set)
        shown = conn.execute(select(t.image_set.c.patient_id).select_from(series)).scalars()
        assert list(shown) == ["THIRD"]


def test_makes_a_study_anew_of_which_all_sets_are_lost_to_the_index(sqlite: Importing) -> None:
    for number in range(1, 4):
        write(sqlite.input / "a" / f"{number}.dcm", ct(number, series=str(number)))
    sqlite.run("a/")
    right = rows(sqlite)
    execute(sqlite, delete(t.primary_series), update(t.study).values(series_count=9))
    done = Repairs()
    rebuild_rows(sqlite.stores, found(sqlite), done)
    assert (len(done.rebuilt), done.failed) == (3, {})
    assert rows(sqlite) == right and found(sqlite) == []
    invariants.check(sqlite.stores)


def test_takes_no_set_for_primary_that_only_its_own_row_calls_so(sqlite: Importing) -> None:
    """Its index is lost, and so might be that of the other set of the series. Its study stays as it is."""
    write(sqlite.input / "a" / "x.dcm", ct(1, PatientID="P1"))
    write(sqlite.input / "b" / "x.dcm", ct(2, PatientID="P1", SeriesNumber=7))
    for folder in ("a/", "b/"):
        sqlite.run(folder)
    execute(sqlite, delete(t.primary_series))
    done = Repairs()
    rebuild_rows(sqlite.stores, found(sqlite), done)  # its instances are in the index yet
    assert len(done.rebuilt) == 1 and found(sqlite) == []
    execute(sqlite, delete(t.primary_series), delete(t.primary_instance))
    assert "nothing proves it" in doubtful(sqlite)["P1"]
    execute(sqlite, update(t.image_set).where(t.image_set.c.is_primary).values(origin="copy"))
    assert "it is a copy that was not promoted" in doubtful(sqlite)["P1"]
