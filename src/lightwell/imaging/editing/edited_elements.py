"""Edits of a version as elements, which replace those of the original in a DICOM file.

Source: PS3.5 §7 (the elements), PS3.10 §7.1 (MediaStorageSOPInstanceUID is the SOPInstanceUID). The values
are those of the metadata document, typed by `native_values`.
"""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from lightwell.domain.image_sets.edits import Edit, Edits
from lightwell.errors import StorageError
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, Attribute, attribute_named
from lightwell.imaging.dataset.element_scanner import Encoding
from lightwell.imaging.dataset.reencode import element_header
from lightwell.imaging.editing.native_values import NON_FINITE, dictionary_vr

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_MEDIA_STORAGE_TAGS = {_SOP_CLASS_UID: 0x00020002, _SOP_INSTANCE_UID: 0x00020003}
_META_ENCODING = Encoding(implicit=False, big=False)
#: Elements about the encoding of the file, and the UIDs that equal those of the data set.
_FIXED_META = frozenset((0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010))
#: Elements about the encoding of text and pixels, which edits do not change.
_FIXED = frozenset((CHARSET, *PIXEL_TAGS))
IMAGE_PIXEL_TAGS = frozenset(
    {
        0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101,
        0x00280102, 0x00280103,
    }
)  # fmt: skip
"""Samples, photometric interpretation, planar configuration, frames, rows, columns, bits, representation."""


@dataclass(frozen=True, slots=True)
class EditedElements:
    """Tag → bytes of the element, None if it is removed; text in UTF-8. ``meta`` is group 0002."""

    elements: Mapping[int, bytes | None]
    meta: Mapping[int, bytes | None]


def edited_elements(edits: Edits, encoding: Encoding, *, with_pixels: bool) -> EditedElements:
    """The elements of ``edits``, with pixels without those of the Image Pixel module.

    Raises `StorageError` for edits that `native_values` did not type.
    """
    elements: dict[int, bytes | None] = {}
    meta: dict[int, bytes | None] = {}
    for key, edit in edits.items():
        attribute = edited_attribute(key)
        tag = attribute.tag
        if tag in _FIXED or (with_pixels and tag in IMAGE_PIXEL_TAGS):
            continue
        if tag >> 16 == 2:
            if tag not in _FIXED_META:
                meta[tag] = (
                    None if edit is None else _encode(attribute, edit.vr, edit, edit.value, _META_ENCODING)
                )
            continue
        elements[tag] = None if edit is None else _encode(attribute, edit.vr, edit, edit.value, encoding)
        if tag in _MEDIA_STORAGE_TAGS and edit is not None:
            media_storage_tag = _MEDIA_STORAGE_TAGS[tag]
            meta[media_storage_tag] = _encode(
                edited_attribute(f"{media_storage_tag:08X}"), "UI", edit, edit.value, _META_ENCODING
            )
    return EditedElements(elements, meta)


def is_ascii(edits: Edits) -> bool:
    """Whether all values are ASCII, which needs no character set."""
    return json.dumps([edit.value for edit in edits.values() if edit], ensure_ascii=False).isascii()


def _encode(attribute: Attribute, vr: str, edit: Edit, value: object, encoding: Encoding) -> bytes:
    try:
        data = _encode_value(vr, edit, value, encoding)
    except (TypeError, ValueError, KeyError, struct.error, binascii.Error):
        raise StorageError(
            f"A stored edit of {attribute.name} is not a value of VR {vr}; run `lightwell data verify`."
        ) from None
    if len(data) > 0xFFFF and not encoding.implicit and vr not in values.BINARY and vr != "SQ":
        vr = "UN" if vr not in ("UC", "UR", "UT", "SV", "UV") else vr
    return element_header(attribute.tag, vr, len(data), encoding) + data


def _encode_value(vr: str, edit: Edit, value: object, encoding: Encoding) -> bytes:
    if value is None or value == "":
        return b""
    if vr == "SQ":
        return b"".join([_encode_item(item, edit, encoding) for item in cast(list[dict[str, object]], value)])
    if vr in values.BINARY:
        data = binascii.a2b_base64(cast(str, value))
        data += b"\0" * (len(data) % 2)
        return values.swap_bytes(data, values.BINARY[vr]) if encoding.big else data
    parts: list[Any] = value if isinstance(value, list) else [value]
    if vr in values.TEXT:
        data = "\\".join(parts).encode()
        return data + (b"\0" if vr == "UI" else b" ") * (len(data) % 2)
    order = ">" if encoding.big else "<"
    if vr == "AT":
        return b"".join([struct.pack(order + "HH", int(tag[:4], 16), int(tag[4:], 16)) for tag in parts])
    return b"".join([struct.pack(order + values.NUMBERS[vr], NON_FINITE.get(part, part)) for part in parts])


def _encode_item(item: Mapping[str, object], edit: Edit, encoding: Encoding) -> bytes:
    parts = []
    for key, value in item.items():
        attribute = edited_attribute(key)
        vr = dictionary_vr(attribute, value) if attribute.keyed else edit.vrs[key]
        parts.append(_encode(attribute, vr, edit, value, encoding))
    content = b"".join(parts)
    return struct.pack(">HHI" if encoding.big else "<HHI", 0xFFFE, 0xE000, len(content)) + content


def edited_attribute(key: str) -> Attribute:
    """The attribute of a stored edit. Raises `StorageError` if there is none."""
    attribute = attribute_named(key)
    if attribute is None:
        raise StorageError(
            f"A stored edit is of {key[:64]!r}, which is not an attribute; run `lightwell data verify`."
        )
    return attribute
