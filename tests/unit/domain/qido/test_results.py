"""How search results are written from the columns of the index."""

from __future__ import annotations

import json
from typing import Any

from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY
from lightwell.domain.qido.results import COLUMNS, ResultWriter

BASE = "http://host/datastore/ds"
_TAGS = {column.keyword: tag for tag, column in COLUMNS.items()}
UIDS = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}


def written(form: ResultWriter, values: dict[str, str | int | None]) -> dict[str, Any]:
    text = "{" + ",".join(form.elements(values, BASE)) + "}"
    found: dict[str, Any] = json.loads(text)
    assert list(found) == sorted(found)
    return found


def test_a_study_has_what_the_standard_requires_with_or_without_value() -> None:
    found = written(
        ResultWriter(STUDY, [STUDY]), {"StudyInstanceUID": "1.2", "NumberOfStudyRelatedSeries": 3}
    )
    assert list(found) == [
        "00080020", "00080030", "00080050", "00080056", "00080061", "00080090", "00081030", "00081190",
        "00100010", "00100020", "00100030", "00100040", "0020000D", "00200010", "00201206", "00201208",
    ]  # fmt: skip
    assert found["00080020"] == {"vr": "DA"}
    assert found["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
    assert found["00081190"] == {"vr": "UR", "Value": [f"{BASE}/studies/1.2"]}
    assert found["00201206"] == {"vr": "IS", "Value": [3]}


def test_writes_values_as_the_json_model_says() -> None:
    values: dict[str, str | int | None] = {
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "ReferringPhysicianName": "=only^ideographic",
        "ModalitiesInStudy": "CT\\SR",
        "StudyID": "a\\\\c",
        "StudyDescription": 'say "ü"\n',
        **UIDS,
        "SeriesNumber": "007",
        "InstanceNumber": "1_0",
        "RequestAttributesSequence": '[["S1","P1"],[null,"P2"]]',
        "WarningReason": "45313\\45330",
    }
    found = written(ResultWriter(INSTANCE, [STUDY, SERIES, INSTANCE]), values)
    assert found["00100010"]["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]
    assert found["00080090"]["Value"] == [{"Ideographic": "only^ideographic"}]
    assert found["00080061"]["Value"] == ["CT", "SR"]
    assert found["00200010"]["Value"] == ["a", None, "c"]
    assert found["00081030"]["Value"] == ['say "ü"\n']
    assert (found["00200011"]["Value"], found["00200013"]["Value"]) == ([7], ["1_0"])
    assert found["00400275"]["Value"] == [
        {"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["P1"]}},
        {"00401001": {"vr": "SH", "Value": ["P2"]}},
    ]
    assert found["00081196"]["Value"] == [45313, 45330]
    assert found["00081190"]["Value"] == [f"{BASE}/studies/1.2/series/1.3/instances/1.4"]


def test_levels_above_are_answered_where_the_search_is_relational() -> None:
    own = written(ResultWriter(SERIES, [SERIES]), dict(UIDS))
    assert {"0020000D", "0020000E", "00080060"} < own.keys() and "00100010" not in own
    assert written(ResultWriter(SERIES, [STUDY, SERIES]), dict(UIDS)).keys() > {"00100010", "00080060"}


def test_match_keys_are_there_even_if_empty_and_other_fields_with_a_value() -> None:
    asked = [_TAGS[name] for name in ("PatientBirthTime", "TimezoneOffsetFromUTC", "PatientID")]
    found = written(ResultWriter(SERIES, [SERIES], asked), dict(UIDS))
    assert found["00100032"] == {"vr": "TM"} and found["00080201"] == {"vr": "SH"}
    found = written(ResultWriter(SERIES, [SERIES], (), asked), {**UIDS, "PatientID": "P"})
    assert found["00100020"]["Value"] == ["P"] and found.keys().isdisjoint({"00100032", "00080201"})
    # A series has nothing of its instances.
    assert (
        written(ResultWriter(SERIES, [SERIES], [_TAGS["SOPClassUID"]]), dict(UIDS))
        .keys()
        .isdisjoint({"00080016"})
    )


def test_links_hold_no_character_that_a_path_cannot() -> None:
    form = ResultWriter(STUDY, [STUDY])
    assert written(form, {"StudyInstanceUID": '1/2"?'})["00081190"]["Value"] == [
        f"{BASE}/studies/1%2F2%22%3F"
    ]


def test_shows_groups_of_a_name_without_padding_like_metadata() -> None:
    values: dict[str, str | int | None] = {
        "PatientName": "Ono^Ai =  =x ",
        "ReferringPhysicianName": "A^B \\ ",
    }
    found = written(ResultWriter(STUDY, [STUDY]), values)
    assert found["00100010"]["Value"] == [{"Alphabetic": "Ono^Ai", "Phonetic": "x"}]
    assert found["00080090"]["Value"] == [{"Alphabetic": "A^B"}, None]
