"""The list of studies: what is found in which order, page by page, on either database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from lightwell.domain.qido.criteria import fold
from lightwell.domain.qido.study_list import (
    ANYWHERE,
    Place,
    Primaries,
    Searched,
    StudyCriteria,
    StudySort,
    words,
)
from lightwell.stores import Stores
from lightwell.stores.qido import index
from lightwell.stores.qido.search import Reader
from lightwell.stores.studies import listing, non_primary
from lightwell.stores.studies.details import ShownStudy, shown
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltInstance

# "^" is what many write for no name.
NAMES = ["Doe^Jane", "Müller^Zoë Ann", "Yamada^Tarou=山田^太郎", "doe^jack", "^", None]
IDS = ["P1", "p12", "1.2.3", "50%_x", None]
DESCRIPTIONS = ["CT HEAD", "Knee, left", "head/neck", None]
DATES = ["20240101", "20240102", "20231231", "soon", None]
TIMES = ["10", "101112.5", "late", None]


@pytest.fixture
def stores(tmp_path: Path, database_url: str) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path / "data", database_url)
    yield found
    found.close()


@pytest.fixture
def built(stores: Stores) -> int:
    """Forty studies: some have primary sets, some have others, some both; the key of their data store."""
    chance = random.Random(5)
    store = stores.db.write(image_set_builders.datastore)
    primary = []
    for n in range(40):
        patient = {"PatientID": chance.choice(IDS), "PatientName": chance.choice(NAMES)}
        study = {
            "StudyInstanceUID": f"1.2.{n}",
            "StudyDate": chance.choice(DATES),
            "StudyTime": chance.choice(TIMES),
            "AccessionNumber": chance.choice(["A1", "a17", None]),
            "StudyDescription": chance.choice(DESCRIPTIONS),
        }
        kinds = chance.choice([[True], [True, True], [True, False], [False]])
        for number, is_primary in enumerate(kinds):
            other = {**patient, "PatientName": "Other^Name"} if not is_primary and number else patient
            made = image_set_builders.image_set(
                stores,
                [BuiltInstance(f"1.2.{n}.{number}.{i}", i) for i in range(2)],
                store=store,
                patient={name: value for name, value in other.items() if value is not None},
                study={name: value for name, value in study.items() if value is not None},
                series={
                    "SeriesInstanceUID": f"1.2.{n}.{number}",
                    "Modality": chance.choice(["CT", "MR"]),
                    "SeriesNumber": str(number),
                },
                is_primary=is_primary,
                created_at=NOW + number,
                updated_at=NOW + n % 7,
            )
            if is_primary:
                primary.append((made.key, NOW + n % 7))

    def add(conn: Connection) -> None:
        for key, now in primary:
            index.add_set(conn, key, now)

    stores.db.write(add)
    return store[0]


def pages(stores: Stores, datastore: int, criteria: StudyCriteria, limit: int = 7) -> list[ShownStudy]:
    """All pages, one after another; what leads the first one is left out where it follows."""
    found: list[ShownStudy] = []
    after: Place | None = None
    for _ in range(100):
        with stores.db.read() as conn:
            page = listing.page(conn, datastore, criteria, after=after, limit=limit)
            found += shown(Reader(conn), datastore, page.studies)
        after = page.next
        if after is None:
            assert page.total in (None, len({each.study_instance_uid for each in found}))
            last = {each.study_instance_uid: place for place, each in enumerate(found)}
            return [found[place] for place in sorted(last.values())]
    raise AssertionError("the pages do not end")


def has_text(study: ShownStudy, criteria: StudyCriteria, *, is_shown: bool) -> bool:
    """What a person would say. ``is_shown``: by what the list shows, else by its non-primary sets."""
    name = study.patient_name if is_shown else "Other^Name"
    texts = [name, study.patient_id, study.accession_number, study.study_description]
    return all(
        any(fold(word.typed) in fold(text or "") for text in texts) or study.study_instance_uid == word.typed
        for word in criteria.words
    )


def test_finds_sorts_and_narrows_page_by_page(
    stores: Stores, built: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finds_in_every_order_what_matches_once(stores, built)
    _sorts_and_puts_what_has_no_value_last(stores, built)
    _narrows_by_day_modality_and_kind_of_image_set(stores, built)
    with monkeypatch.context() as bounds:
        # Every page ends at the bound of some way to find studies.
        for name, value in (("FIRST", 3), ("FEW", 2), ("MOST", 4), ("NAMED", 1)):
            bounds.setattr(listing, name, value)
        _finds_in_every_order_what_matches_once(stores, built)
        _sorts_and_puts_what_has_no_value_last(stores, built)
        _narrows_by_day_modality_and_kind_of_image_set(stores, built)
    _says_where_an_order_or_a_search_is_bounded(stores, built, monkeypatch)


def _finds_in_every_order_what_matches_once(stores: Stores, built: int) -> None:
    everything = pages(stores, built, StudyCriteria())
    assert len({study.study_instance_uid for study in everything}) == len(everything) == 40
    kinds = {tuple(sorted({each.is_primary for each in study.sets})) for study in everything}
    assert kinds == {(True,), (False,), (False, True)}
    for text in (
        "doe",
        "JANE doe",
        "muller",
        "山田",
        "head",
        "p1",
        "50%",
        "a17 ct",
        "other",
        "1.2.3",
        "zz",
        "e",
    ):
        wanted = StudyCriteria(tuple(words(text, ANYWHERE)))
        expected = {
            study.study_instance_uid
            for study in everything
            if has_text(study, wanted, is_shown=True)
            or (
                {each.is_primary for each in study.sets} == {True, False}
                and has_text(study, wanted, is_shown=False)
            )
        }
        if text == "1.2.3":
            expected |= {
                study.study_instance_uid for study in everything if study.study_instance_uid[:5] == text
            }
        for sort in (StudySort.UPDATED, StudySort.DATE, StudySort.PATIENT_NAME, StudySort.PATIENT_ID):
            for descending in (True, False) if text in ("doe", "e") else (len(text) % 2 == 0,):
                asked = StudyCriteria(wanted.words, sort=sort, descending=descending)
                found = pages(stores, built, asked)
                assert {study.study_instance_uid for study in found} == expected, (text, sort, descending)
                if text == "other":
                    # Under the name that was looked for, not that of the primary image set.
                    assert {study.patient_name for study in found} == {"Other^Name"}
                    assert all(study.sets[0].patient_name == "Other^Name" for study in found)


def _sorts_and_puts_what_has_no_value_last(stores: Stores, built: int) -> None:
    def ids(sort: StudySort, *, descending: bool) -> list[str | None]:
        found = pages(stores, built, StudyCriteria(sort=sort, descending=descending))
        return [study.patient_id if sort == StudySort.PATIENT_ID else study.study_date for study in found]

    for descending in (True, False):
        found = ids(StudySort.PATIENT_ID, descending=descending)
        given = [id for id in found if id is not None]
        assert given == sorted(given, reverse=descending) and found[len(given) :] == [None] * (
            40 - len(given)
        )
        dates = ids(StudySort.DATE, descending=descending)
        real = [date for date in dates if date is not None and date.isdigit()]
        assert real == sorted(real, reverse=descending) and dates[: len(real)] == real
    names = pages(stores, built, StudyCriteria(sort=StudySort.PATIENT_NAME, descending=False))
    given = [fold(study.patient_name) for study in names if study.patient_name]
    assert given == sorted(given) and names[-1].patient_name is None
    of_a_day = pages(
        stores, built, StudyCriteria(sort=StudySort.DATE, first_day="20240101", last_day="20240101")
    )
    clocks = [study.study_time for study in of_a_day if study.study_time in ("10", "101112.5")]
    assert clocks == sorted(clocks, reverse=True) and {study.study_date for study in of_a_day} == {"20240101"}


def _narrows_by_day_modality_and_kind_of_image_set(stores: Stores, built: int) -> None:
    everything = pages(stores, built, StudyCriteria())
    for sort in (StudySort.UPDATED, StudySort.DATE):
        found = pages(stores, built, StudyCriteria(first_day="20240101", last_day="20240102", sort=sort))
        assert {study.study_date for study in found} == {"20240101", "20240102"}
    mr = pages(stores, built, StudyCriteria(modalities=("MR", "XA"), primaries=Primaries.PRIMARY))
    expected = [s for s in everything if any(each.is_primary and each.modality == "MR" for each in s.sets)]
    assert {s.study_instance_uid for s in mr} == {s.study_instance_uid for s in expected}
    for primaries, kind in ((Primaries.PRIMARY, True), (Primaries.NON_PRIMARY, False)):
        found = pages(stores, built, StudyCriteria(primaries=primaries))
        assert {s.study_instance_uid for s in found} == {
            s.study_instance_uid for s in everything if any(each.is_primary == kind for each in s.sets)
        }
    named = ("1.2.3", "1.2.17", "1.2.30", "9")
    for sort in (StudySort.DATE, StudySort.MODALITY):
        found = pages(stores, built, StudyCriteria(studies=named, sort=sort), limit=2)
        assert {s.study_instance_uid for s in found} == set(named[:3])
    accession = StudyCriteria(tuple(words("p1", (Searched.ACCESSION,))))
    assert pages(stores, built, accession) == []


def _says_where_an_order_or_a_search_is_bounded(
    stores: Stores, built: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "WITHIN", 5)
    monkeypatch.setattr(listing, "FEW", 2)
    everything = pages(stores, built, StudyCriteria())
    others = {s.study_instance_uid for s in everything if not all(each.is_primary for each in s.sets)}
    both = len([s for s in everything if {each.is_primary for each in s.sets} == {True, False}])
    monkeypatch.setattr(non_primary, "NEWEST", 6)
    with stores.db.read() as conn:
        page = listing.page(conn, built, StudyCriteria(sort=StudySort.MODALITY), after=None, limit=50)
        assert page.sorted_within is not None and page.total is None
        assert page.non_primary_within == 6
        uids = {s.study_instance_uid for s in shown(Reader(conn), built, page.studies)}
    assert len(uids) < 40
    # By the last change all are found in the end; in other orders, what a person names.
    for descending in (True, False):
        asked = StudyCriteria(primaries=Primaries.NON_PRIMARY, descending=descending)
        assert {s.study_instance_uid for s in pages(stores, built, asked, 2)} == others
        assert len(pages(stores, built, StudyCriteria(descending=descending))) == 40
        assert (
            len(pages(stores, built, StudyCriteria(tuple(words("other", ANYWHERE)), descending=descending)))
            == both
        )
    for n in range(40):
        found = pages(stores, built, StudyCriteria(tuple(words(f"1.2.{n}", ANYWHERE)), sort=StudySort.DATE))
        assert f"1.2.{n}" in {study.study_instance_uid for study in found}
