"""Elements in the DICOM JSON Model, as encoded JSON: ``"TAG":{"vr":…}``.

Source: PS3.18 Annex F. `domain.image_sets.dicom_json_lines` describes how an instance's elements are stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, DecimalException
from functools import lru_cache
from hashlib import blake2s
from json.encoder import encode_basestring
from math import isfinite, isnan

from lightwell.domain import limits
from lightwell.domain.image_sets import dicom_json_lines
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.character_sets import Charset
from lightwell.imaging.dataset.dictionary import Attribute
from lightwell.imaging.dataset.parsed_element import ParsedElement

#: the longest binary value that is inline (HealthImaging: "over 1 MB")
BULK_THRESHOLD = 1 << 20

#: offset tables of encapsulated pixel data, which is not stored as it was received
OFFSET_TABLES = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00003))
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_BOTH_ENDS = frozenset(("AE", "CS", "LO", "SH", "UI", "DS", "IS"))

_DECIMAL_STRING = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_INTEGER_TEXT = re.compile(r"[+-]?\d+", re.ASCII)
_EXACT_DIGITS = 15  # digits that every double represents
_MOST_DIGITS = 4000  # of a number; Python does not read integers of more than 4,300
_EXACT_INTEGER = 1 << 53


def lines(elements: Iterable[ParsedElement]) -> bytes:
    """The lines of a data set; ``elements`` are in tag order, without file meta and pixels."""
    return dicom_json_lines.join_elements([element.dicom for element in elements])


def from_reader(
    attribute: Attribute,
    vr: str,
    length: int,
    read: Callable[[], bytes],
    charset: Charset,
    path: str,
    *,
    big: bool = False,
) -> bytes:
    """The JSON of an element other than a sequence with ``length`` bytes; ``path`` ends with the element.

    Bytes that are not a value of the VR are shown as UN, as in the metadata document. A value that is not
    binary and longer than `limits.VALUE` is omitted; the import warns of it.
    """
    if not length:
        return b'"%08X":{"vr":"%s"}' % (attribute.tag, vr.encode())
    if vr in values.BINARY and length > BULK_THRESHOLD:
        return bulk_reference(attribute, vr, path)
    if length > limits.VALUE:
        return b'"%08X":{"vr":"%s"}' % (attribute.tag, vr.encode())
    data = read()
    try:
        return from_bytes(attribute, vr, data, charset, big=big)
    except values.InvalidValueError:
        if length > BULK_THRESHOLD:
            return bulk_reference(attribute, "UN", path)
        return _binary(attribute, "UN", data, big=False)


def bulk_reference(attribute: Attribute, vr: str, path: str) -> bytes:
    """The JSON of an element whose value is retrieved separately."""
    return b'"%08X":{"vr":"%s","BulkDataURI":"%s"}' % (attribute.tag, vr.encode(), bulk_name(path).encode())


@lru_cache(4096)
def bulk_name(path: str) -> str:
    """The name of a bulk value in its instance: 32 hex digits.

    ``path`` is the element's tag in eight upper-case hex digits, preceded within sequences by the tags of
    these and the numbers of the items, from 0, all separated by slashes.
    """
    return blake2s(path.encode(), digest_size=16).hexdigest()


def from_bytes(attribute: Attribute, vr: str, data: bytes, charset: Charset, *, big: bool = False) -> bytes:
    """The JSON of an element with the value ``data``; `InvalidValueError` if it is not a value of the VR."""
    if vr in values.TEXT:
        text = data.decode("ascii") if data.isascii() and b"\x1b" not in data else ""
        if not text:
            text = charset.decode(data, vr)[0]
        return from_text(attribute, vr, text)
    if vr in values.NUMBERS:
        return from_numbers(attribute, vr, values.numbers(vr, data, big=big))
    if vr == "AT":
        return from_json_values(attribute, vr, [b'"%s"' % tag.encode() for tag in values.tags(data, big=big)])
    return _binary(attribute, vr, data, big=big)


def from_text(attribute: Attribute, vr: str, text: str) -> bytes:
    """The JSON of an element of a text VR, from its whole decoded value."""
    text = text.rstrip(" \0")
    if not text:
        return from_json_values(attribute, vr, [])
    if vr in values.SINGLE_TEXT:
        return from_json_values(attribute, vr, [encode_basestring(text).encode()])
    encode = _VALUE_ENCODERS.get(vr, _string)
    if vr in _BOTH_ENDS:
        parts = [part.strip(" \0") for part in text.split("\\")]
    else:
        parts = [part.rstrip(" \0") for part in text.split("\\")]
    return from_json_values(attribute, vr, [encode(part) if part else b"null" for part in parts])


def from_numbers(attribute: Attribute, vr: str, numbers: Iterable[float]) -> bytes:
    """The JSON of an element of a numeric VR."""
    return from_json_values(attribute, vr, [number(value) for value in numbers])


def from_items(attribute: Attribute, items: Sequence[bytes]) -> bytes:
    """The JSON of a sequence; ``items`` are the JSON of the elements of each item, separated by commas."""
    return from_json_values(attribute, "SQ", [b"{%s}" % item for item in items])


def from_native(attribute: Attribute, vr: str, json: bytes) -> bytes:
    """The JSON of a binary element with a value; ``json`` is that value in the metadata document, quoted."""
    return b'"%08X":{"vr":"%s","InlineBinary":%s}' % (attribute.tag, vr.encode(), json)


def from_base64(attribute: Attribute, vr: str, value: str) -> bytes:
    """The JSON of a binary element, its bytes in little endian order."""
    if not value:
        return from_json_values(attribute, vr, [])
    return b'"%08X":{"vr":"%s","InlineBinary":"%s"}' % (attribute.tag, vr.encode(), value.encode())


def number(value: float) -> bytes:
    """A JSON number; a string if it is not finite, or if JSON readers would round it."""
    if type(value) is int:
        return b"%d" % value if -_EXACT_INTEGER <= value <= _EXACT_INTEGER else b'"%d"' % value
    if not isfinite(value):
        return b'"NaN"' if isnan(value) else b'"inf"' if value > 0 else b'"-inf"'
    if value.is_integer() and abs(value) < _EXACT_INTEGER and (value or str(value) == "0.0"):
        return b"%d" % int(value)
    return repr(value).encode()


def from_json_values(attribute: Attribute, vr: str, parts: list[bytes]) -> bytes:
    """The JSON of an element with these values, each encoded as JSON."""
    if not parts:
        return b'"%08X":{"vr":"%s"}' % (attribute.tag, vr.encode())
    return b'"%08X":{"vr":"%s","Value":[%s]}' % (attribute.tag, vr.encode(), b",".join(parts))


def _binary(attribute: Attribute, vr: str, data: bytes, *, big: bool) -> bytes:
    return from_native(attribute, vr, values.binary(vr, data, big=big))


def _string(text: str) -> bytes:
    return encode_basestring(text).encode()


def _name(text: str) -> bytes:
    groups = [group.rstrip(" \0") for group in text.split("=", 2)]
    groups_json = [
        f'"{key}":{encode_basestring(group)}' for key, group in zip(_GROUPS, groups, strict=False) if group
    ]
    return b"{%s}" % ",".join(groups_json).encode() if groups_json else b"null"


def _decimal(text: str) -> bytes:
    """DS: a number with the same digits; a string if a double cannot represent it."""
    if not _DECIMAL_STRING.fullmatch(text):
        return _string(text)
    if len(text) > _MOST_DIGITS:
        return _string(text)
    value = float(text)
    if (len(text) > _EXACT_DIGITS or "e" in text.lower()) and not _is_exactly(value, text):
        return _string(text)
    if _JSON_NUMBER.fullmatch(text):
        return text.encode()
    return b"%d" % int(text) if _INTEGER_TEXT.fullmatch(text) else repr(value).encode()


def _is_exactly(value: float, text: str) -> bool:
    try:
        return Decimal(repr(value)) == Decimal(text)
    except DecimalException:  # the exponent has too many digits
        return False


def _integer(text: str) -> bytes:
    """IS."""
    if not _INTEGER_TEXT.fullmatch(text) or len(text) > 19:
        return _string(text)
    return number(int(text))


_VALUE_ENCODERS: dict[str, Callable[[str], bytes]] = {"PN": _name, "DS": _decimal, "IS": _integer}
