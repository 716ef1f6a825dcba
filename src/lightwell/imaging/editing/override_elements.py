"""A metadata override as elements, which replace those of the original in a DICOM file.

Source: PS3.18 Annex F (the JSON), PS3.5 §7 (the elements). `override` has validated it at import.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import cast

from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, Attribute
from lightwell.imaging.dataset.element_scanner import Encoding
from lightwell.imaging.dataset.reencode import element_header
from lightwell.imaging.editing.override import (
    IDENTIFYING_UIDS,
    json_bytes,
    json_elements,
    json_number,
    json_text,
    json_vr,
)


def override_elements(override: Mapping[str, object], encoding: Encoding) -> dict[int, bytes]:
    """Tag → bytes of each element that an override may change, text in UTF-8. Raises `InputError`."""
    return {
        attribute.tag: _encode(attribute, element, encoding)
        for attribute, element in json_elements(override)
        if attribute.tag >> 16 != 2 and attribute.tag not in (*PIXEL_TAGS, *IDENTIFYING_UIDS, CHARSET)
    }


def _encode(attribute: Attribute, element: Mapping[str, object], encoding: Encoding) -> bytes:
    vr = json_vr(attribute, element)
    json_values = cast(list[object], element.get("Value") or [])
    if vr == "SQ":
        data = b"".join([_encode_item(item, encoding) for item in json_values])
    elif vr in values.BINARY:
        data = json_bytes(attribute, element)
        data += b"\0" * (len(data) % 2)
        if encoding.big:
            data = values.swap_bytes(data, values.BINARY[vr])
    elif vr in values.TEXT:
        data = "\\".join([json_text(attribute, vr, value) for value in json_values]).encode()
        data += (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
    else:
        order = ">" if encoding.big else "<"
        numbers = [_number(vr, value) for value in json_values]
        data = b"".join([struct.pack(order + values.NUMBERS.get(vr, "HH"), *number) for number in numbers])
    if len(data) > 0xFFFF and not encoding.implicit and vr not in values.BINARY and vr != "SQ":
        vr = "UN" if vr not in ("UC", "UR", "UT", "SV", "UV") else vr
    return element_header(attribute.tag, vr, len(data), encoding) + data


def _number(vr: str, value: object) -> tuple[float, ...]:
    if vr == "AT":
        tag = int(cast(str, value), 16)
        return tag >> 16, tag & 0xFFFF
    return (cast(float, json_number(vr, value)),)


def _encode_item(item: object, encoding: Encoding) -> bytes:
    content = b"".join(
        [_encode(attribute, element, encoding) for attribute, element in json_elements(item or {})]
    )
    return struct.pack(">HHI" if encoding.big else "<HHI", 0xFFFE, 0xE000, len(content)) + content
