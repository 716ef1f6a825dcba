"""The fast parsers, the full parser and pydicom agree on every file."""

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


def parsed_parts(dataset: ParsedDataset) -> tuple[Any, ...]:
    """All that an instance is made of; JSON as bytes, so that even the order of keys has to agree."""
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


def compare_parsers(files: list[tuple[Path, Part10]]) -> tuple[int, int]:
    """How many files both parsers agree on, without and with a filled cache, and how many fell back."""
    shared_cache = SeriesCache()
    equal = fallbacks = 0
    for one_pass in range(2):
        for path, part10 in files:
            try:
                full = parsed_parts(parse_fully(part10))
            except InputError:
                full = None
            try:
                fast = parsed_parts(parse_fast(part10, shared_cache if one_pass else SeriesCache()))
                again = parsed_parts(parse_fast(part10, shared_cache))
            except FallbackToFullParser:
                fallbacks += 1
                continue
            assert fast == full, path
            assert again == full, path
            equal += 1
        shared_cache.rotate()
    return equal, fallbacks


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


def test_fast_and_full_parser_agree_on_pydicoms_files(tmp_path: Path) -> None:
    files = open_all(WHEEL / "test_files", tmp_path) + open_all(WHEEL / "charset_files", tmp_path)
    equal, fallbacks = compare_parsers([(path, p) for path, p in files if p.little_endian])
    assert equal > 8 * fallbacks > 0


def test_agrees_with_pydicom_on_pydicoms_files(tmp_path: Path) -> None:
    files = open_all(WHEEL / "test_files", tmp_path) + open_all(WHEEL / "charset_files", tmp_path)
    assert compare_with_pydicom(files) > 150


@needs_shared
@pytest.mark.parametrize("folder", ["ct-head-phantom", "mr-sagittal", "enhanced-mr", "syntaxes"])
def test_fast_and_full_parser_agree_on_real_series(folder: str, tmp_path: Path) -> None:
    files = [(path, p) for path, p in open_all(SHARED / folder, tmp_path) if p.little_endian]
    equal, fallbacks = compare_parsers(files)
    assert equal > 10 * fallbacks


@needs_shared
@pytest.mark.parametrize("folder", ["ct-head-phantom", "mr-sagittal", "enhanced-mr", "syntaxes"])
def test_agrees_with_pydicom_on_real_series(folder: str, tmp_path: Path) -> None:
    files = open_all(SHARED / folder, tmp_path)
    files = files[:: max(1, len(files) // 40)]
    assert compare_with_pydicom(files) == len(files)


# Random data sets: every VR, sequences of both lengths, private blocks, several character sets.

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
_SHARED_CACHE = SeriesCache(1 << 20)
EXAMPLES = int(os.environ.get("LIGHTWELL_TEST_EXAMPLES", "200"))


@cache
def tags_by_vr() -> dict[str, list[int]]:
    parsed_parts: dict[str, list[int]] = {}
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        if keyword and 0x0008 < tag >> 16 < 0x7FE0 and tag & 0xFFFF:
            parsed_parts.setdefault(vr, []).append(tag)
    return parsed_parts


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
    """One element; its tag and VR usually belong together."""
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
    parsed_parts = draw(st.lists(elements(form, depth), max_size=12 if not depth else 4))
    if draw(st.integers(0, 19)):
        by_tag = {struct.unpack(">HH" if form == "big" else "<HH", data[:4]): data for data in parsed_parts}
        parsed_parts = [by_tag[tag] for tag in sorted(by_tag)]
    return b"".join(parsed_parts)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_CHARSETS), st.booleans(), st.data())
def test_fast_and_full_parser_agree_on_random_data_sets(
    charset: str, pixels: bool, data: st.DataObject
) -> None:
    form = data.draw(st.sampled_from(["explicit", "implicit"]))
    content = headers.element(0x00080005, "CS", charset, form=form) + data.draw(datasets(form))
    if pixels:
        content += headers.element(0x7FE00010, "OW", bytes(64), form=form)
    part10 = headers.opened(headers.part10(content, syntax=_FORMS[form]))
    full = parsed_parts(parse_fully(part10))
    for one in full[0]:
        json.loads(one)
    json.loads(b"{" + full[1] + b"}")
    for kept in (_SHARED_CACHE, _SHARED_CACHE, SeriesCache()):
        try:
            assert parsed_parts(parse_fast(part10, kept)) == full
        except FallbackToFullParser:
            return
    _SHARED_CACHE.rotate()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_CHARSETS[:6]), st.data())
def test_agrees_with_pydicom_on_random_data_sets(charset: str, data: st.DataObject) -> None:
    form, syntax = data.draw(st.sampled_from(list(_FORMS.items())))
    dataset = data.draw(datasets(form))
    file = headers.part10(headers.element(0x00080005, "CS", charset, form=form) + dataset, syntax=syntax)
    parsed = parse_fully(headers.opened(file))
    assert shown(parsed) == expected(BytesIO(file))
