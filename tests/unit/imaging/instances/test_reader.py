"""What `parse_instance` makes of one file."""

from __future__ import annotations

import json
import logging
import struct
import warnings
from typing import Any

import pytest

from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.image_sets.levels import LEVELS, PATIENT, SERIES, STUDY
from lightwell.errors import InputError
from lightwell.imaging.instances.parse import ParsedInstance, SeriesCache, parse_instance
from tests.unit.imaging import headers
from tests.unit.imaging.headers import element, image, item, opened, read, sequence


def blocks(instance: ParsedInstance) -> tuple[Any, Any, Any, Any, Any]:
    fragment = json.loads(b"{" + instance.fragment + b"}")
    levels = [json.loads(block) for block in (instance.patient, instance.study, instance.series)]
    return (*levels, fragment["DICOM"], fragment["DICOMVRs"])


def us(value: int, order: str = "<") -> bytes:
    return struct.pack(order + "H", value)


PIXEL_MODULE = (
    element(0x00280002, "US", us(1)),
    element(0x00280004, "CS", "MONOCHROME2"),
    element(0x00280010, "US", us(4)),
    element(0x00280011, "US", us(6)),
    element(0x00280100, "US", us(16)),
    element(0x00280101, "US", us(12)),
    element(0x00280103, "US", us(1)),
)
PIXELS = element(0x7FE00010, "OW", bytes(48))


def test_sorts_attributes_into_their_levels() -> None:
    patient, study, series, instance, vrs = blocks(
        read(
            image(
                element(0x00080005, "CS", "ISO_IR 100"),
                element(0x00080020, "DA", "20200101"),
                element(0x00080060, "CS", "CT"),
                element(0x00090010, "LO", "ACME"),
                element(0x00100010, "PN", "A^B"),
                element(0x00100020, "LO", "17"),
                element(0x00101010, "AS", "050Y"),
                element(0x00280120, "US", us(7)),
            )
        )
    )
    assert patient == {"PatientID": "17", "PatientName": "A^B"}
    assert study == {"PatientAge": "050Y", "StudyDate": "20200101", "StudyInstanceUID": "1.2.3"}
    assert series == {"Modality": "CT", "PixelPaddingValue": 7, "SeriesInstanceUID": "1.2.3.1"}
    assert instance["SOPInstanceUID"] == "1.2.3.4"
    assert instance["TransferSyntaxUID"] == headers.EXPLICIT
    assert instance["FileMetaInformationGroupLength"] > 0
    assert instance["SpecificCharacterSet"] == ["ISO_IR 100"]
    assert instance["00090010"] == "ACME"
    assert vrs == {"00090010": "LO"}


def test_orders_level_blocks_by_keyword_and_instances_by_tag() -> None:
    found = read(
        image(
            element(0x00080008, "CS", "A\\B"),
            element(0x00091001, "LO", "x"),
            element(0x00100010, "PN", "A"),
            element(0x00100020, "LO", "1"),
            element(0x00100040, "CS", "F"),
            element(0x00180050, "DS", "1"),
        )
    )
    assert list(json.loads(found.patient)) == ["PatientID", "PatientName", "PatientSex"]
    shown = list(blocks(found)[3])
    assert shown[:3] == ["FileMetaInformationGroupLength", "FileMetaInformationVersion", "TransferSyntaxUID"]
    assert shown[3:] == ["ImageType", "SOPClassUID", "SOPInstanceUID", "00091001", "SliceThickness"]


def test_knows_the_published_number_of_attributes_of_each_level() -> None:
    assert [list(LEVELS.values()).count(level) for level in (PATIENT, STUDY, SERIES)] == [46, 50, 44]


def test_levels_only_elements_of_the_data_set_itself() -> None:
    inner = item(element(0x00100010, "PN", "X"), element(0x00191001, "LO", "p"))
    patient, study, _, instance, vrs = blocks(
        read(image(sequence(0x00081110, inner), sequence(0x00081140, inner), sequence(0x00191002, inner)))
    )
    shown = [{"PatientName": "X", "00191001": "p"}]
    assert patient == {}
    assert study["ReferencedStudySequence"] == shown
    assert instance["ReferencedImageSequence"] == shown
    assert instance["00191002"] == shown
    assert vrs == {"00191001": "LO", "00191002": "SQ"}


def test_tells_what_groups_and_names_the_instance() -> None:
    found = read(
        image(
            element(0x00080020, "DA", "20200101"),
            element(0x00080050, "SH", " A1 "),
            element(0x00100020, "LO", " 17 "),
            element(0x00200010, "SH", "S"),
            element(0x00200011, "IS", " 3 "),
            element(0x00200013, "IS", " 12 "),
        )
    )
    assert found.grouping == Grouping("1.2.3", "1.2.3.1", "17", "20200101", "A1", "S", "3")
    assert (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid) == (
        "1.2.3",
        "1.2.3.1",
        "1.2.3.4",
    )
    assert found.sop_class_uid == "1.2.840.10008.5.1.4.1.1.7"
    assert found.instance_number == 12
    assert read(image(element(0x00200013, "IS", "x1"))).instance_number is None


@pytest.mark.parametrize(
    ("tag", "keyword"),
    [
        (0x00080016, "SOPClassUID"),
        (0x00080018, "SOPInstanceUID"),
        (0x0020000D, "StudyInstanceUID"),
        (0x0020000E, "SeriesInstanceUID"),
    ],
)
def test_refuses_a_file_without_one_of_its_uids(tag: int, keyword: str) -> None:
    for data in (image(without=(tag,)), image(element(tag, "UI", b"\0 "), without=(tag,))):
        with pytest.raises(InputError, match=f"^DICOM attribute {keyword} does not exist$"):
            read(data)


@pytest.mark.parametrize(
    ("tag", "vr", "limit"),
    [
        (0x00100010, "PN", 256),
        (0x00100020, "LO", 256),
        (0x00100030, "DA", 18),
        (0x00100040, "CS", 16),
        (0x00080020, "DA", 18),
        (0x00080030, "TM", 28),
        (0x00080050, "SH", 256),
        (0x00081030, "LO", 256),
        (0x00200010, "SH", 256),
        (0x00080018, "UI", 256),
        (0x0020000D, "UI", 256),
        (0x0020000E, "UI", 256),
    ],
)
def test_refuses_values_above_the_element_constraints(tag: int, vr: str, limit: int) -> None:
    read(image(element(tag, vr, "1" * limit)))
    with pytest.raises(InputError, match=f"{limit + 1} characters long, at most {limit}"):
        read(image(element(tag, vr, "1" * (limit + 1))))


def test_refuses_numbers_above_the_element_constraints() -> None:
    read(image(element(0x00201206, "IS", "1000000")))
    for tag in (0x00201206, 0x00201208):
        with pytest.raises(InputError, match="1000001, at most 1000000"):
            read(image(element(tag, "IS", "1000001")))


def test_describes_the_image() -> None:
    found = read(image(*PIXEL_MODULE, element(0x00280008, "IS", "1 "), PIXELS))
    assert found.image
    assert (found.image.rows, found.image.columns, found.image.samples) == (4, 6, 1)
    assert (found.image.bits_allocated, found.image.bits_stored, found.image.signed) == (16, 12, True)
    assert (found.image.photometric, found.image.planar) == ("MONOCHROME2", 0)
    assert (found.image.frames, found.image.frames_declared) == (1, True)
    assert found.image.pixel_keyword == "PixelData"
    assert "PixelData" not in blocks(found)[3]


def test_describes_no_image_where_rows_are_missing() -> None:
    found = read(image(*PIXEL_MODULE[3:], PIXELS))
    assert found.image is None
    assert found.pixel


def test_treats_an_invalid_number_of_frames_as_one_and_says_so() -> None:
    found = read(image(*PIXEL_MODULE, element(0x00280008, "IS", "1A"), PIXELS))
    assert found.image
    assert (found.image.frames, found.image.frames_declared) == (1, False)
    assert [w.type for w in found.warnings] == ["CoercionOfDataElements"]


def test_replaces_an_impossible_sign_and_bits_with_the_nearest_and_says_so() -> None:
    wrong = (element(0x00280101, "US", us(17)), element(0x00280103, "US", us(3)))
    rest = [each for each in PIXEL_MODULE if each[:4] not in (wrong[0][:4], wrong[1][:4])]
    found = read(image(*rest, *wrong, PIXELS))
    assert found.image
    assert (found.image.bits_stored, found.image.signed) == (found.image.bits_allocated, True)
    assert [(w.type, w.message.partition(":")[0]) for w in found.warnings] == [
        ("CoercionOfDataElements", "BitsStored"),
        ("CoercionOfDataElements", "PixelRepresentation"),
    ]


def test_keys_unknown_retired_and_repeated_elements_by_digits() -> None:
    *_, instance, vrs = blocks(
        read(
            image(
                element(0x00080202, "OB", b"\0\1"),
                element(0x60003000, "OW", b"\1\2"),
                element(0x60020010, "US", us(3)),
            )
        )
    )
    assert instance["00080202"] == "AAE="
    assert instance["60003000"] == "AQI="
    assert instance["60020010"] == 3
    assert vrs["60003000"] == "OW"
    assert vrs["60020010"] == "US"
    assert vrs["00080202"] == "OB"


def test_leaves_out_group_lengths_but_that_of_the_file_meta() -> None:
    found = read(image(element(0x00080000, "UL", bytes(4)), element(0x00090000, "UL", bytes(4))))
    *_, instance, vrs = blocks(found)
    assert "00080000" not in instance
    assert vrs == {}


def test_shows_bytes_that_do_not_fit_their_vr_as_unknown() -> None:
    odd = read(image(element(0x00186028, "FD", b"\1\2\3\4")))
    *_, instance, vrs = blocks(odd)
    assert instance["00186028"] == "AQIDBA=="
    assert vrs == {"00186028": "UN"}
    assert [w.type for w in odd.warnings] == ["CoercionOfDataElements"]


def test_keeps_large_private_values_out_and_large_public_ones_in() -> None:
    found = read(
        image(
            element(0x00091001, "OB", bytes((1 << 20) + 2)),
            element(0x00091002, "OB", bytes(1 << 20)),
            element(0x00420011, "OB", bytes((1 << 20) + 2)),
        )
    )
    *_, instance, _ = blocks(found)
    assert instance["00091001"] == ""
    assert len(instance["00091002"]) > 1 << 20
    assert len(instance["EncapsulatedDocument"]) > 1 << 20


def test_inherits_the_character_set_into_sequences_until_they_have_their_own() -> None:
    greek = element(0x00080005, "CS", "ISO_IR 126")
    found = read(
        image(
            element(0x00080005, "CS", "ISO_IR 100"),
            sequence(0x00081115, item(element(0x00081030, "LO", b"\xe9"))),
            sequence(0x00081140, item(greek, element(0x00081030, "LO", b"\xe9"))),
        )
    )
    instance = blocks(found)[3]
    assert instance["ReferencedSeriesSequence"][0]["StudyDescription"] == "é"
    assert instance["ReferencedImageSequence"][0]["StudyDescription"] == "ι"


def test_warns_of_each_thing_once_and_of_no_more_than_fifty() -> None:
    bad = item(element(0x00081155, "UI", "1.2.x"))
    found = read(image(sequence(0x00081140, *[bad] * 100)))
    assert len(found.warnings) == 1
    many = [element(0x00091001 + n, "UI", "1.2.x") for n in range(80)]
    assert len(read(image(*many)).warnings) == 51


def test_passes_on_the_lack_of_memory_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: BaseException) -> Any:
        def raising(*_: object) -> None:
            raise error

        return raising

    part = opened(image())
    monkeypatch.setattr("lightwell.imaging.instances.parse.parse_fast", fail(MemoryError()))
    with pytest.raises(MemoryError):
        parse_instance(part, SeriesCache())
    monkeypatch.setattr("lightwell.imaging.instances.parse.parse_fast", fail(KeyError("x")))
    with pytest.raises(InputError, match="cannot be read"):
        parse_instance(part, SeriesCache())


def test_lets_nothing_of_pydicom_be_heard(caplog: pytest.LogCaptureFixture) -> None:
    strange = image(
        element(0x00080005, "CS", "nonsense\\ISO_IR 192"),
        element(0x00081030, "LO", b"\xff\xfe"),
        element(0x00180050, "DS", "one and a half millimetres"),
        element(0x00080060, "QQ", "CT"),
    )
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        found = read(strange)
    assert not caplog.records
    assert any("SpecificCharacterSet" in w.message for w in found.warnings)


def test_gives_no_zero_bytes_to_databases() -> None:
    found = read(image(element(0x00100020, "LO", b"1\x007")))
    assert found.grouping.patient_id == "1\ufffd7"
    assert json.loads(found.patient) == {"PatientID": "1\x007"}
