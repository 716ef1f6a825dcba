"""The Native DICOM Model, read again by an XML parser."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from lightwell.imaging.dataset.dicom_xml import native_model

NAMESPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def parsed(**dataset: Any) -> dict[str, ElementTree.Element]:
    """Attributes by tag; names of elements without their namespace."""
    text = json.dumps({key.removeprefix("t"): value for key, value in dataset.items()})
    root = ElementTree.fromstring(native_model(text.encode()))
    assert root.tag == f"{NAMESPACE}NativeDicomModel"
    for element in root.iter():
        element.tag = element.tag.removeprefix(NAMESPACE)
    return {element.attrib["tag"]: element for element in root}


def test_writes_values_with_their_numbers() -> None:
    found = parsed(
        t00080008={"vr": "CS", "Value": ["A", None, "C"]},
        t00280010={"vr": "US", "Value": [512]},
        t00104000={"vr": "LT", "Value": ['a<b> & "c"\r\nd\x01']},
        t00101000={"vr": "LO"},
    )
    assert found["00080008"].attrib == {"tag": "00080008", "vr": "CS", "keyword": "ImageType"}
    values = [(value.attrib["number"], value.text) for value in found["00080008"]]
    assert values == [("1", "A"), ("3", "C")]
    assert [value.text for value in found["00280010"]] == ["512"]
    assert [value.text for value in found["00104000"]] == ['a<b> & "c"\r\nd\ufffd']
    assert not list(found["00101000"])


def test_writes_names_part_by_part() -> None:
    name = {"Alphabetic": "Yamada^Tarou^^Dr", "Ideographic": "山田^太郎"}
    (person,) = parsed(t00100010={"vr": "PN", "Value": [name]})["00100010"]
    assert person.tag == "PersonName"
    parts = {group.tag: [(part.tag, part.text) for part in group] for group in person}
    assert parts == {
        "Alphabetic": [("FamilyName", "Yamada"), ("GivenName", "Tarou"), ("NamePrefix", "Dr")],
        "Ideographic": [("FamilyName", "山田"), ("GivenName", "太郎")],
    }


def test_writes_sequences_and_binary_values() -> None:
    found = parsed(
        t00081140={"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}, {}]},
        t00420011={"vr": "OB", "BulkDataURI": "https://x/?a=1&b=2"},
        t00281201={"vr": "OW", "InlineBinary": "AAA="},
    )
    first, second = found["00081140"]
    assert (first.tag, first.attrib, list(second)) == ("Item", {"number": "1"}, [])
    assert first[0].attrib["keyword"] == "ReferencedSOPInstanceUID"
    assert found["00420011"][0].attrib == {"uri": "https://x/?a=1&b=2"}
    assert (found["00281201"][0].tag, found["00281201"][0].text) == ("InlineBinary", "AAA=")


def test_names_the_creator_of_private_elements() -> None:
    found = parsed(
        t00090010={"vr": "LO", "Value": ["LIGHT"]},
        t00091001={"vr": "UN", "InlineBinary": "AAA="},
        t00092001={"vr": "LO", "Value": ["whose?"]},
    )
    assert found["00090001"].attrib == {"tag": "00090001", "vr": "UN", "privateCreator": "LIGHT"}
    assert found["00092001"].attrib == {"tag": "00092001", "vr": "LO"}
    assert len(found) == 2
