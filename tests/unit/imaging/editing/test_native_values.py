"""Values that a client gives, typed as documents show them, and as files hold them."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.image_sets.updates import same_value
from lightwell.errors import ValidationError
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dictionary import attribute_named
from lightwell.imaging.dataset.element_scanner import Encoding
from lightwell.imaging.editing.edited_elements import edited_elements
from lightwell.imaging.editing.native_values import TypingRules, typed_edit
from lightwell.imaging.editing.vr_conformance import nonconformance
from tests.unit.imaging.headers import EXPLICIT, element, meta, read

#: an attribute of one value for each VR, and one of several
SINGLE = {
    "AE": "StationAETitle", "AS": "PatientAge", "CS": "PatientSex", "DA": "ContentDate",
    "DS": "SliceThickness", "DT": "AcquisitionDateTime", "IS": "InstanceNumber", "LO": "ContrastBolusAgent",
    "LT": "ImageComments", "SH": "AccessionNumber", "ST": "InstitutionAddress", "TM": "ContentTime",
    "UC": "LongCodeValue", "UI": "DimensionOrganizationUID", "UR": "RetrieveURI", "UT": "TextValue",
    "PN": "ContentCreatorName", "US": "Rows", "UL": "RegionFlags", "SS": "TagAngleSecondAxis",
    "SL": "ReferencePixelX0", "FL": "ExaminedBodyThickness", "FD": "ReferencePixelPhysicalValueX",
    "AT": "SelectorAttribute", "OB": "EncryptedContent", "OW": "RedPaletteColorLookupTableData",
}  # fmt: skip
SEVERAL = {
    "CS": "ImageType", "LO": "SelectorLOValue", "DS": "WindowCenter", "IS": "ReferencedFrameNumber",
    "SH": "SelectorSHValue", "US": "SelectorUSValue", "FD": "SelectorFDValue", "AT": "FrameIncrementPointer",
    "PN": "SelectorPNValue", "UI": "RelatedGeneralSOPClassUID", "DA": "CalibrationDate",
    "UC": "SelectorUCValue",
}  # fmt: skip

line = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), exclude_characters="\\=^"),
    max_size=16,
)
numerals = st.integers(0, 9999).map(str)
dates = st.dates().map(lambda date: f"{date:%Y%m%d}".zfill(8))
TEXTS: dict[str, st.SearchStrategy[str]] = {
    "AE": st.from_regex(r"[A-Z]{1,16}", fullmatch=True),
    "AS": st.from_regex(r"[0-9]{3}[DWMY]", fullmatch=True),
    "CS": st.from_regex(r"[A-Z0-9_ ]{0,16}", fullmatch=True),
    "DA": dates,
    "DS": st.floats(-1e5, 1e5).map(lambda number: f"{number:.4f}") | numerals.map(lambda text: f"{text} "),
    "DT": dates.map(lambda date: f"{date}101112.25+0100") | dates,
    "IS": numerals,
    "TM": st.from_regex(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?", fullmatch=True),
    "UI": st.lists(st.integers(0, 999), min_size=1, max_size=8).map(lambda parts: ".".join(map(str, parts))),
    "UR": st.from_regex(r"https?://[a-z]{1,9}", fullmatch=True),
    "LT": line, "ST": line, "UT": line,
}  # fmt: skip
INTEGERS = {"US": (0, 2**16), "SS": (-(2**15), 2**15), "UL": (0, 2**32), "SL": (-(2**31), 2**31)}


def one(vr: str) -> st.SearchStrategy[Any]:
    if vr in INTEGERS:
        low, high = INTEGERS[vr]
        return st.integers(low, high - 1)
    if vr in ("FL", "FD"):
        return st.floats(width=32 if vr == "FL" else 64).map(lambda x: x if math.isfinite(x) else "NaN")
    if vr == "AT":
        return st.integers(0, 2**32 - 1).map(lambda tag: f"{tag:08X}")
    if vr in values.BINARY:
        return st.binary(max_size=20).map(lambda data: base64.b64encode(data[: len(data) // 2 * 2]).decode())
    return TEXTS.get(vr, line)


def given_values() -> st.SearchStrategy[tuple[str, Any]]:
    single = st.sampled_from(sorted(SINGLE)).flatmap(
        lambda vr: st.tuples(st.just(SINGLE[vr]), one(vr) | st.none() | st.just(""))
    )
    several = st.sampled_from(sorted(SEVERAL)).flatmap(
        lambda vr: st.tuples(st.just(SEVERAL[vr]), st.lists(one(vr), max_size=4) | one(vr))
    )
    return single | several


def edit_of(key: str, value: Any, *, force: bool = False) -> Edit:
    attribute = attribute_named(key)
    assert attribute is not None, key
    return typed_edit(attribute, value, TypingRules({}, force))


def shown_in_a_file(key: str, edit: Edit) -> Any:
    """What the import shows of a file with that element."""
    laid = edited_elements({key: edit}, Encoding(implicit=False, big=False), with_pixels=False)
    needed = {
        0x00080005: element(0x00080005, "CS", "ISO_IR 192"),
        0x00080016: element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7"),
        0x00080018: element(0x00080018, "UI", "1.2.3.4"),
        0x0020000D: element(0x0020000D, "UI", "1.2.3"),
        0x0020000E: element(0x0020000E, "UI", "1.2.3.1"),
        0x00280103: element(0x00280103, "US", b"\0\0"),
    }
    elements = {**needed, **laid.elements}
    found = read(
        b"\0" * 128 + b"DICM" + meta(EXPLICIT) + b"".join(e for _, e in sorted(elements.items()) if e)
    )
    blocks = [json.loads(block) for block in (found.patient, found.study, found.series)]
    blocks.append(json.loads(b"{" + found.fragment + b"}")["DICOM"])
    (shown,) = [block[key] for block in blocks if key in block]
    return shown


@given(given_values())
def test_shows_an_edit_as_an_import_shows_the_file_that_it_is_exported_to(given: tuple[str, Any]) -> None:
    key, value = given
    edit = edit_of(key, value)
    # DS and IS show the space that a file has at the end of an odd length.
    assert same_value(edit.value, shown_in_a_file(key, edit))
    assert json.loads(json.dumps(edit.value)) == edit.value


@given(st.text(max_size=20), st.sampled_from(["LO", "SH", "CS", "UT", "PN", "DA", "TM", "UR"]))
def test_takes_any_text_with_force_and_shows_it_as_an_import_would(text: str, vr: str) -> None:
    text = text.replace("\0", "")
    try:
        edit = edit_of(SINGLE[vr], text, force=True)
    except ValidationError:
        assert vr == "DA" or len(text) > 16
        return
    assert shown_in_a_file(SINGLE[vr], edit) == edit.value


@pytest.mark.parametrize(
    ("vr", "good", "bad"),
    [
        ("AE", ["A B", "x" * 16], ["x" * 17, "ä", "a\\b", "a\n"]),
        ("AS", ["040Y", "001D"], ["40Y", "040X", "040y"]),
        ("CS", ["ORIGINAL", "A_B 1"], ["Brain", "A-B", "x" * 17]),
        ("DA", ["20240229"], ["20230229", "2023.02.28", "20231301", "202301", "20230101-20230102"]),
        ("DS", ["1", "-1.5e-3", " 2 ", ".5"], ["x", "1,5", "1e", "0.12345678901234567"]),
        ("DT", ["2024", "20240229101112.123456+0100"], ["20230229", "20", "2024-01-01"]),
        ("IS", ["-5", "+7 ", "2147483647"], ["1.5", "2147483648", "x", "1234567890123"]),
        ("LO", ["ä" * 64, "a b"], ["x" * 65, "a\nb", "a\\b", "a\x7fb"]),
        ("LT", ["a\r\nb\\c"], ["x" * 10241, "a\x07b"]),
        ("PN", ["A^B=Ä^B=C", "x" * 64 + "=y"], ["x" * 65, "a=b=c=d", "a\\b"]),
        ("SH", ["x" * 16], ["x" * 17]),
        ("ST", ["x" * 1024], ["x" * 1025]),
        (
            "TM",
            ["10", "1011", "101112", "101112.123456", "235960"],
            ["25", "1060", "10:11", "101112.1234567"],
        ),
        ("UI", ["1.2.0.3", "0"], ["1.02", "1.", ".1", "1" * 65, "a"]),
        ("UR", ["https://a/b?c=d"], ["a b", "a\\b", "ä"]),
        ("UC", ["x" * 9000], ["a\\b"]),
        ("UT", ["x\ny" * 999], ["\x00"]),
    ],
)
def test_tells_values_of_a_vr_from_others(vr: str, good: list[str], bad: list[str]) -> None:
    assert [nonconformance(vr, text) for text in good] == [None] * len(good)
    assert [text for text in bad if nonconformance(vr, text) is None] == []
    assert nonconformance(vr, "") is None


def test_chooses_the_vr_that_goes_with_the_value() -> None:
    for value, vr in ((5, "US"), (-5, "SS"), (None, "US"), ("-5", "SS"), ("7", "US")):
        assert edit_of("SmallestImagePixelValue", value).vr == vr
    assert edit_of("RedPaletteColorLookupTableDescriptor", [256, -1, 16], force=True).vr == "SS"
    assert edit_of("GrayLookupTableData", "AAE=", force=True).vr == "OW"


@pytest.mark.parametrize(
    "digits", ["1000000", "+1000000", " 7 ", "0" * 30 + "7", "0" * 5000, "-" + "9" * 5000]
)
def test_takes_a_count_that_is_small_enough_however_it_is_written(digits: str) -> None:
    assert edit_of("NumberOfStudyRelatedSeries", digits, force=True).value == digits


@pytest.mark.parametrize("digits", ["1000001", "0001000001", "9" * 5000])
def test_refuses_a_count_that_is_too_large(digits: str) -> None:
    with pytest.raises(ValidationError, match="at most 1000000 is allowed"):
        edit_of("NumberOfStudyRelatedSeries", digits, force=True)
