"""Edits of a version in the DICOM JSON Model: the elements of `edited_elements`, as lines.

Source: PS3.18 Annex F. As in a file, edits do not change the character set, the pixels and, if there are
pixels, the Image Pixel module, since the frames do not change.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping
from typing import Any, cast

from lightwell.domain.image_sets.edits import Edits
from lightwell.errors import StorageError
from lightwell.imaging.dataset import dicom_json, values
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, Attribute
from lightwell.imaging.editing.edited_elements import IMAGE_PIXEL_TAGS, edited_attribute
from lightwell.imaging.editing.native_values import NON_FINITE, dictionary_vr

_FIXED = frozenset((CHARSET, *PIXEL_TAGS, *dicom_json.OFFSET_TABLES))


def edited_lines(edits: Edits, *, with_pixels: bool) -> dict[int, bytes | None]:
    """Tag → line, None if the element is removed.

    Raises `StorageError` for edits that `native_values` did not type.
    """
    changed: dict[int, bytes | None] = {}
    for key, edit in edits.items():
        attribute = edited_attribute(key)
        tag = attribute.tag
        if tag in _FIXED or tag >> 16 == 2 or (with_pixels and tag in IMAGE_PIXEL_TAGS):
            continue
        changed[tag] = None if edit is None else element(attribute, edit.vr, edit.value, edit.vrs)
    return changed


def element(attribute: Attribute, vr: str, value: object, vrs: Mapping[str, str] | None = None) -> bytes:
    """The line of an element with a value of the metadata document.

    ``vrs`` are the VRs of nested elements without a keyword.
    """
    try:
        return _element(attribute, vr, value, vrs or {})
    except (TypeError, ValueError, KeyError, AttributeError, struct.error, binascii.Error):
        raise StorageError(
            f"A stored value of {attribute.name} is not of VR {vr}; run `lightwell data verify`."
        ) from None


def _element(attribute: Attribute, vr: str, value: object, vrs: Mapping[str, str]) -> bytes:
    if value is None or value == "" or value == []:
        return dicom_json.from_json_values(attribute, vr, [])
    if vr == "SQ":
        return dicom_json.from_items(attribute, [_item(item, vrs) for item in cast(list[Any], value)])
    if vr in values.BINARY:
        data = binascii.a2b_base64(cast(str, value))
        data += b"\0" * (len(data) % 2)
        return dicom_json.from_base64(attribute, vr, binascii.b2a_base64(data, newline=False).decode())
    parts: list[Any] = value if isinstance(value, list) else [value]
    if vr in values.TEXT:
        return dicom_json.from_text(
            attribute, vr, "\\".join(["" if part is None else part for part in parts])
        )
    if vr == "AT":
        return dicom_json.from_json_values(attribute, vr, [b'"%08X"' % int(tag, 16) for tag in parts])
    return dicom_json.from_numbers(attribute, vr, [NON_FINITE.get(part, part) for part in parts])


def _item(item: Mapping[str, object], vrs: Mapping[str, str]) -> bytes:
    texts = []
    for key, value in item.items():
        attribute = edited_attribute(key)
        vr = dictionary_vr(attribute, value) if attribute.keyed else vrs[key]
        texts.append(_element(attribute, vr, value, vrs))
    return b",".join(texts)
