"""Edits laid over ready JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightwell.documents import json_edits
from lightwell.domain.image_sets.edits import (
    Edit,
    Edits,
    apply_edits,
    decode_edits,
    encode_edits,
    merge_edits,
)
from lightwell.domain.image_sets.levels import INSTANCE, LEVELS, TAG_DIGITS, level_of
from lightwell.errors import StorageError
from lightwell.imaging.dataset.dictionary import attribute_named

# Values as texts, in forms that no encoder of ours writes: what is not edited must not be written again.
ODD = ["1.10", "1e5", "-0.0", '"\\u0041/\\/"', '"é"', '{"A":1.0}', "[1.50,null]", "null", '""', "0.1000"]
INSTANCE_KEYS = ["SOPClassUID", "SOPInstanceUID", "ImageType", "Rows", "WindowCenter", "00191001", "0019100A"]
PATIENT_KEYS = ["PatientID", "PatientName", "PatientSex", "EthnicGroup", "PatientComments"]


def written(items: dict[str, str]) -> bytes:
    return ("{" + ",".join(f'"{key}":{text}' for key, text in items.items()) + "}").encode()


def tag(key: str) -> int:
    attribute = attribute_named(key)
    assert attribute is not None
    return attribute.tag


json_values = st.recursive(
    st.none() | st.text(max_size=8) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
edit_values = st.none() | st.builds(
    Edit, st.sampled_from(["LO", "DS", "SQ"]), json_values, st.just({}) | st.just({"00191099": "LO"})
)


def edits_of(keys: list[str]) -> st.SearchStrategy[Edits]:
    return st.dictionaries(st.sampled_from(keys), edit_values, max_size=5)


@given(st.dictionaries(st.sampled_from(PATIENT_KEYS), st.sampled_from(ODD)), edits_of(PATIENT_KEYS))
def test_leaves_every_other_value_of_a_level_as_it_was(block: dict[str, str], edits: Edits) -> None:
    ready = written({key: block[key] for key in sorted(block)})
    shown = json_edits.edit_level_block(ready, edits)
    expected = {key: text for key, text in block.items() if key not in edits}
    expected |= {
        key: json.dumps(edit.value, ensure_ascii=False, separators=(",", ":"))
        for key, edit in edits.items()
        if edit is not None
    }
    assert shown == written({key: expected[key] for key in sorted(expected)})
    assert json.loads(shown) == apply_edits(json.loads(ready), edits)
    if not edits:
        assert shown is ready


@given(st.dictionaries(st.sampled_from(INSTANCE_KEYS), st.sampled_from(ODD)), edits_of(INSTANCE_KEYS))
def test_leaves_every_other_value_of_an_instance_as_it_was(block: dict[str, str], edits: Edits) -> None:
    ordered = {key: block[key] for key in sorted(block, key=tag)}
    vrs = {key: '"DS"' for key in ordered if key[0] == "0"}
    ready = b'"DICOM":%s,"DICOMVRs":%s' % (written(ordered), written(vrs))
    shown = json_edits.edit_fragment(ready, edits)
    expected = {key: text for key, text in ordered.items() if key not in edits}
    for key, edit in edits.items():
        if edit is None:
            vrs.pop(key, None)
        else:
            expected[key] = json.dumps(edit.value, ensure_ascii=False, separators=(",", ":"))
            if key[0] == "0":
                vrs[key] = f'"{edit.vr}"'
            vrs |= {inner: f'"{vr}"' for inner, vr in edit.vrs.items() if inner not in vrs}
    assert shown == b'"DICOM":%s,"DICOMVRs":%s' % (
        written({key: expected[key] for key in sorted(expected, key=tag)}),
        written({key: vrs[key] for key in sorted(vrs)}),
    )


def test_keeps_the_vr_of_a_removed_element_that_a_sequence_still_holds() -> None:
    ready = b'"DICOM":{"RequestSequence":[{"00191001":"x"}],"00191001":"y"},"DICOMVRs":{"00191001":"LO"}'
    assert json_edits.edit_fragment(ready, {"00191001": None}) == (
        b'"DICOM":{"RequestSequence":[{"00191001":"x"}]},"DICOMVRs":{"00191001":"LO"}'
    )


@given(edits_of(PATIENT_KEYS + INSTANCE_KEYS))
def test_comes_back_from_where_it_is_kept(edits: Edits) -> None:
    assert decode_edits(encode_edits(edits)) == edits
    assert encode_edits(dict(reversed(list(edits.items())))) == encode_edits(edits)


@given(edits_of(PATIENT_KEYS), edits_of(PATIENT_KEYS), edits_of(PATIENT_KEYS))
def test_adds_up_in_order(first: Edits, second: Edits, third: Edits) -> None:
    assert merge_edits(merge_edits(first, second), third) == merge_edits(first, merge_edits(second, third))
    assert merge_edits(first, {}) == merge_edits({}, first) == first
    assert merge_edits(first, first) == first
    block = {"PatientID": "P", "EthnicGroup": None}
    assert apply_edits(block, merge_edits(first, second)) == apply_edits(apply_edits(block, first), second)


@given(edits_of(PATIENT_KEYS + INSTANCE_KEYS + ["StudyID", "Modality"]))
def test_tells_the_edits_of_levels_apart(edits: Edits) -> None:
    own, levels = json_edits.split_by_level(edits)
    assert merge_edits(merge_edits(own, levels[0]), merge_edits(levels[1], levels[2])) == edits
    for number, part in enumerate((*levels, own)):
        assert all(level_of(key) == number for key in part)


def test_knows_the_key_of_every_levelled_attribute() -> None:
    for keyword in LEVELS:
        attribute = attribute_named(keyword)
        assert attribute is not None and attribute.level == LEVELS[keyword] != INSTANCE


@pytest.mark.parametrize(
    "damaged", [b"", b"[]", b'"DICOM":{}', b'"DICOM":1,"DICOMVRs":{}', b'"DICOM":{},"X":{}']
)
def test_refuses_what_is_no_fragment(damaged: bytes) -> None:
    with pytest.raises(StorageError):
        json_edits.edit_fragment(damaged, {"Rows": None})
    with pytest.raises(StorageError):
        json_edits.edit_level_block(damaged, {"Rows": None})


def test_reads_one_text_of_a_block() -> None:
    block = b'{"A":"x","B":null,"C":"","D":1}'
    assert [json_edits.text_value(block, key) for key in "ABCDE"] == ["x", None, None, None, None]


def test_knows_the_tag_of_every_levelled_attribute() -> None:
    assert TAG_DIGITS.keys() == LEVELS.keys()
    for keyword, digits in TAG_DIGITS.items():
        attribute = attribute_named(keyword)
        assert attribute is not None and attribute.hex == digits


def test_sees_levelled_attributes_that_stand_under_their_digits() -> None:
    digits = json_edits.hidden_digits([{"PatientName": None}, {"Rows": None, "StudyID": Edit("SH", "x")}])
    assert digits == ("00100010", "00200010")
    assert json_edits.may_show(b'"DICOM":{"00100010":"QQ=="},"DICOMVRs":{"00100010":"UN"}', digits)
    assert not json_edits.may_show(b'"DICOM":{"PatientName":"00100010"},"DICOMVRs":{}', digits)
