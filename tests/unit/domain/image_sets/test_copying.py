"""What a copy names, whether levels agree, and which edits go along."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from lightwell.domain.image_sets.copying import (
    CONTRADICTED,
    blocks_agree,
    duplicate_instance,
    edits_for_copies,
    level_mismatch,
    read_selection,
    values_agree,
)
from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.image_sets.levels import PATIENT, SERIES, STUDY
from lightwell.errors import ValidationError


def text(series: Any, version: Any = "1.1") -> str:
    return json.dumps({"SchemaVersion": version, "Study": {"Series": series}})


@pytest.mark.parametrize("version", ["1.1", 1.1])
def test_reads_the_instances_that_are_named(version: Any) -> None:
    series: dict[str, Any] = {"1.2": {"Instances": {"1.2.1": {}, "1.2.2": {"DICOM": {}}}}, "1.3": {}}
    assert read_selection(text(series, version)) == {"1.2": frozenset(("1.2.1", "1.2.2")), "1.3": None}


@pytest.mark.parametrize("version", ["1.0", 1, 2, True, None, "1.10", ["1.1"]])
def test_reads_no_other_schema_version(version: Any) -> None:
    with pytest.raises(ValidationError, match=r"SchemaVersion must be 1\.1"):
        read_selection(text({"1.2": {}}, version))


@pytest.mark.parametrize(
    "given",
    [
        "",
        "{",
        "null",
        "[" * 100_000,
        '{"SchemaVersion":NaN}',
        '{"SchemaVersion":"1.1","Study":null}',
        '{"SchemaVersion":"1.1","Study":{"Series":[]}}',
        text({"1.2": None}),
        text({"1.2": {"Instances": ["1.2.1"]}}),
        text({"1.2": {"Instances": {"1.2.1": None}}}),
        text({"1.2": {"Instances": {"1.2.1": {"ImageFrames": []}}}}),
        text({"1.2": {"Instances": {"1.2.1": {"DICOMVRs": {"00091001": "LO"}}}}}),
        text({"1.2": {"Instances": {"1.2.1": {}}}, "1.3": {"Instances": {}}}),
        text({"1.2": {"DICOM": {"Modality": "CT"}, "Instances": {"1.2.1": {}}}}),
        '{"SchemaVersion":"1.1","Study":{"Series":{"\ud800":{}}}}',
    ],
)
def test_refuses_what_is_no_subset(given: str) -> None:
    with pytest.raises(ValidationError, match="copiableAttributes"):
        read_selection(given)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("A", "A", True),
        ("A", "A ", True),
        ("A\0", "A", True),
        ("A", " A", False),
        ("", None, True),
        ([], None, True),
        ("  ", None, True),
        (["A", "B "], ["A", "B"], True),
        (["A"], "A", False),
        (1, 1.0, True),
        (1, "1", False),
        ([{"CodeValue": "x "}], [{"CodeValue": "x"}], True),
        ([{"CodeValue": "x"}], [{"CodeValue": "y"}], False),
    ],
)
def test_compares_values_without_their_padding(one: Any, other: Any, same: bool) -> None:
    assert values_agree(one, other) is same is values_agree(other, one)


def test_compares_blocks_and_takes_absent_for_empty() -> None:
    assert blocks_agree({"A": "1 ", "B": None}, {"A": "1", "C": ""})
    assert not blocks_agree({"A": "1"}, {"A": "1", "C": "x"})
    assert not blocks_agree({"A": "1", "C": "x"}, {"A": "1"})


def edit(key: str, value: Any) -> Edit:
    return Edit(f"VR of {key}", value)


def test_takes_along_what_the_levels_of_the_source_were_given() -> None:
    ours = {"A": edit("A", "a"), "B": None, "C": edit("C", "c")}
    block = {"A": "a", "C": "c", "D": "d"}
    assert edits_for_copies(block, ours, block, {}, None) == ours
    assert edits_for_copies(block, ours, block, {"A": edit("A", "a")}, None) == {"B": None, "C": ours["C"]}
    assert edits_for_copies(block, {}, block, {"D": None}, None) == {}


def test_forces_the_destination_where_the_two_differ() -> None:
    ours = {"A": edit("A", "a"), "B": edit("B", "b")}
    source = {"A": "a", "B": "b", "C": "c", "D": "d", "F": "f"}
    target = {"A": "a", "B": "other", "D": "d", "E": None, "F": "hidden"}
    theirs = {"F": edit("F", "hidden")}
    assert edits_for_copies(source, ours, target, theirs, edit) == {
        "A": ours["A"],
        "B": edit("B", "other"),
        "C": None,
        "E": edit("E", None),
    }


def test_says_what_the_service_says() -> None:
    assert [str(level_mismatch(level)) for level in (PATIENT, STUDY, SERIES)] == [
        f"INVALID_REQUEST:  {name} of SourceImageSet and DestinationImageSet don't match."
        for name in ("Patient", "Study", "Series")
    ]
    assert "SOPInstanceUID 1.2.3 of" in str(duplicate_instance("1.2.3"))
    # The model's pattern of messages.
    for message in (
        CONTRADICTED,
        str(duplicate_instance("1.2.3")),
        str(duplicate_instance("<;>")),
        str(level_mismatch(0)),
    ):
        assert re.fullmatch(r"[\w -:`]{1,2048}", message, re.ASCII)
    for odd in ("<script>", "1.2;", "a" * 300, "١.٢"):
        assert odd not in str(duplicate_instance(odd))
