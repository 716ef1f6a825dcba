"""Values that clients send for attributes, typed as in the metadata document.

Source: the typing rules of documents (`values`), devguide/dicom-metadata-constraints and
/dicom-element-constraints. Null and blank are the empty value. Every value that is accepted can be written to
a DICOM file.
"""

from __future__ import annotations

import binascii
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.limits import ELEMENT_LENGTHS, ELEMENT_VALUES, NESTING
from lightwell.errors import ValidationError
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dictionary import Attribute, attribute_named
from lightwell.imaging.editing.vr_conformance import is_uid, matches_pattern, nonconformance

_UIDS = frozenset(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"))
_INTEGER = re.compile(r" *[+-]?\d{1,20} *", re.ASCII)
_DECIMAL = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)? *", re.ASCII)
_INFINITE = (float("inf"), float("-inf"))  # JSON numbers too large for a double
NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass(frozen=True, slots=True)
class TypingRules:
    """``vrs`` are the known VRs of elements without a keyword, by key; ``force`` accepts texts that do not
    conform to their VR.
    """

    vrs: Mapping[str, str]
    force: bool


def typed_edit(attribute: Attribute, value: object, rules: TypingRules) -> Edit:
    """The edit that sets an attribute to ``value``, decoded JSON.

    Raises `ValidationError` if it is not a value of the attribute, if it needs force, or if it is longer than
    devguide/dicom-element-constraints allows.
    """
    nested: dict[str, str] = {}
    vr = edit_vr(attribute, value, rules)
    native_value = _value(attribute, vr, value, rules, nested, 0)
    _check_limits(attribute, native_value)
    return Edit(vr, native_value, nested)


def edit_vr(attribute: Attribute, value: object, rules: TypingRules) -> str:
    """The dictionary's VR; for elements without a keyword, that of ``rules`` comes first."""
    if attribute.keyed:
        return dictionary_vr(attribute, value)
    vr = rules.vrs.get(attribute.hex) or dictionary_vr(attribute, value)
    if vr not in values.KNOWN:
        raise ValidationError(f"DICOMVRs: {vr[:16]!r} of {attribute.hex} is not a VR of DICOM.")
    return vr


def dictionary_vr(attribute: Attribute, value: object) -> str:
    """The dictionary's VR, UN if it has none; if PS3.6 allows a choice, the one that fits ``value``."""
    vrs = (attribute.vr or "UN").split(" or ")
    if isinstance(value, str) and value and not _INTEGER.fullmatch(value):
        return next((vr for vr in vrs if vr in values.BINARY), vrs[0])
    numbers = value if isinstance(value, list) else [value]
    negative = any(str(number).lstrip().startswith("-") for number in numbers)
    return "SS" if negative and "SS" in vrs else vrs[0]


def _value(
    attribute: Attribute, vr: str, value: object, rules: TypingRules, nested: dict[str, str], depth: int
) -> object:
    if value is None or value == "" or value == []:
        return json.loads(values.empty(attribute))
    if vr == "SQ":
        return _sequence(attribute, value, rules, nested, depth)
    if vr in values.BINARY:
        return _binary(attribute, vr, value)
    parts_given = value if isinstance(value, list) else [value]
    if vr in values.TEXT:
        return _texts(attribute, vr, parts_given, rules)
    if len(parts_given) > 1 and attribute.single:
        raise _invalid(attribute, "it has one value, but an array of several was given")
    if vr == "AT":
        return _scalar_or_array(attribute, [_tag(attribute, part) for part in parts_given])
    return _scalar_or_array(attribute, [_number(attribute, vr, part) for part in parts_given])


def _scalar_or_array(attribute: Attribute, parts: list[object]) -> object:
    return parts[0] if len(parts) == 1 and attribute.single is not False else parts


def _texts(attribute: Attribute, vr: str, parts_given: list[object], rules: TypingRules) -> object:
    parts = [_text(attribute, vr, part) for part in parts_given]
    if len(parts) > 1 and vr in values.SINGLE_TEXT:
        raise _invalid(attribute, f"VR {vr} has one value, but an array of several was given")
    joined = "\\".join(parts)
    multi_valued = attribute.single is not True and vr not in values.SINGLE_TEXT
    for part in joined.split("\\") if multi_valued else [joined]:
        reason = nonconformance(vr, part.strip(" ") if vr not in values.SINGLE_TEXT else part)
        if reason is None:
            continue
        if attribute.keyword in _UIDS or (vr in values.VERBATIM and not matches_pattern(vr, part)):
            raise _invalid(attribute, f"{part[:64]!r} is not a value of VR {vr}: {reason}")
        if not rules.force:
            raise _invalid(
                attribute,
                f"{part[:64]!r} is not a value of VR {vr}: {reason}; it is accepted only with force",
            )
    items_by_tag = values.text_values(attribute, vr, joined, [])
    if not items_by_tag:
        return json.loads(values.empty(attribute))
    return _scalar_or_array(attribute, list(items_by_tag))


def _text(attribute: Attribute, vr: str, value: object) -> str:
    if value is None:
        return ""
    if vr in values.VERBATIM and isinstance(value, int | float) and not isinstance(value, bool):
        return values.number(value).decode().strip('"')
    if not isinstance(value, str):
        raise _invalid(attribute, f"a value of VR {vr} is a string")
    return value


def _number(attribute: Attribute, vr: str, value: object) -> object:
    number = _read_number(vr, value)
    if isinstance(number, float) and vr not in ("FL", "FD") and number.is_integer():
        number = int(number)
    code = "<" + values.NUMBERS[vr]
    try:
        # As in a file: checks the range, and rounds FL.
        (stored,) = struct.unpack(code, struct.pack(code, number))
    except (struct.error, OverflowError):
        if number is None:
            raise _invalid(attribute, f"a value of VR {vr} is a number") from None
        raise _invalid(attribute, f"{str(value)[:40]} does not fit VR {vr}") from None
    return json.loads(values.number(stored))


def _read_number(vr: str, value: object) -> float | None:
    """A number, also if it is written as a string; None for anything else."""
    if isinstance(value, str):
        if vr in ("FL", "FD"):
            if value in NON_FINITE:
                return NON_FINITE[value]
            value = float(value) if _DECIMAL.fullmatch(value) else None
        else:
            value = int(value) if _INTEGER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value in _INFINITE:
        return None
    return value


def _tag(attribute: Attribute, value: object) -> object:
    if isinstance(value, str) and len(value) == 8:
        try:
            return f"{int(value, 16):08X}"
        except ValueError:
            pass
    raise _invalid(attribute, "a value of VR AT is a tag of 8 hex digits")


def _binary(attribute: Attribute, vr: str, value: object) -> object:
    if not isinstance(value, str):
        raise _invalid(attribute, f"a value of VR {vr} is a base64 string")
    try:
        data = binascii.a2b_base64(value.encode("ascii"), strict_mode=True)
    except (ValueError, binascii.Error):
        raise _invalid(attribute, f"a value of VR {vr} is a base64 string, which this is not") from None
    if len(data) % values.BINARY[vr]:
        raise _invalid(attribute, f"{len(data)} bytes are not a whole number of words of VR {vr}")
    return binascii.b2a_base64(data, newline=False).decode()


def _sequence(
    attribute: Attribute, value: object, rules: TypingRules, nested: dict[str, str], depth: int
) -> object:
    if depth >= NESTING:
        raise _invalid(attribute, f"sequences are nested more than {NESTING} levels deep")
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _invalid(attribute, "a sequence is an array of objects")
    return [_item(attribute, item, rules, nested, depth) for item in value]


def _item(
    sequence: Attribute, item: dict[str, object], rules: TypingRules, nested: dict[str, str], depth: int
) -> dict[str, object]:
    items_by_tag: dict[int, tuple[str, object]] = {}
    for key, value in item.items():
        attribute = attribute_named(key)
        if attribute is None or (attribute.keyed and attribute.keyword != key):
            raise _invalid(sequence, f"{key[:64]!r} is neither a DICOM keyword nor a tag without one")
        group, element = attribute.tag >> 16, attribute.tag & 0xFFFF
        if group in (0x0002, 0xFFFE) or not element:
            raise _invalid(sequence, f"{key} is not allowed in a sequence")
        vr = edit_vr(attribute, value, rules)
        if not attribute.keyed:
            nested.setdefault(key, vr)
        items_by_tag[attribute.tag] = key, _value(attribute, vr, value, rules, nested, depth + 1)
    return dict(items_by_tag[tag] for tag in sorted(items_by_tag))


def _check_limits(attribute: Attribute, native_value: object) -> None:
    if attribute.keyword in _UIDS and not (isinstance(native_value, str) and is_uid(native_value)):
        raise _invalid(attribute, "it is a UID and cannot be empty")
    longest = ELEMENT_LENGTHS.get(attribute.keyword)
    if longest is not None and isinstance(native_value, str) and len(native_value) > longest:
        raise _invalid(attribute, f"it is {len(native_value)} characters long, at most {longest} are allowed")
    most = ELEMENT_VALUES.get(attribute.keyword)
    if most is not None and isinstance(native_value, str) and _is_more(native_value.strip(), most):
        raise _invalid(attribute, f"it is {native_value.strip()[:40]}, at most {most} is allowed")


def _is_more(digits: str, most: int) -> bool:
    """``digits`` of any length, though Python reads integers of 4,300 digits at most; empty is nothing."""
    digits = "0" if digits.startswith("-") else digits.lstrip("+0") or "0"
    return len(digits) > len(str(most)) or int(digits) > most


def _invalid(attribute: Attribute, reason: str) -> ValidationError:
    return ValidationError(f"{attribute.name}: {reason}.")
