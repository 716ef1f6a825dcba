"""A data set in the DICOM JSON Model laid over that of a file: the metadata override of an import job.

Source: PS3.18 Annex F. Element by element at the top level the overlay wins; an element without a value
becomes empty. Left alone are group 0002, group lengths, pixel elements and SpecificCharacterSet, which in
DICOM JSON says how the JSON itself is written. The three UIDs by which an instance is found may stand there,
but not differ.
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
UIDS = (0x00080018, 0x0020000D, 0x0020000E)
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)


def overlay(elements: Sequence[ParsedElement], override: Mapping[str, object]) -> list[ParsedElement]:
    """``entries`` in tag order with those of ``override`` in their place. Raises `InputError`."""
    merged = {element_.tag: element_ for element_ in elements}
    for attribute, element in elements_of(override):
        tag = attribute.tag
        if tag >> 16 == 2 or tag in dictionary.PIXEL_TAGS or tag == dictionary.CHARSET:
            continue
        element_ = _entry(attribute, element)
        if tag in UIDS:
            own = merged.get(tag)
            if own is None or own.value != element_.value:
                raise InputError(
                    f"The metadata override changes {attribute.name}, by which the file is found: "
                    "take it out of the JSON, or give it the value that the file has"
                )
            continue
        merged[tag] = element_
    return [merged[tag] for tag in sorted(merged)]


def elements_of(dataset: object) -> list[tuple[Attribute, Mapping[str, object]]]:
    """Attributes and elements of a JSON data set in tag order, without group lengths."""
    if not isinstance(dataset, Mapping):
        raise InputError("The metadata override is not DICOM JSON: a data set must be an object")
    found: dict[int, Mapping[str, object]] = {}
    for key, element in dataset.items():
        if not isinstance(key, str) or not _TAG.fullmatch(key) or key[:4].upper() == "FFFE":
            raise InputError(
                f"The metadata override is not DICOM JSON: {str(key)[:64]!r} is no tag of 8 hex digits"
            )
        if not isinstance(element, Mapping):
            raise InputError(f"The metadata override is not DICOM JSON: {key} must be an object")
        tag = int(key, 16)
        if tag & 0xFFFF:
            found[tag] = element
    return [(attribute_of(tag), found[tag]) for tag in sorted(found)]


def _entry(attribute: Attribute, element: Mapping[str, object]) -> ParsedElement:
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
        given_vr(attribute, element) == "SQ",
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
    """``"key":value``, the first value, and the element in the DICOM JSON Model; ``path`` ends with it."""
    vr = given_vr(attribute, element)
    key = attribute.keyword if vr != "UN" else attribute.hex
    if not attribute.keyed or vr == "UN":
        listed = listed_vr(attribute, vr)
        vrs.setdefault(listed[:10], listed)
    if "BulkDataURI" in element:
        raise wrong(attribute, "BulkDataURI is not fetched; give the value as Value or InlineBinary")
    first: str | float | None = None
    if vr in values.BINARY:
        data = given_bytes(attribute, element)
        json, dicom = _binary(attribute, data), _dicom_binary(attribute, vr, data, path)
    else:
        if "InlineBinary" in element:
            raise wrong(attribute, f"InlineBinary does not go with VR {vr}")
        given = element.get("Value")
        if given is None:
            given = []
        if not isinstance(given, list):
            raise wrong(attribute, "Value must be an array")
        if vr == "SQ":
            json, dicom = _sequence(attribute, given, depth, vrs, warnings, path)
        elif vr in values.TEXT:
            json, first, dicom = _texts(attribute, vr, given, warnings)
        elif vr == "AT":
            json, dicom = _tags(attribute, given)
        else:
            json, first, dicom = _numbers(attribute, vr, given)
    return b'"%s":%s' % (key.encode(), json), first, dicom


def given_vr(attribute: Attribute, element: Mapping[str, object]) -> str:
    vr = element.get("vr")
    if vr is None and len(attribute.vr) == 2:
        return attribute.vr
    if not isinstance(vr, str) or vr not in values.KNOWN:
        raise wrong(attribute, f"vr {str(vr)[:16]!r} is none that DICOM has")
    return vr


def _sequence(
    attribute: Attribute,
    given: list[object],
    depth: int,
    vrs: dict[bytes, bytes],
    warnings: list[Warning],
    path: str,
) -> tuple[bytes, bytes]:
    if depth >= NESTING:
        raise wrong(attribute, f"sequences are nested more than {NESTING} deep")
    items: list[bytes] = []
    dicom_items: list[bytes] = []
    for number, item in enumerate(given):
        inside = [
            _element(inner, element, depth + 1, vrs, warnings, f"{path}/{number}/{inner.hex}")
            for inner, element in elements_of(item or {})
        ]
        items.append(b"{" + b",".join([json for json, _, _ in inside]) + b"}")
        dicom_items.append(b",".join([dicom for _, _, dicom in inside]))
    json = b"[" + b",".join(items) + b"]" if items else values.empty(attribute)
    return json, dicom_json.from_items(attribute, dicom_items)


def _texts(
    attribute: Attribute, vr: str, given: list[object], warnings: list[Warning]
) -> tuple[bytes, str | None, bytes]:
    texts = [given_text(attribute, vr, value) for value in given]
    if len(texts) > 1 and vr in values.SINGLE_TEXT:
        raise wrong(attribute, f"VR {vr} has one value at most")
    text = "\\".join(texts)
    json = values.texts_json(attribute, values.text_values(attribute, vr, text, warnings))
    first = text.strip(" \0").replace("\0", "\ufffd") or None
    return json, first, dicom_json.from_text(attribute, vr, text)


def given_text(attribute: Attribute, vr: str, value: object) -> str:
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, Mapping):
        groups = [value.get(group) or "" for group in _GROUPS]
        if set(value) - set(_GROUPS) or not all(isinstance(group, str) for group in groups):
            raise wrong(attribute, "a name has the texts Alphabetic, Ideographic and Phonetic")
        value = "=".join(map(str, groups)).rstrip("=")
    elif vr in values.VERBATIM and isinstance(value, int | float) and not isinstance(value, bool):
        value = values.number(value).decode().strip('"')
    if not isinstance(value, str):
        raise wrong(attribute, f"a value of VR {vr} must be a text")
    if "\\" in value and vr not in values.SINGLE_TEXT:
        raise wrong(attribute, "a value has a backslash; give several values as several members of the array")
    return values.whole(value)


def _tags(attribute: Attribute, given: list[object]) -> tuple[bytes, bytes]:
    parts: list[bytes] = []
    for value in given:
        if not isinstance(value, str) or not _TAG.fullmatch(value):
            raise wrong(attribute, "a value of VR AT must be 8 hex digits")
        parts.append(b'"%s"' % value.upper().encode())
    json = values.array(attribute, parts) if parts else values.empty(attribute)
    return json, dicom_json.from_json_values(attribute, "AT", parts)


def _numbers(attribute: Attribute, vr: str, given: list[object]) -> tuple[bytes, float | None, bytes]:
    numbers: list[float] = []
    code = "<" + values.NUMBERS[vr]
    for value in given:
        value = given_number(vr, value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(attribute, f"a value of VR {vr} must be a number")
        try:
            # As the file would hold it: checks the range, and rounds FL.
            numbers.append(struct.unpack(code, struct.pack(code, value))[0])
        except (struct.error, OverflowError):
            raise wrong(attribute, f"{str(value)[:40]} does not fit VR {vr}") from None
    dicom = dicom_json.from_numbers(attribute, vr, numbers)
    if not numbers:
        return values.empty(attribute), None, dicom
    return values.array(attribute, [values.number(number) for number in numbers]), numbers[0], dicom


def given_number(vr: str, value: object) -> object:
    """Numbers that are written as text, and whole ones that are written with a fraction."""
    if vr in ("FL", "FD"):
        return _SPECIAL.get(value, value) if isinstance(value, str) else value
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
    data += b"\0" * (len(data) % 2)  # as a file would hold it
    if len(data) > dicom_json.BULK_THRESHOLD:
        return dicom_json.bulk_reference(attribute, vr, path)
    return dicom_json.from_base64(attribute, vr, binascii.b2a_base64(data, newline=False).decode())


def given_bytes(attribute: Attribute, element: Mapping[str, object]) -> bytes:
    """A binary value; empty where none is given."""
    given = element.get("InlineBinary")
    if isinstance(given, list) and len(given) == 1:  # the wording of older editions
        given = given[0]
    if given is None or given == "":
        if element.get("Value"):
            raise wrong(attribute, "a binary value is given as InlineBinary")
        return b""
    if not isinstance(given, str):
        raise wrong(attribute, "InlineBinary must be a text in base64")
    try:
        return binascii.a2b_base64("".join(given.split()).encode("ascii"), strict_mode=True)
    except (ValueError, binascii.Error):
        raise wrong(attribute, "InlineBinary is not base64") from None


def wrong(attribute: Attribute, reason: str) -> InputError:
    return InputError(f"The metadata override cannot be used: {attribute.name}: {reason}")
