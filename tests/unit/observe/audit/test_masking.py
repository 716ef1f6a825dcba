"""What of a search is kept, under each setting."""

from __future__ import annotations

import pytest

from lightwell.observe.audit.masking import QueryMask

KEY = b"k" * 32
QUERY = {
    "PatientName": ["DOE^J*"],
    "00100010": ["DOE^J*"],
    "PatientID": ["P-1", "P-2"],
    "StudyDate": "20240101-20240201",
    "StudyInstanceUID": ["1.2.3"],
    "StudyDescription": ["brain of a famous person"],
    "RequestAttributesSequence.RequestedProcedureDescription": ["x"],
    "text": "doe",
    "limit": ["10"],
}


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        ("none", set(QUERY)),
        ("texts", {"PatientID", "StudyDate", "StudyInstanceUID", "limit"}),
        ("all", set()),
    ],
)
def test_keeps_what_the_setting_says(mask: str, kept: set[str]) -> None:
    masked = QueryMask(mask, KEY).of(QUERY)
    assert list(masked) == list(QUERY)
    assert {name for name in QUERY if masked[name] == QUERY[name]} == kept
    for name in QUERY.keys() - kept:
        values = masked[name] if isinstance(masked[name], list) else [masked[name]]
        assert all(value.startswith("#") and len(value) == 11 for value in values)


def test_equal_searches_stay_equal_and_no_one_without_the_key_can_try_names() -> None:
    mask = QueryMask("texts", KEY)
    first, other = mask.of({"PatientName": "Doe"}), mask.of({"PatientName": "DOE"})
    assert first == other != mask.of({"PatientName": "Roe"})
    assert QueryMask("texts", b"another").of({"PatientName": "Doe"}) != first


def test_is_bounded_whatever_was_asked() -> None:
    many = {f"PatientID{'x' * 1000}{number}": ["1" * 1000] * 1000 for number in range(1000)}
    masked = QueryMask("none", KEY).of(many)
    assert len(masked) <= 64
    assert all(len(name) <= 256 and len(values) == 100 for name, values in masked.items())
    assert all(len(value) == 256 for values in masked.values() for value in values)
    assert QueryMask("all", KEY).of({"a": "\ud800"})["a"].startswith("#")


def test_of_a_tag_no_value_is_kept_whatever_its_key() -> None:
    for mask, kept in (("texts", False), ("all", False), ("none", True)):
        of_tag = QueryMask(mask, b"k").of_tag
        assert of_tag(None) is None and (of_tag("CT") == "CT") is kept
        assert of_tag("CT") == of_tag("CT") != of_tag("MR")
