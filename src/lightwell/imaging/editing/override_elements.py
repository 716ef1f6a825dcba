"""A metadata override as elements: what `lightwell export` writes in the place of the file's own.

Source: PS3.18 Annex F (the JSON), PS3.5 §7 (the elements). What `override` took at import is taken here too.
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
    UIDS,
    elements_of,
    given_bytes,
    given_number,
    given_text,
    given_vr,
)


def override_elements(override: Mapping[str, object], encoding: Encoding) -> dict[int, bytes]:
    """Tag → whole element, its text in UTF-8, of all that an override may change. Raises `InputError`."""
    return {
        attribute.tag: _encoded(attribute, element, encoding)
        for attribute, element in elements_of(override)
        if attribute.tag >> 16 != 2 and attribute.tag not in (*PIXEL_TAGS, *UIDS, CHARSET)
    }


def _encoded(attribute: Attribute, element: Mapping[str, object], encoding: Encoding) -> bytes:
    vr = given_vr(attribute, element)
    given = cast(list[object], element.get("Value") or [])
    if vr == "SQ":
        data = b"".join([_item(item, encoding) for item in given])
    elif vr in values.BINARY:
        data = given_bytes(attribute, element)
        data += b"\0" * (len(data) % 2)
        if encoding.big:
            data = values.swap_bytes(data, values.BINARY[vr])
    elif vr in values.TEXT:
        data = "\\".join([given_text(attribute, vr, value) for value in given]).encode()
        data += (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
    else:
        order = ">" if encoding.big else "<"
        numbers = [_number(vr, value) for value in given]
        data = b"".join([struct.pack(order + values.NUMBERS.get(vr, "HH"), *number) for number in numbers])
    if len(data) > 0xFFFF and not encoding.implicit and vr not in values.BINARY and vr != "SQ":
        vr = "UN" if vr not in ("UC", "UR", "UT", "SV", "UV") else vr
    return element_header(attribute.tag, vr, len(data), encoding) + data


def _number(vr: str, value: object) -> tuple[float, ...]:
    if vr == "AT":
        tag = int(cast(str, value), 16)
        return tag >> 16, tag & 0xFFFF
    return (cast(float, given_number(vr, value)),)


def _item(item: object, encoding: Encoding) -> bytes:
    content = b"".join(
        [_encoded(attribute, element, encoding) for attribute, element in elements_of(item or {})]
    )
    return struct.pack(">HHI" if encoding.big else "<HHI", 0xFFFE, 0xE000, len(content)) + content
