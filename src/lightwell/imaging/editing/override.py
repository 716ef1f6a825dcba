"""Metadata overrides of import jobs: a data set in the DICOM JSON Model that replaces elements of a file.

Source: PS3.18 Annex F. Each top-level element of the override replaces that of the file; an element without a
value becomes empty. Ignored are group 0002, group lengths, pixel elements and SpecificCharacterSet, which in
DICOM JSON is the encoding of the JSON. The three UIDs that identify an instance are allowed, but must not
differ.
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Mapping, Sequence

from lightwell.domain.image_sets.levels import INSTANCE
from lightwell.domain.imports.warnings import Warning
from lightwell.domain.limits import NESTING, PRIVATE_BINARY
from lightwell.errors import InputError
from lightwell.imaging.dataset import dicom_json, dictionary, values
from lightwell.imaging.dataset.dictionary import Attribute, attribute_of
from lightwell.imaging.dataset.parsed_element import NEEDED, ParsedElement, has_usual_key, listed_vr

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
IDENTIFYING_UIDS = (0x00080018, 0x0020000D, 0x0020000E)
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)


def apply_override(elements: Sequence[ParsedElement], override: Mapping[str, object]) -> list[ParsedElement]:
    """``elements`` with those of ``override`` replaced or added, in tag order. Raises `InputError`."""
    merged = {parsed.tag: parsed for parsed in elements}
    for attribute, element in json_elements(override):
        tag = attribute.tag
        if tag >> 16 == 2 or tag in dictionary.PIXEL_TAGS or tag == dictionary.CHARSET:
            continue
        parsed = _parsed_element(attribute, element)
        if tag in IDENTIFYING_UIDS:
            original = merged.get(tag)
            if original is None or original.value != parsed.value:
                raise InputError(
                    f"The metadata override changes {attribute.name}, which identifies the instance; "
                    "remove it from the JSON, or set it to the value in the file"
                )
            continue
        merged[tag] = parsed
    return [merged[tag] for tag in sorted(merged)]


def json_elements(dataset: object) -> list[tuple[Attribute, Mapping[str, object]]]:
    """The attributes and elements of a JSON data set in tag order, without group lengths."""
    if not isinstance(dataset, Mapping):
        raise InputError("The metadata override is not DICOM JSON: a data set must be an object")
    elements: dict[int, Mapping[str, object]] = {}
    for key, element in dataset.items():
        if not isinstance(key, str) or not _TAG.fullmatch(key) or key[:4].upper() == "FFFE":
            raise InputError(
                f"The metadata override is not DICOM JSON: {str(key)[:64]!r} is not a tag of 8 hex digits"
            )
        if not isinstance(element, Mapping):
            raise InputError(f"The metadata override is not DICOM JSON: {key} must be an object")
        tag = int(key, 16)
        if tag & 0xFFFF:
            elements[tag] = element
    return [(attribute_of(tag), elements[tag]) for tag in sorted(elements)]


def _parsed_element(attribute: Attribute, element: Mapping[str, object]) -> ParsedElement:
    vrs: dict[bytes, bytes] = {}
    warnings: list[Warning] = []
    json, value, dicom = _element(attribute, element, 0, vrs, warnings, attribute.hex)
    level = attribute.level if has_usual_key(attribute, json) else INSTANCE
    needed = attribute.tag in NEEDED
    return ParsedElement(
        attribute.tag,
        level,
        json,
        tuple(vrs.values()),
        tuple(warnings),
        value if needed else None,
        needed,
        json_vr(attribute, element) == "SQ",
        dicom,
    )


def _element(
    attribute: Attribute,
    element: Mapping[str, object],
    depth: int,
    vrs: dict[bytes, bytes],
    warnings: list[Warning],
    path: str,
) -> tuple[bytes, str | float | None, bytes]:
    """``"key":value``, the first value and the DICOM JSON Model; ``path`` ends with the element."""
    vr = json_vr(attribute, element)
    key = attribute.keyword if vr != "UN" else attribute.hex
    if not attribute.keyed or vr == "UN":
        listed = listed_vr(attribute, vr)
        vrs.setdefault(listed[:10], listed)
    if "BulkDataURI" in element:
        raise invalid_override(
            attribute, "BulkDataURI is not retrieved; give the value as Value or InlineBinary"
        )
    first_value: str | float | None = None
    if vr in values.BINARY:
        data = json_bytes(attribute, element)
        json, dicom = _binary(attribute, data), _dicom_binary(attribute, vr, data, path)
    else:
        if "InlineBinary" in element:
            raise invalid_override(attribute, f"InlineBinary is not allowed for VR {vr}")
        json_values = element.get("Value")
        if json_values is None:
            json_values = []
        if not isinstance(json_values, list):
            raise invalid_override(attribute, "Value must be an array")
        if vr == "SQ":
            json, dicom = _sequence(attribute, json_values, depth, vrs, warnings, path)
        elif vr in values.TEXT:
            json, first_value, dicom = _texts(attribute, vr, json_values, warnings)
        elif vr == "AT":
            json, dicom = _tags(attribute, json_values)
        else:
            json, first_value, dicom = _numbers(attribute, vr, json_values)
    return b'"%s":%s' % (key.encode(), json), first_value, dicom


def json_vr(attribute: Attribute, element: Mapping[str, object]) -> str:
    vr = element.get("vr")
    if vr is None and len(attribute.vr) == 2:
        return attribute.vr
    if not isinstance(vr, str) or vr not in values.KNOWN:
        raise invalid_override(attribute, f"{str(vr)[:16]!r} is not a VR of DICOM")
    return vr


def _sequence(
    attribute: Attribute,
    json_values: list[object],
    depth: int,
    vrs: dict[bytes, bytes],
    warnings: list[Warning],
    path: str,
) -> tuple[bytes, bytes]:
    if depth >= NESTING:
        raise invalid_override(attribute, f"sequences are nested more than {NESTING} levels deep")
    items: list[bytes] = []
    dicom_items: list[bytes] = []
    for number, item in enumerate(json_values):
        inside = [
            _element(inner, element, depth + 1, vrs, warnings, f"{path}/{number}/{inner.hex}")
            for inner, element in json_elements(item or {})
        ]
        items.append(b"{" + b",".join([json for json, _, _ in inside]) + b"}")
        dicom_items.append(b",".join([dicom for _, _, dicom in inside]))
    json = b"[" + b",".join(items) + b"]" if items else values.empty(attribute)
    return json, dicom_json.from_items(attribute, dicom_items)


def _texts(
    attribute: Attribute, vr: str, json_values: list[object], warnings: list[Warning]
) -> tuple[bytes, str | None, bytes]:
    texts = [json_text(attribute, vr, value) for value in json_values]
    if len(texts) > 1 and vr in values.SINGLE_TEXT:
        raise invalid_override(attribute, f"VR {vr} has at most one value")
    text = "\\".join(texts)
    json = values.texts_json(attribute, values.text_values(attribute, vr, text, warnings))
    first_value = text.strip(" \0").replace("\0", "\ufffd") or None
    return json, first_value, dicom_json.from_text(attribute, vr, text)


def json_text(attribute: Attribute, vr: str, value: object) -> str:
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, Mapping):
        groups = [value.get(group) or "" for group in _GROUPS]
        if set(value) - set(_GROUPS) or not all(isinstance(group, str) for group in groups):
            raise invalid_override(
                attribute, "a person name has only the strings Alphabetic, Ideographic and Phonetic"
            )
        value = "=".join(map(str, groups)).rstrip("=")
    elif vr in values.VERBATIM and isinstance(value, int | float) and not isinstance(value, bool):
        value = values.number(value).decode().strip('"')
    if not isinstance(value, str):
        raise invalid_override(attribute, f"a value of VR {vr} must be a string")
    if "\\" in value and vr not in values.SINGLE_TEXT:
        raise invalid_override(
            attribute, "a value contains a backslash; give several values as elements of the array"
        )
    return values.whole(value)


def _tags(attribute: Attribute, json_values: list[object]) -> tuple[bytes, bytes]:
    parts: list[bytes] = []
    for value in json_values:
        if not isinstance(value, str) or not _TAG.fullmatch(value):
            raise invalid_override(attribute, "a value of VR AT must be 8 hex digits")
        parts.append(b'"%s"' % value.upper().encode())
    json = values.array(attribute, parts) if parts else values.empty(attribute)
    return json, dicom_json.from_json_values(attribute, "AT", parts)


def _numbers(attribute: Attribute, vr: str, json_values: list[object]) -> tuple[bytes, float | None, bytes]:
    numbers: list[float] = []
    code = "<" + values.NUMBERS[vr]
    for value in json_values:
        value = json_number(vr, value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid_override(attribute, f"a value of VR {vr} must be a number")
        try:
            # As in a file: checks the range, and rounds FL.
            numbers.append(struct.unpack(code, struct.pack(code, value))[0])
        except (struct.error, OverflowError):
            raise invalid_override(attribute, f"{str(value)[:40]} does not fit VR {vr}") from None
    dicom = dicom_json.from_numbers(attribute, vr, numbers)
    if not numbers:
        return values.empty(attribute), None, dicom
    return values.array(attribute, [values.number(number) for number in numbers]), numbers[0], dicom


def json_number(vr: str, value: object) -> object:
    """The number in ``value``, which may be a string, or an integer written with a fraction."""
    if vr in ("FL", "FD"):
        return _NON_FINITE.get(value, value) if isinstance(value, str) else value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _binary(attribute: Attribute, data: bytes) -> bytes:
    if not data:
        return values.empty(attribute)
    if attribute.private and len(data) > PRIVATE_BINARY:
        return b'""'
    return values.binary("UN", data, big=False)


def _dicom_binary(attribute: Attribute, vr: str, data: bytes, path: str) -> bytes:
    data += b"\0" * (len(data) % 2)  # as in a file
    if len(data) > dicom_json.BULK_THRESHOLD:
        return dicom_json.bulk_reference(attribute, vr, path)
    return dicom_json.from_base64(attribute, vr, binascii.b2a_base64(data, newline=False).decode())


def json_bytes(attribute: Attribute, element: Mapping[str, object]) -> bytes:
    """A binary value; empty if there is none."""
    json_values = element.get("InlineBinary")
    if isinstance(json_values, list) and len(json_values) == 1:  # the format of older editions
        json_values = json_values[0]
    if json_values is None or json_values == "":
        if element.get("Value"):
            raise invalid_override(attribute, "a binary value must be given as InlineBinary")
        return b""
    if not isinstance(json_values, str):
        raise invalid_override(attribute, "InlineBinary must be a base64 string")
    try:
        return binascii.a2b_base64("".join(json_values.split()).encode("ascii"), strict_mode=True)
    except (ValueError, binascii.Error):
        raise invalid_override(attribute, "InlineBinary is not base64") from None


def invalid_override(attribute: Attribute, reason: str) -> InputError:
    return InputError(f"The metadata override is not valid: {attribute.name}: {reason}")
