"""What a search answers beside its columns."""

from __future__ import annotations

import json
from typing import Any

from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY
from lightwell.domain.qido.query import parse_query
from lightwell.operations.dicomweb.fields import RequestedFields, tag_of

DATA_SET = {
    "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]},
    "00080020": {"vr": "DA", "Value": ["2024-01-02"]},
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "00080080": {"vr": "LO", "Value": ["Clinic"]},
    "00080096": {
        "vr": "SQ",
        "Value": [
            {
                "00080080": {"vr": "LO", "Value": ["x"]},
                "00401101": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["c"]}}]},
            },
            {},
        ],
    },
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "DOE"}]},
    "00190010": {"vr": "LO", "Value": ["Maker"]},
    "00191001": {"vr": "DS", "Value": [1.5]},
    "00280010": {"vr": "US", "Value": [512]},
    "7FE00010": {"vr": "OW", "BulkDataURI": "http://x"},
}


def added(text: str, level: str = INSTANCE, elements: tuple[str, ...] = ()) -> dict[str, Any]:
    pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in text.split("&"))]
    asked = RequestedFields(level, parse_query(level, None, None, pairs, tag_of))
    own = list(elements)
    if asked.reads_records:
        lines = [f'"{key}":{json.dumps(value)}' for key, value in DATA_SET.items()]
        asked.add(own, ",\n".join(lines).encode())
    found: dict[str, Any] = json.loads("{" + ",".join(own) + "}")
    assert list(found) == sorted(found)
    return found


def test_reads_records_only_for_what_is_no_column() -> None:
    query = parse_query(STUDY, None, None, [("includefield", "00081030,00080060,00080090,00100030")], tag_of)
    asked = RequestedFields(STUDY, query)
    assert not asked.reads_records and asked.columns == {0x00081030, 0x00080090, 0x00100030}


def test_levels_bound_what_is_answered() -> None:
    for level, expected in ((STUDY, {"00080096"}), (SERIES, {"00080096", "00080080"})):
        assert added("includefield=00080080,00080096,00280011,00180022", level).keys() == expected


def test_everything_of_an_instance_is_all_but_pixels_and_file_meta() -> None:
    assert added("includefield=all").keys() == DATA_SET.keys() - {"00020010", "7FE00010"}
    assert added("includefield=00020010,7FE00010") == {}


def test_everything_of_a_study_and_a_series_are_the_fixed_lists() -> None:
    assert added("includefield=all", STUDY) == {}
    assert added("includefield=all", SERIES).keys() == {"00080080"}


def test_a_whole_data_set_shows_what_the_instance_itself_says() -> None:
    columns = (
        '"00080020":{"vr":"DA"}',
        '"00080061":{"vr":"CS","Value":["MR"]}',
        '"00100010":{"vr":"PN","Value":[{"Alphabetic":"ANOTHER"}]}',
        '"00280010":{"vr":"US","Value":[1]}',
    )
    found = added("includefield=all", INSTANCE, columns)
    assert found["00080020"]["Value"] == ["2024-01-02"]
    assert found["00100010"]["Value"] == [{"Alphabetic": "DOE"}]
    assert found["00280010"]["Value"] == [512]
    # What the store counts stays.
    assert found["00080061"]["Value"] == ["MR"]


def test_columns_win_elsewhere_where_they_have_a_value() -> None:
    columns = ('"00080020":{"vr":"DA"}', '"00100010":{"vr":"PN","Value":[{"Alphabetic":"ANOTHER"}]}')
    found = added("includefield=00080080", INSTANCE, columns)
    assert found["00100010"]["Value"] == [{"Alphabetic": "ANOTHER"}]


def test_cuts_sequences_down_to_the_paths() -> None:
    assert added(
        "includefield=00080096.00401101.00080100,ReferringPhysicianIdentificationSequence.00080081"
    ) == {
        "00080096": {
            "vr": "SQ",
            "Value": [{"00401101": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["c"]}}]}}, {}],
        }
    }
    assert added("includefield=00080096.00080081,00100010.00080100") == {}
    assert added("includefield=00080096.00080080,00080096")["00080096"] == DATA_SET["00080096"]


def test_private_attributes_need_their_creator() -> None:
    assert added("includefield=00191001&00190010=Maker").keys() == {"00190010", "00191001"}
    assert added("includefield=00191001&00190010=Other") == {}
    assert added("includefield=00191001") == {}
    assert added("includefield=00190010").keys() == {"00190010"}
    assert added("00190010=Maker", STUDY).keys() == {"00190010"}
