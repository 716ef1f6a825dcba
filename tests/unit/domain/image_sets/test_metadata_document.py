"""The native document, joined from ready pieces."""

from __future__ import annotations

import json

import pytest

from lightwell.domain.image_sets import metadata_document
from lightwell.domain.image_sets.frame_table import Frame, pack_entries
from lightwell.domain.image_sets.metadata_document import Member, MemberPixels
from lightwell.domain.keys import PixelsKey, RecordKey
from lightwell.errors import StorageError


def member(fragment: bytes, pixels: MemberPixels | None = None) -> Member:
    return Member(RecordKey(1), "1.2.3", fragment, (1, 2, 3), pixels)


def laid(own: object, base: object) -> dict[str, object]:
    text = metadata_document.level_differences(json.dumps(own).encode(), json.dumps(base).encode())
    found: dict[str, object] = json.loads(b"{" + text + b"}")
    return found


def whole(*instances: bytes) -> dict[str, object]:
    levels = (b'{"PatientID":"P"}', b"{}", b'{"Modality":"CT"}')
    text = (
        metadata_document.document_opening("d" * 32, "i" * 32, levels, '1.2"\\')
        + b",".join(instances)
        + metadata_document.DOCUMENT_CLOSING
    )
    found: dict[str, object] = json.loads(text)
    return found


def test_joins_levels_and_instances_to_one_document() -> None:
    one = (
        metadata_document.instance_opening(member(b'"DICOM":{"A":1},"DICOMVRs":{}'), b"")
        + metadata_document.INSTANCE_CLOSING
    )
    assert whole(one) == {
        "SchemaVersion": "1.1",
        "DatastoreID": "d" * 32,
        "ImageSetID": "i" * 32,
        "Patient": {"DICOM": {"PatientID": "P"}},
        "Study": {
            "DICOM": {},
            "Series": {
                '1.2"\\': {
                    "DICOM": {"Modality": "CT"},
                    "Instances": {"1.2.3": {"DICOM": {"A": 1}, "DICOMVRs": {}, "ImageFrames": []}},
                }
            },
        },
    }


def test_names_the_stored_syntax_only_where_there_are_pixels() -> None:
    pixels = MemberPixels(PixelsKey(7), "1.2.840.10008.1.2.4.202", "DECOMPRESSED", 1, 5, 4)
    text = metadata_document.instance_opening(member(b'"DICOM":{},"DICOMVRs":{}', pixels), b"")
    text += (
        metadata_document.frame_entries(pixels, 0, [Frame(10, 20, 3, 4294967295, -5, None)])
        + metadata_document.INSTANCE_CLOSING
    )
    assert json.loads(b"{" + text + b"}")["1.2.3"] == {
        "DICOM": {},
        "DICOMVRs": {},
        "StoredTransferSyntaxUID": "1.2.840.10008.1.2.4.202",
        "ChecksumType": "DECOMPRESSED",
        "ImageFrames": [
            {
                "ID": "00000000000000070000000000000000",
                "PixelDataChecksumFromBaseToFullResolution": [
                    {"Width": 5, "Height": 4, "Checksum": 4294967295}
                ],
                "MinPixelValue": -5,
                "MaxPixelValue": None,
                "FrameSizeInBytes": 20,
            }
        ],
    }


def test_numbers_the_frames_of_a_later_page_from_its_first() -> None:
    pixels = MemberPixels(PixelsKey(7), "1.2", "COMPRESSED", 300, 5, 4)
    text = b"[" + metadata_document.frame_entries(pixels, 256, [Frame(0, 1, 0, 0, None, None)] * 2) + b"]"
    assert [frame["ID"][16:24] for frame in json.loads(text)] == ["00000100", "00000101"]


def test_writes_an_instance_of_one_frame_as_any_other() -> None:
    pixels = MemberPixels(PixelsKey(7), "1.2.840.10008.1.2.4.202", "DECOMPRESSED", 1, 5, 4)
    frame = Frame(10, 20, 3, 4294967295, -5, 6)
    one = member(b'"DICOM":{},"DICOMVRs":{}', pixels)
    given = one.sop_instance_uid, one.fragment, (7, pixels.stored_syntax, pixels.checksum_type, 5, 4)
    by_parts = metadata_document.instance_opening(one, b"") + metadata_document.frame_entries(
        pixels, 0, [frame]
    )
    ready = metadata_document.single_frame_instance(*given, pack_entries([frame]))
    assert ready == by_parts + metadata_document.INSTANCE_CLOSING
    assert (
        metadata_document.single_frame_instance(*given, pack_entries([Frame(10, 20, 3, 1, None, None)]))
        is None
    )


def test_shows_only_what_an_instance_has_otherwise() -> None:
    assert laid({"A": "1", "B": ["x"], "C": 3}, {"A": "1", "B": ["y"], "C": 3}) == {"B": ["x"]}
    assert laid({"A": 1}, {"A": 1}) == {}


def test_shows_as_empty_what_only_other_instances_have() -> None:
    assert laid({"A": "1"}, {"A": "1", "PixelPaddingValue": -2000}) == {"PixelPaddingValue": None}


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        (b'"DICOM":{},"DICOMVRs":{}', {"DICOM": {"X": 1}, "DICOMVRs": {}}),
        (b'"DICOM":{"A":"}"},"DICOMVRs":{}', {"DICOM": {"X": 1, "A": "}"}, "DICOMVRs": {}}),
    ],
)
def test_lays_differing_attributes_into_the_instance(fragment: bytes, expected: object) -> None:
    assert json.loads(b"{" + metadata_document.insert_members(fragment, b'"X":1') + b"}") == expected


def test_refuses_a_fragment_that_is_none() -> None:
    with pytest.raises(StorageError):
        metadata_document.insert_members(b'{"DICOM":{}}', b'"X":1')


def test_keeps_characters_of_every_script() -> None:
    assert laid({"PatientName": "山田^太郎"}, {"PatientName": "Yamada^Tarou"}) == {"PatientName": "山田^太郎"}
