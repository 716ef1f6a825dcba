"""Elements of the DICOM JSON Model as bytes in Explicit VR Little Endian.

Source: PS3.18 Annex F, PS3.5 §6.2 and §7.1. Text is UTF-8. What cannot be encoded without changing what it
says is refused.
"""

from __future__ import annotations

import math
import re
import struct
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from lightwell.domain.limits import NESTING
from lightwell.errors import InputError
from lightwell.imaging.assembly.bulk_parts import BulkPart, BulkParts
from lightwell.imaging.assembly.model_text import Dataset, NumberText
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, Attribute, attribute_of
from lightwell.imaging.dataset.transfer_syntaxes import LONG_VRS

Piece = bytes | BulkPart

UTF8 = "ISO_IR 192"

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_MEMBERS = frozenset(("vr", "Value", "InlineBinary", "BulkDataURI"))
# Members that some writers add, which say nothing that counts.
_IGNORED = frozenset(("keyword", "name", "tag"))
_SHORT_LENGTH, _LONG_LENGTH = 0xFFFE, 0xFFFFFFFE
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_DIGITS = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
_LONGEST_NUMBER = 400
_INTEGER_LIMITS = {
    "US": (0, 0xFFFF), "SS": (-0x8000, 0x7FFF), "UL": (0, 0xFFFFFFFF), "SL": (-(1 << 31), (1 << 31) - 1),
    "UV": (0, (1 << 64) - 1), "SV": (-(1 << 63), (1 << 63) - 1),
}  # fmt: skip
_NOT_FINITE = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "infinity": math.inf,
    "-infinity": -math.inf,
}


@dataclass(slots=True)
class Encoded:
    """The bytes of elements, some of them still in parts of the request.

    ``is_ascii``: no text has other characters, so that no character set has to be named.
    """

    pieces: list[Piece]
    length: int = 0
    is_ascii: bool = True

    def add(self, *pieces: Piece) -> None:
        for piece in pieces:
            self.pieces.append(piece)
            self.length += len(piece) if isinstance(piece, bytes) else piece.length

    def extend(self, other: Encoded) -> None:
        self.pieces += other.pieces
        self.length += other.length
        self.is_ascii &= other.is_ascii


def header(tag: int, vr: str, length: int) -> bytes:
    """Tag, VR and length of an element."""
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return start + (struct.pack("<2xI", length) if vr in LONG_VRS else struct.pack("<H", length))


def padded(data: bytes, vr: str) -> bytes:
    """``data`` with an even length (PS3.5 §6.2)."""
    if not len(data) % 2:
        return data
    return data + (b" " if vr in values.TEXT and vr != "UI" else b"\0")


def elements_of(dataset: Dataset) -> list[tuple[Attribute, Mapping[str, Any]]]:
    """The elements in tag order, without group lengths. Raises `InputError` for what is no element."""
    found: dict[int, Mapping[str, Any]] = {}
    for key, element in dataset.items():
        if not _TAG.fullmatch(key):
            raise InputError(f"{key[:80]!r} in the metadata is not a tag of eight hexadecimal digits")
        tag = int(key, 16)
        if not isinstance(element, dict):
            raise InputError(f"{key} in the metadata is not an object")
        if tag in found:
            raise InputError(f"{key} is given twice in one data set of the metadata")
        if tag >> 16 in (0, 1, 3, 5, 7, 0xFFFE, 0xFFFF):
            raise InputError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) cannot be an element of a data set")
        if tag & 0xFFFF:
            found[tag] = element
    return [(attribute_of(tag), found[tag]) for tag in sorted(found)]


def encode(
    dataset: Dataset, parts: BulkParts, left_out: frozenset[int] = frozenset(), depth: int = 0
) -> Encoded:
    """The elements of a data set or item, without those of the tags ``left_out``.

    SpecificCharacterSet is left out everywhere: what is encoded is UTF-8, which the whole data set has to say
    once. Raises `InputError`.
    """
    if depth > NESTING:
        raise InputError(f"Sequences are nested more than {NESTING} levels deep")
    encoded = Encoded([])
    for attribute, element in elements_of(dataset):
        if attribute.tag in left_out or attribute.tag == CHARSET:
            continue
        if depth and attribute.tag >> 16 == 2:
            raise InputError(f"{attribute.name} belongs to the file meta information, not in a sequence")
        try:
            _encode_element(encoded, attribute, element, parts, depth)
        except InputError as error:
            if str(error).startswith(attribute.name):
                raise
            raise InputError(f"{attribute.name}: {error}") from None
    return encoded


def vr_of(attribute: Attribute, element: Mapping[str, Any]) -> str:
    """The VR of an element: its own, or else the dictionary's. Raises `InputError`."""
    unknown = element.keys() - _MEMBERS - _IGNORED
    if unknown:
        raise InputError(f"{min(unknown)[:80]!r} is not known in the DICOM JSON Model")
    vr = element.get("vr", attribute.vr)
    if not isinstance(vr, str) or vr not in values.KNOWN:
        raise InputError("its vr is missing" if not element.get("vr") else f"{str(vr)[:20]!r} is not a VR")
    if sum(name in element for name in ("Value", "InlineBinary", "BulkDataURI")) > 1:
        raise InputError("it has more than one of Value, InlineBinary and BulkDataURI")
    return vr


def inline_binary(element: Mapping[str, Any]) -> bytes:
    """The bytes of an InlineBinary. Raises `InputError`."""
    text = element["InlineBinary"]
    try:
        if not isinstance(text, str):
            raise ValueError
        return b64decode("".join(text.split()), validate=True)
    except (Base64Error, ValueError):
        raise InputError("its InlineBinary is not base64") from None


def bulk_parts_of(element: Mapping[str, Any], parts: BulkParts) -> list[BulkPart]:
    """The parts that a BulkDataURI names. Raises `InputError`."""
    uri = element["BulkDataURI"]
    if not isinstance(uri, str) or not uri:
        raise InputError("its BulkDataURI is not a string")
    return parts.find(uri.strip())


def used_parts(dataset: Dataset, parts: BulkParts, depth: int = 0) -> list[BulkPart]:
    """All parts that a data set names. Raises `InputError`."""
    if depth > NESTING:
        raise InputError(f"Sequences are nested more than {NESTING} levels deep")
    used: list[BulkPart] = []
    for element in dataset.values():
        if not isinstance(element, dict):
            continue
        if "BulkDataURI" in element:
            used += bulk_parts_of(element, parts)
        value = element.get("Value")
        for item in value if isinstance(value, list) and element.get("vr") == "SQ" else ():
            if isinstance(item, dict):
                used += used_parts(item, parts, depth + 1)
    return used


def _encode_element(
    encoded: Encoded, attribute: Attribute, element: Mapping[str, Any], parts: BulkParts, depth: int
) -> None:
    vr = vr_of(attribute, element)
    if vr == "SQ":
        _encode_sequence(encoded, attribute.tag, element, parts, depth)
        return
    if "BulkDataURI" in element:
        _encode_bulk(encoded, attribute, vr, bulk_parts_of(element, parts))
        return
    if "InlineBinary" in element:
        if vr not in values.BINARY:
            raise InputError(f"a value of VR {vr} is no InlineBinary")
        data = inline_binary(element)
        _check_width(vr, len(data))
    else:
        listed = element.get("Value")
        if listed is not None and not isinstance(listed, list):
            raise InputError("its Value is not an array")
        data = _value(vr, listed or [])
        encoded.is_ascii &= vr not in values.TEXT or (data.isascii() and b"\x1b" not in data)
    data = padded(data, vr)
    vr = _fitting_vr(vr, len(data))
    encoded.add(header(attribute.tag, vr, len(data)), data)


def _encode_sequence(
    encoded: Encoded, tag: int, element: Mapping[str, Any], parts: BulkParts, depth: int
) -> None:
    listed = element.get("Value", [])
    if not isinstance(listed, list) or "InlineBinary" in element or "BulkDataURI" in element:
        raise InputError("a sequence has an array of items as its Value")
    items = Encoded([])
    for item in listed:
        if item is None:
            item = {}
        if not isinstance(item, dict):
            raise InputError("an item of a sequence is not an object")
        content = encode(item, parts, depth=depth + 1)
        items.add(struct.pack("<HHI", 0xFFFE, 0xE000, _long(content.length)))
        items.extend(content)
    encoded.add(header(tag, "SQ", _long(items.length)))
    encoded.extend(items)


def _encode_bulk(encoded: Encoded, attribute: Attribute, vr: str, found: list[BulkPart]) -> None:
    if len(found) != 1:
        raise InputError("only pixel data may come as parts of their frames")
    (part,) = found
    if attribute.tag in PIXEL_TAGS and part.transfer_syntax(None) is not None:
        raise InputError("pixel data within a sequence (icons) have to be uncompressed")
    _check_width(vr, part.length)
    if vr in values.CHARSET_TEXT:
        # Its characters would have to be read before the data set can say how they are encoded.
        encoded.is_ascii = False
    length = part.length + part.length % 2
    vr = _fitting_vr(vr, length)
    encoded.add(header(attribute.tag, vr, length), part)
    if part.length % 2:
        encoded.add(b" " if vr in values.TEXT and vr != "UI" else b"\0")


def _check_width(vr: str, length: int) -> None:
    width = struct.calcsize(values.NUMBERS[vr]) if vr in values.NUMBERS else values.BINARY.get(vr, 1)
    if length % (4 if vr == "AT" else width):
        raise InputError(f"{length} bytes are not a whole number of values of VR {vr}")


def _fitting_vr(vr: str, length: int) -> str:
    """The VR, or UN for a value that is too long for it (PS3.5 §6.2.2)."""
    if length > _SHORT_LENGTH and vr not in LONG_VRS:
        vr = "UN"
    _long(length)
    return vr


def _long(length: int) -> int:
    if length > _LONG_LENGTH:
        raise InputError("it is longer than 4 GiB")
    return length


def _value(vr: str, listed: list[Any]) -> bytes:
    if vr in values.TEXT:
        return _text(vr, listed)
    if vr == "AT":
        return b"".join(_attribute_tag(each) for each in listed)
    if vr in _INTEGER_LIMITS:
        low, high = _INTEGER_LIMITS[vr]
        numbers = [_integer(each) for each in listed]
        if any(not low <= number <= high for number in numbers):
            raise InputError(f"a number does not fit VR {vr}")
        return struct.pack(f"<{len(numbers)}{values.NUMBERS[vr]}", *numbers)
    if vr in values.NUMBERS:
        return b"".join(_floating(vr, each) for each in listed)
    if listed:
        raise InputError(f"a value of VR {vr} must be an InlineBinary or a BulkDataURI")
    return b""


def _text(vr: str, listed: list[Any]) -> bytes:
    if vr in values.SINGLE_TEXT and len(listed) > 1:
        raise InputError(f"VR {vr} has one value only, not {len(listed)}")
    texts = [_person_name(each) if vr == "PN" else _single_text(vr, each) for each in listed]
    try:
        return "\\".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("a text has a lone surrogate, which is no character") from None


def _single_text(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, NumberText):
        if vr == "IS":
            return str(value) if _DIGITS.fullmatch(value) else str(_integer(value))
        if vr == "DS":
            return str(value)
        raise InputError(f"a value of VR {vr} is a string, not a number")
    if not isinstance(value, str):
        raise InputError(f"a value of VR {vr} is a string, not {type(value).__name__}")
    if "\\" in value and vr not in values.SINGLE_TEXT:
        raise InputError("a value has a backslash, which separates values: list them one by one")
    return value


def _person_name(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, NumberText):
        groups = value.split("=")
    elif isinstance(value, dict) and not value.keys() - set(_GROUPS):
        groups = [value.get(name) or "" for name in _GROUPS]
        if any(not isinstance(each, str) or isinstance(each, NumberText) or "=" in each for each in groups):
            raise InputError("a component group of a name is not a string, or has an equals sign")
    else:
        raise InputError(f"a name is an object with some of {', '.join(_GROUPS)}")
    if len(groups) > len(_GROUPS) or any("\\" in each for each in groups):
        raise InputError("a name has more than three component groups, or a backslash")
    return "=".join(groups).rstrip("=")


def _attribute_tag(value: Any) -> bytes:
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise InputError("a value of VR AT is not eight hexadecimal digits")
    return struct.pack("<HH", int(value[:4], 16), int(value[4:], 16))


def _integer(value: Any) -> int:
    if isinstance(value, str):
        if _DIGITS.fullmatch(value):
            return int(value)
        number = _decimal(value) if isinstance(value, NumberText) else None
        if number is not None and number.adjusted() < 40 and number == number.to_integral_value():
            return int(number)
    raise InputError(f"{str(value)[:40]!r} is not a whole number")


def _decimal(text: str) -> Decimal | None:
    if len(text) > _LONGEST_NUMBER:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _floating(vr: str, value: Any) -> bytes:
    if not isinstance(value, str) or len(value) > _LONGEST_NUMBER:
        raise InputError(f"a value of VR {vr} is not a number")
    number = None if isinstance(value, NumberText) else _NOT_FINITE.get(value.lower())
    if number is None:
        exact = _decimal(value)
        if exact is None or not exact.is_finite():
            raise InputError(f"{value[:40]!r} is not a number")
        number = float(exact)
        if math.isinf(number) or (not number and exact):
            raise InputError(f"{value[:40]} does not fit VR {vr}")
    try:
        data = struct.pack("<" + values.NUMBERS[vr], number)
    except OverflowError:
        raise InputError(f"{value[:40]} does not fit VR {vr}") from None
    if vr == "FL" and number and not struct.unpack("<f", data)[0]:
        raise InputError(f"{value[:40]} does not fit VR {vr}")
    return data
