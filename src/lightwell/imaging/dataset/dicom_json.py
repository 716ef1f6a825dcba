"""Elements in the DICOM JSON Model, as ready texts: ``"TAG":{"vr":…}``.

Source: PS3.18 Annex F. `domain.image_sets.dicom_json_lines` says how the texts of an instance are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
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

#: the longest binary value that stands in the text (HealthImaging: "over 1 MB")
BULK = 1 << 20

#: tables of where frames lay in a value that is not kept as it came
HIDDEN = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00003))
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_BOTH_ENDS = frozenset(("AE", "CS", "LO", "SH", "UI", "DS", "IS"))

_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_SAFE = 15  # digits that every double holds
_EXACT = 1 << 53


def lines(entries: Iterable[ParsedElement]) -> bytes:
    """The lines of a data set; ``entries`` are in tag order, those of file meta and pixels left out."""
    return dicom_json_lines.joined([entry.dicom for entry in entries])


def plain(
    attribute: Attribute,
    vr: str,
    length: int,
    read: Callable[[], bytes],
    charset: Charset,
    path: str,
    *,
    big: bool = False,
) -> bytes:
    """The text of an element that is no sequence, whose value has ``length`` bytes; ``path`` ends with it.

    Bytes that are no value of their VR are shown as UN, as in the native document. Longer than
    `limits.VALUE`, a value that is not binary is left out, of which the import warns.
    """
    if not length:
        return b'"%08X":{"vr":"%s"}' % (attribute.tag, vr.encode())
    if vr in values.BINARY and length > BULK:
        return bulk(attribute, vr, path)
    if length > limits.VALUE:
        return b'"%08X":{"vr":"%s"}' % (attribute.tag, vr.encode())
    data = read()
    try:
        return from_bytes(attribute, vr, data, charset, big=big)
    except values.InvalidValueError:
        if length > BULK:
            return bulk(attribute, "UN", path)
        return _binary(attribute, "UN", data, big=False)


def bulk(attribute: Attribute, vr: str, path: str) -> bytes:
    """The text of an element whose value has to be fetched."""
    return b'"%08X":{"vr":"%s","BulkDataURI":"%s"}' % (attribute.tag, vr.encode(), bulk_name(path).encode())


@lru_cache(4096)
def bulk_name(path: str) -> str:
    """The name of a bulk value in its instance: 32 hex digits.

    ``path`` is the element's tag in eight upper-case digits; inside of sequences those and the numbers of
    items, from 0, stand before it, with slashes between.
    """
    return blake2s(path.encode(), digest_size=16).hexdigest()


def from_bytes(attribute: Attribute, vr: str, data: bytes, charset: Charset, *, big: bool = False) -> bytes:
    """The text of an element with the value ``data``; `Misfit` if that can be no value of the VR."""
    if vr in values.TEXT:
        text = data.decode("ascii") if data.isascii() and b"\x1b" not in data else ""
        if not text:
            text = charset.decode(data, vr)[0]
        return from_text(attribute, vr, text)
    if vr in values.NUMBERS:
        return from_numbers(attribute, vr, values.numbers(vr, data, big=big))
    if vr == "AT":
        return valued(attribute, vr, [b'"%s"' % tag.encode() for tag in values.tags(data, big=big)])
    return _binary(attribute, vr, data, big=big)


def from_text(attribute: Attribute, vr: str, text: str) -> bytes:
    """The text of an element of a text VR, from its whole decoded value."""
    text = text.rstrip(" \0")
    if not text:
        return valued(attribute, vr, [])
    if vr in values.SINGLE_TEXT:
        return valued(attribute, vr, [encode_basestring(text).encode()])
    write = _WRITERS.get(vr, _string)
    if vr in _BOTH_ENDS:
        parts = [part.strip(" \0") for part in text.split("\\")]
    else:
        parts = [part.rstrip(" \0") for part in text.split("\\")]
    return valued(attribute, vr, [write(part) if part else b"null" for part in parts])


def from_numbers(attribute: Attribute, vr: str, numbers: Iterable[float]) -> bytes:
    """The text of an element of a numeric VR."""
    return valued(attribute, vr, [number(value) for value in numbers])


def from_items(attribute: Attribute, items: Sequence[bytes]) -> bytes:
    """The text of a sequence; ``items`` are the texts of its items' elements, commas between them."""
    return valued(attribute, "SQ", [b"{%s}" % item for item in items])


def from_native(attribute: Attribute, vr: str, json: bytes) -> bytes:
    """The text of a binary element that is not empty, from its value in the native document, in quotes."""
    return b'"%08X":{"vr":"%s","InlineBinary":%s}' % (attribute.tag, vr.encode(), json)


def from_base64(attribute: Attribute, vr: str, value: str) -> bytes:
    """The text of a binary element, its bytes in little endian order."""
    if not value:
        return valued(attribute, vr, [])
    return b'"%08X":{"vr":"%s","InlineBinary":"%s"}' % (attribute.tag, vr.encode(), value.encode())


def number(value: float) -> bytes:
    """A JSON number; a string where JSON has none, or where readers of JSON would round it."""
    if type(value) is int:
        return b"%d" % value if -_EXACT <= value <= _EXACT else b'"%d"' % value
    if not isfinite(value):
        return b'"NaN"' if isnan(value) else b'"inf"' if value > 0 else b'"-inf"'
    if value.is_integer() and abs(value) < _EXACT and (value or str(value) == "0.0"):
        return b"%d" % int(value)
    return repr(value).encode()


def valued(attribute: Attribute, vr: str, parts: list[bytes]) -> bytes:
    """The text of an element with these values, each a JSON text."""
    if not parts:
        return b'"%08X":{"vr":"%s"}' % (attribute.tag, vr.encode())
    return b'"%08X":{"vr":"%s","Value":[%s]}' % (attribute.tag, vr.encode(), b",".join(parts))


def _binary(attribute: Attribute, vr: str, data: bytes, *, big: bool) -> bytes:
    return from_native(attribute, vr, values.binary(vr, data, big=big))


def _string(text: str) -> bytes:
    return encode_basestring(text).encode()


def _name(text: str) -> bytes:
    groups = [group.rstrip(" \0") for group in text.split("=", 2)]
    shown = [
        f'"{key}":{encode_basestring(group)}' for key, group in zip(_GROUPS, groups, strict=False) if group
    ]
    return b"{%s}" % ",".join(shown).encode() if shown else b"null"


def _decimal(text: str) -> bytes:
    """DS: digit by digit as it stands, a string where a double would not hold its value."""
    if not _DECIMAL.fullmatch(text):
        return _string(text)
    value = float(text)
    if (len(text) > _SAFE or "e" in text.lower()) and Decimal(repr(value)) != Decimal(text):
        return _string(text)
    if _NUMBER.fullmatch(text):
        return text.encode()
    return b"%d" % int(text) if _WHOLE.fullmatch(text) else repr(value).encode()


def _integer(text: str) -> bytes:
    """IS."""
    if not _WHOLE.fullmatch(text) or len(text) > 19:
        return _string(text)
    return number(int(text))


_WRITERS: dict[str, Callable[[str], bytes]] = {"PN": _name, "DS": _decimal, "IS": _integer}
