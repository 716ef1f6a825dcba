"""Searching studies, series and instances: what is found, in which order, and by which index."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, update

from lightwell.domain.qido.attributes import MATCH_KEYS
from lightwell.domain.qido.criteria import (
    INSTANCE,
    SERIES,
    STUDY,
    AllOf,
    AnyOf,
    Empty,
    Match,
    QidoCriteria,
    Range,
    Wildcard,
    Words,
    fold,
)
from lightwell.domain.qido.results import COLUMNS
from lightwell.stores import Stores
from lightwell.stores.account.datastores import DatastoreGoneError
from lightwell.stores.db import tables
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import migrate
from lightwell.stores.qido import conditions, search
from lightwell.stores.qido import index as qido_index
from lightwell.stores.qido.at_once import search_at_once
from lightwell.stores.qido.search import Hit
from tests.support import image_set_builders, services
from tests.support.image_set_builders import NOW, BuiltInstance

_NAMES = ["DOE^JANE", "Müller^Zoë Ann", "Yamada^Tarou=山田^太郎", None, "doe^jack"]
_TEXTS = ["A1", "a1", "A12", "50%_[x]", "B\\", None]
_SERIES_TEXTS = (
    *("Manufacturer", "InstitutionName", "StationName", "SeriesDescription", "ManufacturerModelName"),
    "ProtocolName",
)
_OVERLONG = "x" * 600
_ID = "b" * 32
_overlong: set[tuple[object, str]] = set()  # UIDs and keywords
_SEVERAL_NAMES = ("NameOfPhysiciansReadingStudy", "OperatorsName", "PerformingPhysicianName")
_UIDS = {STUDY: "StudyInstanceUID", SERIES: "SeriesInstanceUID", INSTANCE: "SOPInstanceUID"}


def _built(stores: Stores) -> int:
    """Studies with few values in every attribute, so that all kinds of matches meet some of them."""
    chance = random.Random(3)
    store = stores.db.write(lambda conn: image_set_builders.datastore(conn, id=_ID))
    keys = []
    for n in range(30):
        study = {
            "StudyInstanceUID": f"1.{n}",
            "StudyDate": chance.choice(["20240101", "20240102", "2024.02.01", "soon", None]),
            "StudyTime": chance.choice(["10", "101112.5", "235959", "late", None]),
            "AccessionNumber": chance.choice(_TEXTS),
            "ReferringPhysicianName": chance.choice(_NAMES),
            "StudyDescription": chance.choice(_TEXTS),
            "StudyID": chance.choice(_TEXTS),
            "NameOfPhysiciansReadingStudy": chance.choice(
                [*_NAMES, ["Roe^Ann", "DOE^JANE"], "^^", ["^", "x"]]
            ),
        }
        patient = {
            "PatientID": chance.choice(_TEXTS),
            "PatientName": chance.choice(_NAMES),
            "PatientBirthDate": chance.choice(["19800229", None]),
            "PatientBirthTime": chance.choice(["0405", None]),
            "PatientSex": chance.choice(["F", "M", None]),
            "IssuerOfPatientID": chance.choice([*_TEXTS, _OVERLONG]),
        }
        for number in range(chance.randint(1, 2)):
            requests = [{"ScheduledProcedureStepID": chance.choice(_TEXTS), "RequestedProcedureID": "R"}]
            series = {
                "SeriesInstanceUID": f"1.{n}.{number}",
                "Modality": chance.choice(["CT", "MR", None]),
                "SeriesNumber": chance.choice(["1", "2", "10", "none", None]),
                "RequestAttributesSequence": chance.choice([requests, [*requests, {}], None]),
                "SeriesDate": chance.choice(["20240101", "20240102", "soon", None]),
                "SeriesTime": chance.choice(["101112.5", "late", None]),
                "BodyPartExamined": chance.choice(["CHEST", "HEAD", None]),
                "Laterality": chance.choice(["L", "R", None]),
                "OperatorsName": chance.choice(
                    [*_NAMES, ["Roe^Ann", "DOE^JANE"], ["doe^jane", "Zoe^X", "Z"]]
                ),
                "PerformingPhysicianName": chance.choice([*_NAMES, ["Roe^Ann", "Zoe"], "^"]),
                **{keyword: chance.choice([*_TEXTS, _OVERLONG]) for keyword in _SERIES_TEXTS},
            }
            performed = {
                "PerformedProcedureStepStartDate": chance.choice(["20240101", None]),
                "PerformedProcedureStepStartTime": chance.choice(["1011", None]),
            }
            instances = [
                BuiltInstance(f"1.{n}.{number}.{i}", chance.choice([1, 2, None]), dicom=_present(performed))
                for i in range(chance.randint(1, 3))
            ]
            built = image_set_builders.image_set(
                stores,
                instances,
                store=store,
                patient=_present(patient),
                study=_present(study),
                series=_present(series),
                created_at=NOW + number,
                updated_at=NOW + n,
            )
            keys.append((built.key, NOW + chance.randrange(10)))
            for block, uid in ((patient, f"1.{n}"), (series, f"1.{n}.{number}")):
                _overlong.update((uid, name) for name, text in block.items() if text == _OVERLONG)

    def index(conn: Connection) -> None:
        for key, now in keys:
            qido_index.add_set(conn, key, now)

    stores.db.write(index)
    return store[0]


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stores, int]]:
    folder: Path = tmp_path_factory.mktemp("archive")

    def opened(url: str) -> tuple[Stores, int]:
        db = Database(url)
        migrate(db)
        db.close()
        stores = image_set_builders.open_at(folder, url)
        return stores, _built(stores)

    if request.param == "sqlite":
        found = opened(f"sqlite:///{folder / 'lightwell.db'}")
        yield found
        found[0].close()
        return
    with services.new_database(request.getfixturevalue("postgres_server")) as url:
        found = opened(url)
        yield found
        found[0].close()


_seen: set[type] = set()
_REQUESTED: dict[str, tuple[str, ...]] = {
    STUDY: ("IssuerOfPatientID",),
    SERIES: ("IssuerOfPatientID", "Manufacturer"),
    INSTANCE: (),
}


def found(archive: tuple[Stores, int], criteria: QidoCriteria, id: str = _ID) -> search.HitPage:
    """What `search` finds; asserts that one statement finds the same, if it can do, with all values."""
    stores, store = archive
    requested = _REQUESTED[criteria.level]
    with stores.db.read() as conn:
        result = search.search(conn, store, criteria, requested)
        if stores.db.selects_at_once:
            at_once = search_at_once(stores.db.select_at_once, (store, id), criteria, requested)
            if isinstance(at_once, search.Many):
                _seen.add(search.Many)
                assert search.search(conn, store, criteria, requested, at_once) == result
            elif at_once is not None:
                _seen.add(search.HitPage)
                assert at_once == result
    return result


def _everything(archive: tuple[Stores, int], level: str) -> list[Hit]:
    """All, with all that they show."""
    stores, store = archive
    order = [STUDY, SERIES, INSTANCE]
    requested = tuple(
        column.keyword
        for column in COLUMNS.values()
        if column.if_matched and order.index(column.level) <= order.index(level)
    )
    with stores.db.read() as conn:
        result = search.search(conn, store, QidoCriteria(level), requested)
    assert result.remaining == 0
    return result.hits


# What is found -------------------------------------------------------------------------------------------

_MATCHES: list[tuple[str, Match]] = [
    *((name, AnyOf((value,))) for name in ("AccessionNumber", "PatientID", "StudyID", "StudyDescription")
      for value in ("A1", "50%_[x]", "none")),
    *((name, Wildcard(pattern)) for name in ("AccessionNumber", "PatientID", "StudyDescription", "StudyID")
      for pattern in ("*1*", "A*", "?1", "*%_[*", "*\\", "A?2")),
    *((name, match) for name in ("PatientName", "ReferringPhysicianName") for match in (
        AnyOf(("doe^jane",)), AnyOf(("山田^太郎",)), Wildcard("*oe*"), Wildcard("muller*"), Wildcard("山?^*"),
        Words(("ann", "x")), Words(("tar",)), Words(("*an", "?o")), Words(("*a?", "j*k")), Words(("d*ja",)),
        Words(("?",)), Words(("*田",)), Wildcard("*^ja*"))),
    *((name, match) for name in ("StudyDate", "PatientBirthDate", "PerformedProcedureStepStartDate")
      for match in (AnyOf(("20240101",)), Range("20240102", None), Range(None, "20240101"),
                    Range("19800101", "20240131"))),
    *((name, match) for name in ("StudyTime", "PatientBirthTime", "PerformedProcedureStepStartTime")
      for match in (Range("100000.000000", "105959.999999"), Range("235959.000000", None))),
    ("ModalitiesInStudy", AnyOf(("MR",))), ("ModalitiesInStudy", AnyOf(("MR", "CT"))),
    ("ModalitiesInStudy", Wildcard("M*")), ("Modality", AnyOf(("CT", "XX"))), ("Modality", Wildcard("?R")),
    ("StudyInstanceUID", AnyOf(("1.3", "1.4", "9"))), ("SeriesInstanceUID", AnyOf(("1.3.0",))),
    ("SOPInstanceUID", AnyOf(("1.3.0.0", "1.4.0.0"))), ("SOPClassUID", AnyOf(("1.2.840.10008.5.1.4.1.1.2",))),
    ("SeriesNumber", AnyOf(("10",))), ("InstanceNumber", AnyOf(("2",))), ("WarningReason", AnyOf(("45569",))),
    ("RequestAttributesSequence.ScheduledProcedureStepID", AnyOf(("A1",))),
    ("RequestAttributesSequence.ScheduledProcedureStepID", Wildcard("*_[?]")),
    ("RequestAttributesSequence.RequestedProcedureID", AnyOf(("R",))),
    *((name, match) for name in ("IssuerOfPatientID", *_SERIES_TEXTS) for match in (
        AnyOf(("A1",)), AnyOf(("50%_[x]",)), Wildcard("*1*"), Wildcard("?1"), Wildcard("*%_[*"),
        Wildcard("*\\"))),
    *((name, match) for name in _SEVERAL_NAMES for match in (
        AnyOf(("doe^jane",)), AnyOf(("山田^太郎",)), Wildcard("*oe*"), Words(("ann", "x")),
        Words(("*an", "?o")), Wildcard("*ann*jane*"), AllOf(("doe^jane", "roe^ann")),
        AllOf(("doe^jane", "zoe^x")), AllOf(("z", "x")))),
    ("ModalitiesInStudy", AllOf(("CT", "MR"))), ("ModalitiesInStudy", AllOf(("CT", "XX"))),
    ("PatientSex", AnyOf(("F",))), ("PatientSex", AnyOf(("F", "M"))), ("PatientSex", Wildcard("?")),
    ("BodyPartExamined", Wildcard("*E*T")), ("BodyPartExamined", AnyOf(("HEAD", "CHEST"))),
    ("Laterality", AnyOf(("L",))),
    ("SeriesDate", AnyOf(("20240101",))), ("SeriesDate", Range("20240102", None)),
    ("SeriesTime", Range("100000.000000", "105959.999999")),
    *((keyword, Empty()) for keyword in MATCH_KEYS),
]  # fmt: skip


def _meets(keyword: str, match: Match, hit: Hit) -> bool:
    shown = hit.values.get(keyword)
    if keyword.startswith("RequestAttributesSequence."):
        pairs = json.loads(str(hit.values["RequestAttributesSequence"] or "[]"))
        half = 0 if keyword.endswith("StepID") else 1
        if isinstance(match, Empty):
            return all(pair[half] is None for pair in pairs)
        return any(_meets_value(match, pair[half]) for pair in pairs if pair[half] is not None)
    vr = MATCH_KEYS[keyword].vr
    if isinstance(match, Empty):
        if shown is None:
            uid = hit.values[_UIDS[MATCH_KEYS[keyword].level]]
            return (uid, keyword) not in _overlong
        return (vr == "IS" and not str(shown).isdigit()) or (vr == "PN" and not str(shown).strip("^\\"))
    if shown is None:
        return False
    text = str(shown)
    if isinstance(match, AllOf):
        return all(_meets(keyword, AnyOf((value,)), hit) for value in match.values)
    if keyword in _SEVERAL_NAMES and "\\" in text:
        return any(
            _meets("PatientName", match, Hit(0, 0, None, 0, {"PatientName": name}))
            for name in text.split("\\")
        )
    if vr == "PN":
        whole = fold(text)
        if isinstance(match, Words):
            starts = [Wildcard(f"{word}*") for word in match.words]
            return any(_meets_value(each, word) for word in re.split("[ ^=]", whole) for each in starts)
        return any(_meets_value(match, each) for each in (whole, *whole.split("=")))
    if vr == "DA":
        text = text.replace(".", "")
        return text.isdigit() and _meets_value(match, text)
    if vr == "TM":
        digits, _, fraction = text.partition(".")
        return digits.isdigit() and _meets_value(match, f"{digits:0<6}.{fraction:0<6}")
    values = text.split("\\") if vr == "CS" and keyword == "ModalitiesInStudy" else [text]
    return any(_meets_value(match, value) for value in values)


def _meets_value(match: Match, value: str) -> bool:
    if isinstance(match, AnyOf):
        return value in match.values
    if isinstance(match, Range):
        return (match.low is None or value >= match.low) and (match.high is None or value <= match.high)
    assert isinstance(match, Wildcard)
    pattern = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in match.pattern)
    return re.fullmatch(pattern, value, re.DOTALL) is not None


def _key(hit: Hit) -> tuple[Any, ...]:
    return hit.study, hit.image_set, hit.instance


def _levels(*keywords: str) -> list[str]:
    order = [STUDY, SERIES, INSTANCE]
    return order[max(order.index(MATCH_KEYS[keyword].level) for keyword in keywords) :]


def test_knows_every_key() -> None:
    assert set(conditions.KEYWORDS) == MATCH_KEYS.keys()
    assert {keyword for keyword, _ in _MATCHES} == MATCH_KEYS.keys()


@pytest.mark.parametrize("few", [search.FEW, 1])
def test_finds_what_matches_and_nothing_else(
    archive: tuple[Stores, int], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With 1, and so many places only, both ways are gone from the start.
    monkeypatch.setattr(search, "FEW", few)
    monkeypatch.setattr(search, "_GROWTH", 2 if few == 1 else search._GROWTH)
    for level in (STUDY, SERIES, INSTANCE):
        every = _everything(archive, level)
        for keyword, match in _MATCHES:
            if level not in _levels(keyword):
                continue
            expected = [_key(hit) for hit in every if _meets(keyword, match, hit)]
            limit = 3 if few == 1 else 1000
            result = found(archive, QidoCriteria(level, matches={keyword: match}, limit=limit))
            assert [_key(hit) for hit in result.hits] == expected[:limit], (level, keyword, match)
            assert result.remaining in (max(0, len(expected) - limit), None)
    if archive[0].db.selects_at_once:
        assert _seen >= ({search.Many, search.HitPage} if few == 1 else {search.HitPage})


def test_finds_what_meets_two_conditions(archive: tuple[Stores, int]) -> None:
    chance = random.Random(1)
    for first, second in chance.sample(list(itertools.combinations(_MATCHES, 2)), 120):
        if first[0] == second[0]:
            continue
        level = _levels(first[0], second[0])[0]
        expected = [
            _key(hit) for hit in _everything(archive, level) if _meets(*first, hit) and _meets(*second, hit)
        ]
        result = found(archive, QidoCriteria(level, matches=dict((first, second))))
        assert [_key(hit) for hit in result.hits] == expected, (level, first, second)


# Order and pages -----------------------------------------------------------------------------------------


def test_orders_studies_by_their_last_change_newest_first(archive: tuple[Stores, int]) -> None:
    stores, _ = archive
    hits = _everything(archive, STUDY)
    with stores.db.read() as conn:
        rows = conn.exec_driver_sql("SELECT key, updated_at FROM study WHERE listed_in IS NOT NULL")
        changed = {key: at for key, at in rows}
    places = [(changed[hit.study], hit.values["StudyInstanceUID"]) for hit in hits]
    assert len(places) == 30
    assert places == sorted(places, key=lambda place: place, reverse=True)


def test_orders_series_and_instances_by_their_numbers(archive: tuple[Stores, int]) -> None:
    for level, keyword in ((SERIES, "SeriesNumber"), (INSTANCE, "InstanceNumber")):
        hits = _everything(archive, level)
        numbers = [str(hit.values[keyword]) for hit in hits]
        places = [
            (int(number) if number.isdigit() else 2**31, hit.values[_UIDS[level]])
            for hit, number in zip(hits, numbers, strict=True)
        ]
        assert places == sorted(places)


@pytest.mark.parametrize("level", [STUDY, SERIES, INSTANCE])
def test_pages_are_parts_of_the_whole(archive: tuple[Stores, int], level: str) -> None:
    for criteria in (
        QidoCriteria(level),
        QidoCriteria(level, matches={"PatientName": Wildcard("*oe*")}),
        QidoCriteria(level, matches={"StudyDate": Range("20240101", None)}),
    ):
        whole = [_key(hit) for hit in found(archive, criteria).hits]
        pages: list[Any] = []
        while True:
            page = found(archive, QidoCriteria(level, None, None, criteria.matches, 4, len(pages)))
            pages += [_key(hit) for hit in page.hits]
            assert page.remaining in (None, len(whole) - len(pages))
            if page.remaining == 0:
                break
        assert pages == whole
        assert found(archive, QidoCriteria(level, None, None, criteria.matches, 4, 1_000_000)).hits == []


def test_finds_below_a_study_and_a_series(archive: tuple[Stores, int]) -> None:
    every = _everything(archive, INSTANCE)
    for n in range(30):
        study = f"1.{n}"
        series = [hit for hit in _everything(archive, SERIES) if hit.values["StudyInstanceUID"] == study]
        below = found(archive, QidoCriteria(SERIES, study)).hits
        assert list(map(_key, below)) == list(map(_key, series))
        assert below[0].values["NumberOfStudyRelatedSeries"] == len(series)
        instances = {_key(hit) for hit in every if hit.values["StudyInstanceUID"] == study}
        of_study = found(archive, QidoCriteria(INSTANCE, study)).hits
        assert {_key(hit) for hit in of_study} == instances
        assert len(of_study) == below[0].values["NumberOfStudyRelatedInstances"]
        one = found(archive, QidoCriteria(INSTANCE, study, f"{study}.0")).hits
        assert [_key(hit) for hit in one] == [
            _key(hit) for hit in every if hit.values["SeriesInstanceUID"] == f"{study}.0"
        ]
        assert len(one) == one[0].values["NumberOfSeriesRelatedInstances"]
    for criteria in (
        QidoCriteria(SERIES, "9.9"),
        QidoCriteria(INSTANCE, "1.1", "9.9"),
        QidoCriteria(INSTANCE, "9.9", "1"),
    ):
        assert found(archive, criteria) == search.HitPage([], 0)


def test_finds_nothing_in_another_data_store(archive: tuple[Stores, int]) -> None:
    stores, store = archive
    # One whose texts have the same marks in the index.
    other = store + 36**3 if store + 36**3 < 2**63 else store - 36**3
    stores.db.write(lambda conn: image_set_builders.datastore(conn, key=other, id="c" * 32))
    for criteria in (QidoCriteria(STUDY), QidoCriteria(STUDY, matches={"PatientName": Wildcard("*oe*")})):
        assert found((stores, other), criteria, "c" * 32).hits == []
        assert found((stores, store), criteria).hits != []
        if stores.db.selects_at_once:
            stores.db.write(lambda conn: _set_status(conn, "DELETED"))
            with pytest.raises(DatastoreGoneError):
                found((stores, other), criteria, "c" * 32)
            stores.db.write(lambda conn: _set_status(conn, "ACTIVE"))


def _set_status(conn: Connection, status: str) -> None:
    conn.execute(update(tables.datastore).where(tables.datastore.c.id == "c" * 32).values(status=status))


# Indexes -------------------------------------------------------------------------------------------------


def test_reads_no_table_from_end_to_end(archive: tuple[Stores, int]) -> None:
    stores, store = archive
    if stores.db.dialect != "sqlite":
        # In transactions, PostgreSQL reads tables of this size from end to end, rightly. What stays prepared
        # is planned for any size.
        asked: list[tuple[str, Any]] = []

        def select(sql: str, parameters: Any) -> list[tuple[Any, ...]]:
            asked.append((sql, parameters))
            return stores.db.select_at_once(sql, parameters)

        for level, each in itertools.product((STUDY, SERIES), [None, *_MATCHES]):
            if each is None or level in _levels(each[0]):
                matches: dict[str, Match] = dict([each] if each else [])
                search_at_once(select, (store, _ID), QidoCriteria(level, matches=matches, limit=2))
        search_at_once(
            select, (store, _ID), QidoCriteria(SERIES, "1.1", matches={"Modality": AnyOf(("CT",))})
        )
        assert len(asked) > 100
        for sql, parameters in asked:
            steps = "\n".join(line for (line,) in stores.db.select_at_once(f"EXPLAIN {sql}", parameters))
            assert "Seq Scan" not in steps, steps
        return
    statements: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        statements.append((statement, parameters))

    with stores.db.read() as conn:
        event.listen(conn, "before_cursor_execute", note)
        for keyword, match in _MATCHES:
            for level in _levels(keyword):
                search.search(conn, store, QidoCriteria(level, matches={keyword: match}, limit=2))
        for criteria in (
            QidoCriteria(INSTANCE, "1.1", "1.1.0"),
            QidoCriteria(SERIES, "1.1"),
            QidoCriteria(INSTANCE),
        ):
            search.search(conn, store, criteria)
        event.remove(conn, "before_cursor_execute", note)
        for statement, parameters in dict((text, values) for text, values in statements).items():
            plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            scans = [row[-1] for row in plan if row[-1].startswith("SCAN")]
            allowed = r"SCAN (j|e|w|study_grams|series_grams|CONSTANT)\b"
            assert all(re.match(allowed, scan) for scan in scans), (statement, scans)


def test_is_planned_for_its_own_values(archive: tuple[Stores, int]) -> None:
    stores, store = archive
    if stores.db.dialect == "sqlite":
        pytest.skip("SQLite plans a statement once, without looking at its values")
    with stores.db.read() as conn:
        for _ in range(12):
            search.search(conn, store, QidoCriteria(STUDY, matches={"PatientName": Wildcard("*oe*")}))
        kept = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT%%_grams%%'"
        assert conn.exec_driver_sql(kept).scalar() == 0
