"""Values that a client gives for attributes, typed as the native document shows them.

Source: the typing rules of documents (`values`), devguide/dicom-metadata-constraints and
/dicom-element-constraints. Null and blank are the empty value. Whatever is kept can also be written into a
DICOM file.
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
from lightwell.imaging.editing.vr_conformance import fault, has_form, is_uid

_UIDS = frozenset(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"))
_INTEGER = re.compile(r" *[+-]?\d{1,20} *", re.ASCII)
_DECIMAL = re.compile(r" *[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)? *", re.ASCII)
_INFINITE = (float("inf"), float("-inf"))  # what a number too large for a double is read as
SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass(frozen=True, slots=True)
class Rules:
    """``vrs`` are those given or known for elements without a keyword, by key; ``force`` lets texts be what
    their VR does not allow.
    """

    vrs: Mapping[str, str]
    force: bool


def typed(attribute: Attribute, value: object, rules: Rules) -> Edit:
    """The edit that gives an attribute ``value``, as JSON has it.

    Raises `ValidationError` where it can be no value of the attribute, where it needs force, and where it is
    longer than devguide/dicom-element-constraints allows.
    """
    nested: dict[str, str] = {}
    vr = vr_of(attribute, value, rules)
    shown = _value(attribute, vr, value, rules, nested, 0)
    _check_limits(attribute, shown)
    return Edit(vr, shown, nested)


def vr_of(attribute: Attribute, value: object, rules: Rules) -> str:
    """The dictionary's VR; for what has no keyword, the one that ``rules`` give before it."""
    if attribute.keyed:
        return chosen_vr(attribute, value)
    vr = rules.vrs.get(attribute.hex) or chosen_vr(attribute, value)
    if vr not in values.KNOWN:
        raise ValidationError(f"DICOMVRs: {vr[:16]!r}, given for {attribute.hex}, is no VR that DICOM has.")
    return vr


def chosen_vr(attribute: Attribute, value: object) -> str:
    """The dictionary's VR; where PS3.6 leaves a choice, the one that goes with ``value``; UN without any."""
    choice = (attribute.vr or "UN").split(" or ")
    if isinstance(value, str) and value and not _INTEGER.fullmatch(value):
        return next((vr for vr in choice if vr in values.BINARY), choice[0])
    numbers = value if isinstance(value, list) else [value]
    negative = any(str(number).lstrip().startswith("-") for number in numbers)
    return "SS" if negative and "SS" in choice else choice[0]


def _value(
    attribute: Attribute, vr: str, value: object, rules: Rules, nested: dict[str, str], depth: int
) -> object:
    if value is None or value == "" or value == []:
        return json.loads(values.empty(attribute))
    if vr == "SQ":
        return _sequence(attribute, value, rules, nested, depth)
    if vr in values.BINARY:
        return _binary(attribute, vr, value)
    given = value if isinstance(value, list) else [value]
    if vr in values.TEXT:
        return _texts(attribute, vr, given, rules)
    if len(given) > 1 and attribute.single:
        raise _wrong(attribute, "it has one value, and an array of several was given")
    if vr == "AT":
        return _shown(attribute, [_tag(attribute, part) for part in given])
    return _shown(attribute, [_number(attribute, vr, part) for part in given])


def _shown(attribute: Attribute, parts: list[object]) -> object:
    return parts[0] if len(parts) == 1 and attribute.single is not False else parts


def _texts(attribute: Attribute, vr: str, given: list[object], rules: Rules) -> object:
    parts = [_text(attribute, vr, part) for part in given]
    if len(parts) > 1 and vr in values.SINGLE_TEXT:
        raise _wrong(attribute, f"{vr} has one value, and an array of several was given")
    whole = "\\".join(parts)
    several = attribute.single is not True and vr not in values.SINGLE_TEXT
    for part in whole.split("\\") if several else [whole]:
        reason = fault(vr, part.strip(" ") if vr not in values.SINGLE_TEXT else part)
        if reason is None:
            continue
        if attribute.keyword in _UIDS or (vr in values.VERBATIM and not has_form(vr, part)):
            raise _wrong(attribute, f"{part[:64]!r} is no value of VR {vr}: {reason}")
        if not rules.force:
            raise _wrong(
                attribute, f"{part[:64]!r} is no value of VR {vr}: {reason}; it is taken only with force"
            )
    found = values.text_values(attribute, vr, whole, [])
    if not found:
        return json.loads(values.empty(attribute))
    return _shown(attribute, list(found))


def _text(attribute: Attribute, vr: str, value: object) -> str:
    if value is None:
        return ""
    if vr in values.VERBATIM and isinstance(value, int | float) and not isinstance(value, bool):
        return values.number(value).decode().strip('"')
    if not isinstance(value, str):
        raise _wrong(attribute, f"a value of VR {vr} is a text")
    return value


def _number(attribute: Attribute, vr: str, value: object) -> object:
    number = _read_number(vr, value)
    if isinstance(number, float) and vr not in ("FL", "FD") and number.is_integer():
        number = int(number)
    code = "<" + values.NUMBERS[vr]
    try:
        # As a file would hold it: checks the range, and rounds FL.
        (kept,) = struct.unpack(code, struct.pack(code, number))
    except (struct.error, OverflowError):
        if number is None:
            raise _wrong(attribute, f"a value of VR {vr} is a number") from None
        raise _wrong(attribute, f"{str(value)[:40]} does not fit VR {vr}") from None
    return json.loads(values.number(kept))


def _read_number(vr: str, value: object) -> float | None:
    """Numbers, also those that are written as text; None for anything else."""
    if isinstance(value, str):
        if vr in ("FL", "FD"):
            if value in SPECIAL:
                return SPECIAL[value]
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
    raise _wrong(attribute, "a value of VR AT is a tag of 8 hex digits")


def _binary(attribute: Attribute, vr: str, value: object) -> object:
    if not isinstance(value, str):
        raise _wrong(attribute, f"a value of VR {vr} is a text in base64")
    try:
        data = binascii.a2b_base64(value.encode("ascii"), strict_mode=True)
    except (ValueError, binascii.Error):
        raise _wrong(attribute, f"a value of VR {vr} is a text in base64, and this is none") from None
    if len(data) % values.BINARY[vr]:
        raise _wrong(attribute, f"{len(data)} bytes are no whole number of words of VR {vr}")
    return binascii.b2a_base64(data, newline=False).decode()


def _sequence(
    attribute: Attribute, value: object, rules: Rules, nested: dict[str, str], depth: int
) -> object:
    if depth >= NESTING:
        raise _wrong(attribute, f"sequences are nested more than {NESTING} deep")
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _wrong(attribute, "a sequence is an array of objects")
    return [_item(attribute, item, rules, nested, depth) for item in value]


def _item(
    sequence: Attribute, item: dict[str, object], rules: Rules, nested: dict[str, str], depth: int
) -> dict[str, object]:
    found: dict[int, tuple[str, object]] = {}
    for key, value in item.items():
        attribute = attribute_named(key)
        if attribute is None or (attribute.keyed and attribute.keyword != key):
            raise _wrong(sequence, f"{key[:64]!r} is no DICOM keyword, and no tag that has none")
        group, element = attribute.tag >> 16, attribute.tag & 0xFFFF
        if group in (0x0002, 0xFFFE) or not element:
            raise _wrong(sequence, f"{key} cannot stand inside of a sequence")
        vr = vr_of(attribute, value, rules)
        if not attribute.keyed:
            nested.setdefault(key, vr)
        found[attribute.tag] = key, _value(attribute, vr, value, rules, nested, depth + 1)
    return dict(found[tag] for tag in sorted(found))


def _check_limits(attribute: Attribute, shown: object) -> None:
    if attribute.keyword in _UIDS and not (isinstance(shown, str) and is_uid(shown)):
        raise _wrong(attribute, "it is a UID and cannot be empty")
    longest = ELEMENT_LENGTHS.get(attribute.keyword)
    if longest is not None and isinstance(shown, str) and len(shown) > longest:
        raise _wrong(attribute, f"it is {len(shown)} characters long, at most {longest} are allowed")
    most = ELEMENT_VALUES.get(attribute.keyword)
    if most is not None and isinstance(shown, str) and shown.strip() and int(shown) > most:
        raise _wrong(attribute, f"it is {shown.strip()}, at most {most} is allowed")


def _wrong(attribute: Attribute, reason: str) -> ValidationError:
    return ValidationError(f"{attribute.name}: {reason}.")
