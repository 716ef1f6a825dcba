"""Files written again: every element unchanged, in whatever encoding is required."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import Any

import pydicom
import pytest

from lightwell.errors import InputError
from lightwell.imaging.dataset.element_scanner import Encoding
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.editing.override_elements import override_elements
from lightwell.imaging.instances.writer import PixelValue, encapsulate, write_part10
from tests.unit.imaging.headers import BIG, DEFLATED, EXPLICIT, IMPLICIT, element, item, meta, read, sequence

KEPT = "1.2.840.10008.1.2.4.91"
UNKNOWN = "1.2.840.113619.5.2"
FORMS = {EXPLICIT: "explicit", IMPLICIT: "implicit", BIG: "big", KEPT: "explicit", UNKNOWN: "implicit"}
IMAGE = ImageDescription(1, 2, 3, 8, 8, False, "YBR_FULL", 1, 1, True, "PixelData")
NATIVE = PixelValue("PixelData", "OB", EXPLICIT, 6, [b"abcdef"])


def written(
    *elements: bytes, syntax: str = EXPLICIT, pixel: PixelValue | None = None, override: Any = None
) -> bytes:
    out = io.BytesIO()
    write_part10(out, meta(syntax) + b"".join(elements), pixel, override)
    return out.getvalue()


def dataset(data: bytes) -> bytes:
    """What stands after the file meta group."""
    return data[132 + 12 + struct.unpack_from("<I", data, 140)[0] :]


def uids(form: str = "explicit") -> list[bytes]:
    return [
        element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7", form=form),
        element(0x00080018, "UI", "1.2.3.4", form=form),
        element(0x0020000D, "UI", "1.2.3", form=form),
        element(0x0020000E, "UI", "1.2.3.1", form=form),
    ]


ODD = [
    element(0x00080005, "CS", "ISO_IR 999"),
    element(0x00080020, "DA", "2020.01.01 and more"),
    element(0x00100010, "PN", b"J\xe9r\xff\x1b$"),
    element(0x00180050, "DS", "  1,5e "),
    element(0x00186020, "SL", b"ab"),
    element(0x00200011, "IS", "ninety"),
    element(0x00280009, "AT", b"\1\2"),
    element(0x00091001, "XX", b"unknown VR"),
]


def test_keeps_every_byte_of_what_needs_no_other_encoding() -> None:
    elements = sorted([*uids(), *ODD], key=lambda e: struct.unpack_from("<HH", e))
    assert dataset(written(*elements)) == b"".join(elements)
    assert dataset(written(*elements, pixel=NATIVE)) == b"".join(elements) + element(
        0x7FE00010, "OB", b"abcdef"
    )


def test_leaves_out_group_lengths_stray_delimiters_and_padding() -> None:
    stray = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    length = element(0x00080000, "UL", struct.pack("<I", 9))
    assert dataset(written(length, *uids(), stray, bytes(64))) == b"".join(uids())


def test_puts_the_pixels_in_their_place() -> None:
    after = element(0xFFFCFFFC, "OB", bytes(4))
    data = dataset(written(*uids(), after, pixel=NATIVE))
    assert data.endswith(element(0x7FE00010, "OB", b"abcdef") + after)


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG])
def test_turns_other_encodings_into_explicit_little_endian(syntax: str) -> None:
    form = FORMS[syntax]
    order = ">" if form == "big" else "<"

    def number(code: str, *numbers: float) -> bytes:
        return struct.pack(order + code, *numbers)

    inner = element(0x00281201, "OW", number("3H", 1, 2, 3), form=form)
    elements = [
        *uids(form)[:2],
        sequence(0x00081140, item(inner, undefined=True, order=order), undefined=True, form=form),
        element(0x00186020, "SL", number("i", -82), form=form),
        element(0x00189073, "FD", number("d", 0.1), form=form),
        *uids(form)[2:],
        element(0x00280009, "AT", number("HH", 0x18, 0x1065), form=form),
        element(0x00281201, "OW", number("3H", 0x102, 3, 4), form=form),
    ]
    data = written(*elements, syntax=syntax, pixel=NATIVE)
    before, after = read(bytes(128) + b"DICM" + meta(syntax) + b"".join(elements)), read(data)
    assert (after.series, after.study) == (before.series, before.study)
    assert pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID == EXPLICIT
    assert sequence(0x00081140, item(element(0x00281201, "OW", struct.pack("<3H", 1, 2, 3)))) in data
    for wanted in (
        element(0x00186020, "SL", struct.pack("<i", -82)),
        element(0x00189073, "FD", struct.pack("<d", 0.1)),
        element(0x00280009, "AT", struct.pack("<HH", 0x18, 0x1065)),
        element(0x00281201, "OW", struct.pack("<3H", 0x102, 3, 4)),
    ):
        assert wanted in data


def test_writes_what_is_too_long_for_its_vr_as_unknown() -> None:
    long = element(0x30060050, "DS", b"1.5\\" * 20_000, form="implicit")
    data = dataset(written(*uids("implicit"), long, syntax=IMPLICIT, pixel=NATIVE))
    assert element(0x30060050, "UN", b"1.5\\" * 20_000) in data


def test_says_of_decoded_pixels_what_they_are() -> None:
    coded = [element(0x00280004, "CS", "YBR_FULL_422"), element(0x00280006, "US", b"\0\0")]
    pixel = replace(NATIVE, image=IMAGE)
    data = dataset(written(*uids(), *coded, pixel=pixel))
    assert element(0x00280004, "CS", "YBR_FULL") + element(0x00280006, "US", b"\1\0") in data
    same = element(0x00280004, "CS", b"YBR_FULL        ")
    assert same in dataset(written(*uids(), same, pixel=pixel))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_applies_an_override_to_the_file(syntax: str) -> None:
    form = FORMS[syntax]
    override = {
        "00020010": {"vr": "UI", "Value": ["1.2"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Right^Name"}]},
        "00100040": {"vr": "CS"},
        "00280009": {"vr": "AT", "Value": ["00181065"]},
        "00280010": {"vr": "US", "Value": [513]},
        "00400275": {"vr": "SQ", "Value": [{"00400007": {"vr": "LO", "Value": ["a", "b"]}}]},
    }
    wrong = element(0x00100010, "PN", "Wrong^Name", form=form)
    found = pydicom.dcmread(
        io.BytesIO(written(*uids(form)[:2], wrong, *uids(form)[2:], syntax=syntax, override=override))
    )
    assert (found.file_meta.TransferSyntaxUID, found.PatientName) == (EXPLICIT, "Right^Name")
    assert (found.PatientSex, found.Rows, int(found.FrameIncrementPointer)) == ("", 513, 0x00181065)
    assert list(found.RequestAttributesSequence[0].ScheduledProcedureStepDescription) == ["a", "b"]
    assert "SpecificCharacterSet" not in found


def test_recodes_the_file_where_an_override_needs_more_letters() -> None:
    override = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Łukasz", "Ideographic": "山田"}]}}
    elements = [
        element(0x00080005, "CS", "ISO_IR 100"),
        *uids()[:2],
        element(0x00080080, "LO", "Hôpital".encode("latin_1")),
        *uids()[2:],
        sequence(
            0x00400275,
            item(
                element(0x00080005, "CS", "ISO_IR 144"), element(0x00400007, "LO", "Люк".encode("iso8859_5"))
            ),
        ),
    ]
    found = pydicom.dcmread(io.BytesIO(written(*elements, override=override)))
    assert (found.SpecificCharacterSet, found.PatientName) == ("ISO_IR 192", "Łukasz=山田")
    assert found.InstitutionName == "Hôpital"
    assert found.RequestAttributesSequence[0].ScheduledProcedureStepDescription == "Люк"


def test_encodes_an_override_in_each_form() -> None:
    override = {"00281201": {"vr": "OW", "InlineBinary": "AQACAA=="}, "00189073": {"vr": "FD", "Value": [1]}}
    assert override_elements(override, Encoding(implicit=False, big=True)) == {
        0x00281201: element(0x00281201, "OW", b"\0\1\0\2", form="big"),
        0x00189073: element(0x00189073, "FD", struct.pack(">d", 1), form="big"),
    }
    implicit = override_elements(override, Encoding(implicit=True, big=False))
    assert implicit[0x00189073] == element(0x00189073, "FD", struct.pack("<d", 1), form="implicit")


def test_keeps_an_unknown_syntax_and_its_content() -> None:
    pixel = PixelValue("PixelData", "OW", UNKNOWN, 2, [b"ab"], verbatim=True)
    data = written(*uids("implicit"), syntax=UNKNOWN, pixel=pixel)
    assert dataset(data) == b"".join(uids("implicit")) + element(0x7FE00010, "OW", b"ab", form="implicit")
    assert UNKNOWN.encode() in data[:400]


@pytest.mark.parametrize("syntax", [UNKNOWN, BIG])
def test_writes_text_in_utf8_under_the_encoding_of_the_pixels(syntax: str) -> None:
    form = FORMS[syntax]
    pixel = PixelValue("PixelData", "OW", syntax, 2, [b"ab"], verbatim=True)
    came = [
        element(0x00080005, "CS", "ISO_IR 100", form=form),
        element(0x00080090, "PN", b"J\xe9", form=form),
        sequence(
            0x00081140,
            item(element(0x00081155, "UI", "9.9", form=form), order=">" if form == "big" else "<"),
            form=form,
        ),
        element(0x00280010, "US", b"\1\2", form=form),
    ]
    data = written(*came, syntax=syntax, pixel=pixel, override={"00100010": {"vr": "PN", "Value": ["山"]}})
    assert dataset(data) == b"".join(
        [
            element(0x00080005, "CS", "ISO_IR 192", form=form),
            element(0x00080090, "PN", "Jé".encode() + b" ", form=form),
            *came[2:3],
            element(0x00100010, "PN", "山".encode(), form=form),
            came[3],
            element(0x7FE00010, "OW", b"ab", form=form),
        ]
    )


def test_keeps_offset_tables_with_unchanged_pixels_only() -> None:
    table = element(0x7FE00001, "OV", bytes(8))
    pixel = PixelValue("PixelData", "OB", KEPT, None, encapsulate([(2, [b"ab"])]))
    assert table not in written(*uids(), table, syntax=KEPT, pixel=pixel)
    verbatim = PixelValue("PixelData", "OB", KEPT, None, encapsulate([(2, [b"ab"])]), verbatim=True)
    assert table in written(*uids(), table, syntax=KEPT, pixel=verbatim)


def test_mends_what_only_lenient_readers_take() -> None:
    stray = element(0x00020013, "SH", "NAME")
    without = element(0x00100010, "PN", "A^B ", form="implicit")
    data = dataset(written(stray, *uids()[:2], without, *uids()[2:]))
    assert data == b"".join([*uids()[:2], element(0x00100010, "PN", "A^B "), *uids()[2:]])


def test_names_the_syntax_that_a_data_set_is_in() -> None:
    data = written(*uids(), syntax=IMPLICIT)
    assert dataset(data) == b"".join(uids())
    assert pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID == EXPLICIT
    data = written(*uids("implicit"), syntax=KEPT)
    assert dataset(data) == b"".join(uids())


def test_names_the_syntax_of_an_inflated_data_set() -> None:
    data = written(*uids(), syntax=DEFLATED)
    assert pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID == EXPLICIT


def test_refuses_pixels_of_another_length_than_said() -> None:
    with pytest.raises(InputError, match="6 are expected"):
        written(*uids(), pixel=replace(NATIVE, pieces=[b"abc"]))
    with pytest.raises(InputError, match="does not fit in an item"):
        list(encapsulate([(1 << 32, [])]))
