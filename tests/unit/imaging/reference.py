"""The expected metadata of a file, by pydicom only: parsing, character sets, numbers, VRs.

It uses nothing of the parsers but the table of levels, and is simple and slow on purpose.
"""

from __future__ import annotations

import base64
import logging
import math
import struct
import warnings
from typing import Any

import numpy
from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_has_tag, dictionary_VM, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException
from pydicom.filereader import dcmread
from pydicom.tag import BaseTag
from pydicom.valuerep import TEXT_VR_DELIMS

from lightwell.domain.image_sets.levels import INSTANCE, level_of

PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_BINARY = {"OB": 1, "UN": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_TEXT = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
_BY_CHARSET = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
_ONE = {"LT", "ST", "UT", "UR"}


def expected(path: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Patient, study, series and instance blocks of a file, and DICOMVRs."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(path)
        blocks: list[dict[str, Any]] = [{}, {}, {}, {}]
        vrs: dict[str, str] = {}
        nested: dict[str, str] = {}
        for part in (dataset.file_meta, dataset):
            for key, value, tag, vr in _elements(part, nested):
                keyed = (not key[0].isdigit() and len(key) != 8) or key == keyword_for_tag(tag)
                blocks[level_of(key) if keyed else INSTANCE][key] = value
                if not keyed:
                    vrs[key] = vr
        for key, vr in nested.items():
            vrs.setdefault(key, vr)
        return blocks, vrs


def _elements(dataset: Dataset, nested: dict[str, str], *, top: bool = True) -> Any:
    raws: dict[BaseTag, Any] = {tag: dataset.get_item(tag) for tag in list(dataset.keys())}
    encodings = convert_encodings(dataset.get("SpecificCharacterSet", None) or dataset._parent_encoding)
    for tag in sorted(raws):
        if (tag.element == 0 and tag.group != 2) or (top and tag in PIXELS):
            continue
        raw = raws[tag]
        private = tag.is_private
        keyword = "" if private or not dictionary_has_tag(tag) else keyword_for_tag(tag)
        key = keyword or f"{int(tag):08X}"
        private_unknown = (
            private and isinstance(raw, RawDataElement) and raw.VR == "UN" and tag.element > 0xFF
        )
        try:
            element = None if private_unknown else dataset[tag]
        except BytesLengthException:  # what the private dictionary says does not fit
            element = None
        vr = "UN" if element is None else str(element.VR)
        value: Any
        if element is not None and vr == "SQ":
            if not keyword and not top:
                nested.setdefault(key, vr)
            items = []
            for item in element.value:
                shown = {}
                for inner, inner_value, inner_tag, inner_vr in _elements(item, nested, top=False):
                    shown[inner] = inner_value
                    if inner == f"{int(inner_tag):08X}":
                        nested.setdefault(inner, inner_vr)
                items.append(shown)
            value = items or (None if keyword else "")
        else:
            value = _value(tag, vr, raw, element, keyword, encodings)
        yield key, value, tag, vr


def _value(tag: Any, vr: str, raw: Any, element: Any, keyword: str, encodings: Any) -> Any:
    data = raw.value if isinstance(raw, RawDataElement) else None
    big = isinstance(raw, RawDataElement) and not raw.is_little_endian
    values: list[Any]
    if isinstance(raw, RawDataElement) and not data:
        values = []
    elif vr in _BINARY:
        content = data if data is not None else bytes(element.value or b"")
        if big and _BINARY[vr] > 1:
            content = numpy.frombuffer(content, f">u{_BINARY[vr]}").astype(f"<u{_BINARY[vr]}").tobytes()
        if tag.is_private and len(content) > 1 << 20:
            return ""
        values = [base64.b64encode(content).decode()] if content else []
    elif vr in ("DS", "IS"):
        text = data.decode("latin-1") if data is not None else _joined(element)
        found = _split(tag, vr, text, keyword) if text.strip(" \0") else []
        values = [value.rstrip("\0") for value in found]
    elif vr in _TEXT:
        if data is None:
            text = _joined(element)
        elif vr in _BY_CHARSET:
            text = _decoded(data, encodings)
        else:
            text = data.decode("latin-1")
        text = text.rstrip(" \0")
        strip = str.strip if vr in ("AE", "CS", "LO", "SH", "UI") else str.rstrip
        values = [strip(t, " \0") for t in _split(tag, vr, text, keyword)] if text else []
    else:
        found = element.value
        values = [] if element.is_empty else list(found) if element.VM > 1 else [found]
        if vr == "AT":
            values = [f"{int(v):08X}" for v in values]
        elif vr in ("FL", "FD"):
            values = [_float(v) for v in values]
    if not values:
        return None if keyword else ""
    if (not keyword or dictionary_VM(tag) == "1") and len(values) == 1:
        return values[0]
    return values


def _decoded(data: bytes, encodings: Any) -> str:
    """As pydicom, which does not look for UTF-8 where no character set is named."""
    if encodings[0] == "iso8859" and b"\x1b" not in data:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            pass
    text: str = decode_bytes(data, encodings, TEXT_VR_DELIMS)
    return text


def _joined(element: Any) -> str:
    """Text of an element that pydicom has converted already."""
    if element.value is None:
        return ""
    return "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)


def _split(tag: Any, vr: str, text: str, keyword: str) -> list[str]:
    if vr in _ONE or (keyword and dictionary_VM(tag) == "1"):
        return [text]
    return text.split("\\")


def _float(value: float) -> Any:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return struct.unpack("<d", struct.pack("<d", value))[0]
