"""The proof that the fast lane, the careful lane and pydicom find the same in every file."""

from __future__ import annotations

import json
import os
import struct
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary

from lightwell.errors import InputError
from lightwell.imaging.dataset import dicom_json
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.fast_explicit_parser import FallbackToFullParser
from lightwell.imaging.dataset.parse import ParsedDataset, parse_fast, parse_fully
from lightwell.imaging.dataset.part10 import FileSource, Part10, open_part10
from lightwell.imaging.instances import summary
from tests.support.shared_data import SHARED, needs_shared
from tests.unit.imaging import headers
from tests.unit.imaging.reference import expected

WHEEL = Path(pydicom.data.__file__).parent


def found(dataset: ParsedDataset) -> tuple[Any, ...]:
    """All that an instance is made of; JSON as bytes, so that not even the order of keys may differ."""
    return (
        [summary.level_block(level) for level in dataset.levels[:3]],
        summary.instance_fragment(dataset.levels),
        dicom_json.lines(dataset.elements),
        dataset.pixel,
        dataset.original,
        {tag: entry.value for tag, entry in dataset.needed.items()},
        summary.collect_warnings([entry for level in dataset.levels for entry in level], dataset.warnings),
        summary.describe_image(dataset.needed, "PixelData", []),
    )


def shown(dataset: ParsedDataset) -> tuple[list[dict[str, Any]], dict[str, str]]:
    fragment = json.loads(b"{" + summary.instance_fragment(dataset.levels) + b"}")
    levels = [json.loads(summary.level_block(level)) for level in dataset.levels[:3]]
    return [*levels, fragment["DICOM"]], fragment["DICOMVRs"]


def open_all(folder: Path, spool: Path) -> list[tuple[Path, Part10]]:
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                files.append((path, open_part10(FileSource(path), spool_dir=spool, inflate_limit=1 << 30)))
            except InputError:
                continue
    return files


def compare_lanes(files: list[tuple[Path, Part10]]) -> tuple[int, int]:
    """How many files were the same in both lanes, without and with a filled cache, and how many were left."""
    together = SeriesCache()
    equal = slow = 0
    for one_pass in range(2):
        for path, part10 in files:
            try:
                careful = found(parse_fully(part10))
            except InputError:
                careful = None
            try:
                fast = found(parse_fast(part10, together if one_pass else SeriesCache()))
                again = found(parse_fast(part10, together))
            except FallbackToFullParser:
                slow += 1
                continue
            assert fast == careful, path
            assert again == careful, path
            equal += 1
        together.rotate()
    return equal, slow


def compare_with_pydicom(files: list[tuple[Path, Part10]]) -> int:
    equal = 0
    for path, part10 in files:
        try:
            dataset = parse_fully(part10)
        except InputError:
            continue
        assert shown(dataset) == expected(path), path
        equal += 1
    return equal


def test_finds_the_same_in_both_lanes_in_pydicoms_files(tmp_path: Path) -> None:
    files = open_all(WHEEL / "test_files", tmp_path) + open_all(WHEEL / "charset_files", tmp_path)
    equal, slow = compare_lanes([(path, p) for path, p in files if p.little_endian])
    assert equal > 8 * slow > 0


def test_finds_the_same_as_pydicom_in_pydicoms_files(tmp_path: Path) -> None:
    files = open_all(WHEEL / "test_files", tmp_path) + open_all(WHEEL / "charset_files", tmp_path)
    assert compare_with_pydicom(files) > 150


@needs_shared
@pytest.mark.parametrize("folder", ["ct-head-phantom", "mr-sagittal", "enhanced-mr", "syntaxes"])
def test_finds_the_same_in_both_lanes_in_real_series(folder: str, tmp_path: Path) -> None:
    files = [(path, p) for path, p in open_all(SHARED / folder, tmp_path) if p.little_endian]
    equal, slow = compare_lanes(files)
    assert equal > 10 * slow


@needs_shared
@pytest.mark.parametrize("folder", ["ct-head-phantom", "mr-sagittal", "enhanced-mr", "syntaxes"])
def test_finds_the_same_as_pydicom_in_real_series(folder: str, tmp_path: Path) -> None:
    files = open_all(SHARED / folder, tmp_path)
    files = files[:: max(1, len(files) // 40)]
    assert compare_with_pydicom(files) == len(files)


# Data sets made by chance: every VR, sequences of both lengths, private blocks, several character sets.

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_PLAIN = ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"]
_TEXTS = ["LO", "LT", "PN", "SH", "ST", "UC", "UT"]
_CHARSETS = [
    "",
    "ISO_IR 6",
    "ISO_IR 100",
    "ISO_IR 192",
    "ISO_IR 144",
    "GB18030",
    "\\ISO 2022 IR 87",
    "nonsense",
]
_FORMS = {"explicit": headers.EXPLICIT, "implicit": headers.IMPLICIT, "big": headers.BIG}
_TOGETHER = SeriesCache(1 << 20)
EXAMPLES = int(os.environ.get("LIGHTWELL_TEST_EXAMPLES", "200"))


@cache
def tags_by_vr() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        if keyword and 0x0008 < tag >> 16 < 0x7FE0 and tag & 0xFFFF:
            found.setdefault(vr, []).append(tag)
    return found


@st.composite
def values(draw: st.DrawFn, vr: str) -> bytes:
    if draw(st.integers(0, 9)) == 0:
        return b""
    if vr in _NUMBERS:
        size = struct.calcsize("<" + _NUMBERS[vr])
        return b"".join(draw(st.lists(st.binary(min_size=size, max_size=size), max_size=4)))
    if vr == "AT":
        return b"".join(draw(st.lists(st.binary(min_size=4, max_size=4), max_size=3)))
    if vr in _TEXTS:
        text = draw(st.text(st.characters(codec="utf-8", exclude_characters="\x1b"), max_size=20))
        return headers.even(text.encode(draw(st.sampled_from(["utf-8", "latin-1", "gb18030"])), "replace"))
    if vr in ("DS", "IS"):
        return headers.even(draw(st.text("0123456789.+-\\ ", max_size=18)))
    if vr in _PLAIN:
        return headers.even(draw(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=18)))
    if vr in ("OB", "UN"):
        return headers.even(draw(st.binary(max_size=40)), b"\0")
    return b"".join(draw(st.lists(st.binary(min_size=8, max_size=8), max_size=4)))


@st.composite
def elements(draw: st.DrawFn, form: str, depth: int = 0) -> bytes:
    """One element: its tag and VR belong together, as a rule."""
    kind = draw(st.integers(0, 9))
    if kind == 0 and depth < 3:
        private = [0x00091001, 0x00291010, 0x00091027]
        tag = draw(st.sampled_from([*tags_by_vr()["SQ"][:40], *private]))
        order = ">" if form == "big" else "<"
        items = draw(st.lists(datasets(form, depth + 1), min_size=tag in private, max_size=3))
        made = [headers.item(one, undefined=draw(st.booleans()), order=order) for one in items]
        undefined = draw(st.booleans()) or (form == "implicit" and tag in private)
        return headers.sequence(tag, *made, undefined=undefined, form=form)
    vr = draw(st.sampled_from([*_NUMBERS, *_PLAIN, *_TEXTS, "AT", "OB", "OW", "OF", "OL", "OD", "OV", "UN"]))
    known = tags_by_vr().get(vr, [])
    if kind == 1 or not known:
        tag = draw(st.sampled_from([0x00091002, 0x00091027, 0x00191003, 0x60003000, 0x00189445, 0x00880001]))
    elif kind == 2:
        # a private creator, and words whose sign depends on PixelRepresentation
        special = [("LO", 0x00090010), ("SS", 0x00280106), ("US", 0x00280120), ("SS", 0x00189810)]
        vr, tag = draw(st.sampled_from(special))
    else:
        tag = draw(st.sampled_from(known))
    if tag == 0x00090010 and draw(st.booleans()):
        creator = draw(st.sampled_from(["GEMS_IDEN_01", "SIEMENS CT VA0 COAD"]))
        return headers.element(tag, vr, creator, form=form)
    return headers.element(tag, vr, draw(values(vr)), form=form)


@st.composite
def datasets(draw: st.DrawFn, form: str, depth: int = 0) -> bytes:
    found = draw(st.lists(elements(form, depth), max_size=12 if not depth else 4))
    if draw(st.integers(0, 19)):
        by_tag = {struct.unpack(">HH" if form == "big" else "<HH", data[:4]): data for data in found}
        found = [by_tag[tag] for tag in sorted(by_tag)]
    return b"".join(found)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_CHARSETS), st.booleans(), st.data())
def test_finds_the_same_in_both_lanes_in_data_sets_made_by_chance(
    charset: str, pixels: bool, data: st.DataObject
) -> None:
    form = data.draw(st.sampled_from(["explicit", "implicit"]))
    content = headers.element(0x00080005, "CS", charset, form=form) + data.draw(datasets(form))
    if pixels:
        content += headers.element(0x7FE00010, "OW", bytes(64), form=form)
    part10 = headers.opened(headers.part10(content, syntax=_FORMS[form]))
    careful = found(parse_fully(part10))
    for one in careful[0]:
        json.loads(one)
    json.loads(b"{" + careful[1] + b"}")
    for kept in (_TOGETHER, _TOGETHER, SeriesCache()):
        try:
            assert found(parse_fast(part10, kept)) == careful
        except FallbackToFullParser:
            return
    _TOGETHER.rotate()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_CHARSETS[:6]), st.data())
def test_finds_the_same_as_pydicom_in_data_sets_made_by_chance(charset: str, data: st.DataObject) -> None:
    form, syntax = data.draw(st.sampled_from(list(_FORMS.items())))
    dataset = data.draw(datasets(form))
    file = headers.part10(headers.element(0x00080005, "CS", charset, form=form) + dataset, syntax=syntax)
    parsed = parse_fully(headers.opened(file))
    assert shown(parsed) == expected(BytesIO(file))
