"""What differs between two blocks, element by element."""

from __future__ import annotations

from typing import Any

from lightwell.domain.image_sets.version_diff import (
    ABSENT,
    FrameDifference,
    InstanceBlock,
    element_differences,
    frames_difference,
)
from lightwell.imaging.dataset.dictionary import attribute_named


def known(key: str) -> tuple[int, str]:
    attribute = attribute_named(key)
    return (0xFFFFFFFF, "") if attribute is None else (attribute.tag, attribute.vr)


def differing(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    found = element_differences(InstanceBlock(old), InstanceBlock(new), known)
    return [(each.path, each.new_vr, each.old, each.new) for each in found]


def test_finds_nothing_in_equal_blocks() -> None:
    block = {"PatientName": "A", "ProcedureCodeSequence": [{"CodeValue": "1"}], "KVP": None}
    assert differing(block, dict(reversed(block.items()))) == []


def test_tells_an_empty_value_from_none() -> None:
    assert differing({}, {"KVP": None}) == [("KVP", "DS", ABSENT, None)]
    assert differing({"KVP": None}, {}) == [("KVP", "DS", None, ABSENT)]
    assert differing({"KVP": None}, {"KVP": "1"}) == [("KVP", "DS", None, "1")]


def test_lists_elements_in_the_order_of_their_tags() -> None:
    new = {"00091001": 1, "WindowCenter": "1", "PatientID": "1", "Unheard": 1, "AccessionNumber": "1"}
    paths = [path for path, *_ in differing({}, new)]
    assert paths == ["AccessionNumber", "00091001", "PatientID", "WindowCenter", "Unheard"]


def test_goes_into_sequences_of_one_length() -> None:
    old = {"ProcedureCodeSequence": [{"CodeValue": "1", "MappingResource": "D"}, {"CodeValue": "2"}]}
    new = {"ProcedureCodeSequence": [{"CodeValue": "1"}, {"CodeValue": "3"}]}
    assert differing(old, new) == [
        ("ProcedureCodeSequence[0].MappingResource", "CS", "D", ABSENT),
        ("ProcedureCodeSequence[1].CodeValue", "SH", "2", "3"),
    ]


def test_shows_sequences_of_other_lengths_and_lists_of_values_whole() -> None:
    one, two = [{"CodeValue": "1"}], [{"CodeValue": "1"}, {"CodeValue": "2"}]
    assert differing({"ProcedureCodeSequence": one}, {"ProcedureCodeSequence": two}) == [
        ("ProcedureCodeSequence", "SQ", one, two)
    ]
    assert differing({"ImageType": ["A", "B"]}, {"ImageType": ["A", "C"]}) == [
        ("ImageType", "CS", ["A", "B"], ["A", "C"])
    ]


def test_shows_a_vr_that_changed_alone() -> None:
    old, new = (InstanceBlock({"00091001": "1"}, {"00091001": vr}) for vr in ("LO", "DS"))
    (found,) = element_differences(old, new, known)
    assert found.as_json() == {"element": "00091001", "vr": "DS", "oldVr": "LO", "old": "1", "new": "1"}


def test_compares_frames_by_their_checksums() -> None:
    found = frames_difference([1, 2, 3], [1, 9])
    assert (found.old, found.new) == (3, 2)
    assert found.differing == (FrameDifference(2, 2, 9), FrameDifference(3, 3, None))
    assert frames_difference([1], [1, 2]).differing == (FrameDifference(2, None, 2),)
