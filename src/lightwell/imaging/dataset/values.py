"""Values of elements as JSON of the metadata document.

Source: the typing rules seen in public documents of the service. Text VRs are trimmed of padding; DS and IS
are as in the file except for zero bytes at the end; standard elements without a value are ``null``, others
``""``; an attribute whose multiplicity is not 1 is always an array. Numbers that are not finite are the
strings "NaN", "Infinity" and "-Infinity", since JSON has no such numbers. All JSON is UTF-8.
"""

from __future__ import annotations

import re
import struct
from binascii import b2a_base64
from json.encoder import encode_basestring
from math import isfinite, isnan

from lightwell.domain.imports.warnings import Warning
from lightwell.imaging.dataset.character_sets import Charset
from lightwell.imaging.dataset.dictionary import Attribute

#: VR → struct letter
NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_SIZES = {vr: struct.calcsize("<" + letter) for vr, letter in NUMBERS.items()}
_SINGLES = {vr: struct.Struct("<" + letter).unpack for vr, letter in NUMBERS.items()}
#: VR → bytes of one word, which big endian data sets swap
BINARY = {"OB": 1, "UN": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
#: VRs whose text follows SpecificCharacterSet
CHARSET_TEXT = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
PLAIN_TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
TEXT = CHARSET_TEXT | PLAIN_TEXT
SINGLE_TEXT = frozenset(("LT", "ST", "UT", "UR"))
VERBATIM = frozenset(("DS", "IS"))
# Leading spaces are not significant either (PS3.5 table 6.2-1).
_BOTH_ENDS = frozenset(("AE", "CS", "LO", "SH", "UI"))

#: VR → most characters of one value (PS3.5 table 6.2-1; TM as in older editions)
LENGTHS = {
    "AE": 16, "AS": 4, "CS": 16, "DA": 8, "DS": 16, "DT": 26, "IS": 12, "LO": 64, "LT": 10240,
    "PN": 64, "SH": 16, "ST": 1024, "TM": 16, "UI": 64,
}  # fmt: skip

KNOWN = frozenset((*NUMBERS, *BINARY, *TEXT, "AT", "SQ"))

_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*", re.ASCII)
_SURROGATES = re.compile("[\ud800-\udfff]")
_EXACT = 2.0**53


class InvalidValueError(Exception):
    """The bytes cannot be a value of the VR."""


def whole(text: str) -> str:
    """``text`` with U+FFFD for lone surrogates, which JSON can escape but UTF-8 cannot encode."""
    return _SURROGATES.sub("\ufffd", text)


def number(value: float) -> bytes:
    """A JSON number, without a fraction if it is whole; a string if it is not finite."""
    if type(value) is int:
        return b"%d" % value
    if not isfinite(value):
        return b'"NaN"' if isnan(value) else b'"Infinity"' if value > 0 else b'"-Infinity"'
    if value.is_integer() and abs(value) < _EXACT and (value or str(value) == "0.0"):
        return b"%d" % int(value)
    return repr(value).encode()


def empty(attribute: Attribute) -> bytes:
    """JSON of an element without a value."""
    return b"null" if attribute.keyed else b'""'


def array(attribute: Attribute, parts: list[bytes]) -> bytes:
    """JSON of ``parts``: a scalar if the attribute has VM 1 or, keyed by digits, has one value."""
    if len(parts) == 1 and attribute.single is not False:
        return parts[0]
    return b"[" + b",".join(parts) + b"]"


def decode_text(attribute: Attribute, vr: str, data: bytes, charset: Charset, warnings: list[Warning]) -> str:
    """The text of a whole value, with its padding; problems are added to ``warnings``."""
    if data.isascii() and b"\x1b" not in data:
        return data.decode("ascii")
    text, problem = charset.decode(data, vr)
    if not problem and vr in PLAIN_TEXT and not data.isascii():
        problem = (
            "bytes outside the default repertoire, which its VR does not allow, were decoded nevertheless"
        )
    if problem:
        warnings.append(Warning("CoercionOfDataElements", f"{attribute.name}: {problem}"))
    return text


def text_values(attribute: Attribute, vr: str, text: str, warnings: list[Warning]) -> list[str]:
    """The values of ``text``: trimmed (DS and IS of zero bytes) and checked; none if it is all padding."""
    stripped = text.rstrip(" \0")
    if not stripped:
        return []
    if vr in VERBATIM:
        values = [text] if attribute.single else text.split("\\")
        if "\0" in text:
            values = [value.rstrip("\0") for value in values]
    else:
        values = [stripped] if attribute.single or vr in SINGLE_TEXT else stripped.split("\\")
        if vr in _BOTH_ENDS:
            values = [value.strip(" \0") for value in values]
        elif len(values) > 1:
            values = [value.rstrip(" \0") for value in values]
    _check(attribute, vr, values, warnings)
    return values


def _check(attribute: Attribute, vr: str, values: list[str], warnings: list[Warning]) -> None:
    limit = LENGTHS.get(vr)
    if limit is None:
        return
    if vr != "UI" and len(values) == 1 and len(values[0]) <= limit:
        return
    if attribute.single and vr not in SINGLE_TEXT:
        values = values[0].split("\\")
    if max(map(len, values)) > limit:
        parts = [
            part.strip(" \0") for value in values for part in (value.split("=") if vr == "PN" else (value,))
        ]
        longest = max(map(len, parts))
        if longest > limit:
            warnings.append(
                Warning(
                    "InvalidDicomValueLength",
                    f"{attribute.name}: a value has {longest} characters, VR {vr} allows {limit}",
                )
            )
    if vr == "UI":
        wrong = [value for value in values if value and not _UID.fullmatch(value)]
        if wrong:
            warnings.append(Warning("InvalidUidFormat", f"{attribute.name}: {wrong[0][:80]!r} is not a UID"))


def texts_json(attribute: Attribute, values: list[str]) -> bytes:
    """JSON of text values."""
    if not values:
        return empty(attribute)
    if len(values) == 1 and attribute.single is not False:
        return encode_basestring(values[0]).encode()
    return b"[" + ",".join([encode_basestring(value) for value in values]).encode() + b"]"


def numbers(vr: str, data: bytes, *, big: bool) -> tuple[float, ...]:
    """The numbers of a value; `InvalidValueError` if its length is not a multiple of theirs."""
    size = _SIZES[vr]
    if len(data) == size and not big:
        return _SINGLES[vr](data)
    count, rest = divmod(len(data), size)
    if rest:
        raise InvalidValueError
    return struct.unpack(f"{'>' if big else '<'}{count}{NUMBERS[vr]}", data)


def tags(data: bytes, *, big: bool) -> list[str]:
    """Values of AT as eight upper-case hex digits each."""
    if len(data) % 4:
        raise InvalidValueError
    words = struct.unpack(f"{'>' if big else '<'}{len(data) // 2}H", data)
    return [f"{group:04X}{element:04X}" for group, element in zip(words[::2], words[1::2], strict=True)]


def swap_bytes(data: bytes, width: int) -> bytes:
    """``data`` with the bytes of each word of ``width`` bytes reversed; unchanged if a word is incomplete."""
    if width == 1 or len(data) % width:
        return data
    swapped = bytearray(len(data))
    for index in range(width):
        swapped[index::width] = data[width - 1 - index :: width]
    return bytes(swapped)


def binary(vr: str, data: bytes, *, big: bool) -> bytes:
    """A JSON string with the base64 of ``data``, in little endian order (PS3.18 F.2.7)."""
    width = BINARY.get(vr, 1)
    if big and width > 1:
        if len(data) % width:
            raise InvalidValueError
        data = swap_bytes(data, width)
    return b'"' + b2a_base64(data, newline=False) + b'"'


def value_json(
    attribute: Attribute,
    vr: str,
    data: bytes,
    charset: Charset,
    warnings: list[Warning],
    *,
    big: bool = False,
) -> bytes:
    """JSON of a value other than a sequence; `InvalidValueError` if the bytes are not a value of the VR."""
    if not data:
        return empty(attribute)
    if vr in TEXT:
        return texts_json(
            attribute,
            text_values(attribute, vr, decode_text(attribute, vr, data, charset, warnings), warnings),
        )
    if vr in NUMBERS:
        return array(attribute, [number(value) for value in numbers(vr, data, big=big)])
    if vr == "AT":
        return array(attribute, [b'"%s"' % tag.encode() for tag in tags(data, big=big)])
    return binary(vr, data, big=big)
