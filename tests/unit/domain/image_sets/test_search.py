"""What a search may ask."""

from __future__ import annotations

import pytest

from lightwell.domain.image_sets.search import Filter, SearchCriteria, StudyMoment, Value, read_criteria
from lightwell.errors import ValidationError


def equal(name: str, value: Value) -> Filter:
    return Filter("EQUAL", [(name, value)])


def between(name: str, low: Value, high: Value) -> Filter:
    return Filter("BETWEEN", [(name, low), (name, high)])


def test_finds_everything_newest_first_without_conditions() -> None:
    assert read_criteria([], None) == SearchCriteria({}, {}, "updated_at", True)


def test_takes_every_member_of_the_model() -> None:
    asked = read_criteria([equal("DICOMPatientId", "P1"), equal("isPrimary", False)], ("createdAt", "ASC"))
    assert asked == SearchCriteria({"patient_id": "P1", "is_primary": False}, {}, "created_at", False)
    for name, column in (
        ("DICOMAccessionNumber", "accession_number"),
        ("DICOMStudyId", "study_id"),
        ("DICOMStudyInstanceUID", "study_instance_uid"),
        ("DICOMSeriesInstanceUID", "series_instance_uid"),
    ):
        assert read_criteria([equal(name, "1.2")], None).equals == {column: "1.2"}


def test_matches_absent_attributes_by_the_empty_value_and_ignores_padding() -> None:
    assert read_criteria([equal("DICOMPatientId", "P1 ")], None).equals == {"patient_id": "P1"}
    assert read_criteria([equal("DICOMStudyId", " ")], None).equals == {"study_id": None}


def test_takes_both_ends_of_a_range_to_the_millisecond() -> None:
    asked = read_criteria([between("createdAt", 1763978400.123, 1763978401)], None)
    assert asked.ranges == {"created_at": (1763978400123, 1763978401000)}
    asked = read_criteria([between("createdAt", 0.0001, 0.0029)], None)
    assert asked.ranges == {"created_at": (1, 2)}


def test_reads_a_study_date_without_time_as_midnight() -> None:
    asked = read_criteria(
        [between("DICOMStudyDateAndTime", StudyMoment("20200101"), StudyMoment("20200102", "101500.5"))], None
    )
    assert asked.ranges == {"study_moment": ("20200101000000.000000", "20200102101500.500000")}


def test_intersects_two_ranges_of_one_kind() -> None:
    asked = read_criteria([between("updatedAt", 1, 5), between("updatedAt", 3, 9)], None)
    assert asked.ranges == {"updated_at": (3000, 5000)}
    assert not asked.impossible
    assert read_criteria([between("updatedAt", 1, 2), between("updatedAt", 3, 9)], None).impossible


def test_knows_two_values_of_one_attribute_to_be_impossible() -> None:
    assert read_criteria([equal("DICOMPatientId", "A"), equal("DICOMPatientId", "B")], None).impossible
    assert not read_criteria([equal("DICOMPatientId", "A"), equal("DICOMPatientId", "A")], None).impossible


def test_takes_equality_of_times() -> None:
    assert read_criteria([equal("updatedAt", 1.5)], None).ranges == {"updated_at": (1500, 1500)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Filter("EQUAL", [("DICOMPatientId", "A"), ("DICOMPatientId", "B")]), "one value"),
        (Filter("BETWEEN", [("createdAt", 1.0)]), "two values"),
        (Filter("BETWEEN", [("createdAt", 1.0), ("updatedAt", 2.0)]), "createdAt and updatedAt"),
        (between("DICOMPatientId", "A", "B"), "EQUAL"),
        (between("isPrimary", False, True), "EQUAL"),
        (between("updatedAt", 2, 1), "greater"),
        (between("DICOMStudyDateAndTime", StudyMoment("20200102"), StudyMoment("20200101")), "greater"),
        (equal("DICOMStudyDateAndTime", StudyMoment("2020-01-01")), "YYYYMMDD"),
        (equal("DICOMStudyDateAndTime", StudyMoment("20200230")), "YYYYMMDD"),
        (equal("DICOMStudyDateAndTime", StudyMoment("٢٠٢٠٠١٠١")), "YYYYMMDD"),
        (equal("DICOMStudyDateAndTime", StudyMoment("20200101", "2500")), "HHMMSS"),
        (equal("DICOMStudyDateAndTime", StudyMoment("20200101", "240000")), "HHMMSS"),
    ],
)
def test_refuses_what_says_nothing(given: Filter, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        read_criteria([given], None)
