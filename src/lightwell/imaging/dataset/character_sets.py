"""Text of the character sets that SpecificCharacterSet (0008,0005) names.

Source: PS3.3 C.12.1.1.2 (defined terms and escape sequences), PS3.5 §6.1.2 (code extension, and where the
first set is active again). Nothing here fails: what cannot be read becomes U+FFFD, and the caller is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

ESC = 0x1B

_SINGLE = {
    "6": "",
    "13": "shift_jis",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "166": "iso8859_11",
    "203": "iso8859_15",
}
_MULTI = {"58": "gb2312", "149": "euc_kr"}
_KANJI = {"87": b"\x1b$B", "159": b"\x1b$(D"}
_ALONE = {"ISO IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gbk", "ISO 2022 GBK": "gbk"}

# Escape sequence → the term's number, and which half it fills (0: bytes below 0x80, 1: those above).
_ESCAPES: dict[bytes, tuple[str, int]] = {
    b"(B": ("6", 0),
    b"(J": ("14", 0),
    b")I": ("13", 1),
    b"-A": ("100", 1),
    b"-B": ("101", 1),
    b"-C": ("109", 1),
    b"-D": ("110", 1),
    b"-F": ("126", 1),
    b"-G": ("127", 1),
    b"-H": ("138", 1),
    b"-L": ("144", 1),
    b"-M": ("148", 1),
    b"-T": ("166", 1),
    b"-b": ("203", 1),
    b"$B": ("87", 0),
    b"$@": ("87", 0),
    b"$(D": ("159", 0),
    b"$)A": ("58", 1),
    b"$)C": ("149", 1),
}
_ESCAPE = re.compile(rb"\x1b(\$[()][A-D]|\$[B@]|[()\-][A-Za-z]|)")
_RUN = re.compile(rb"[\x80-\xff]+|[\x00-\x7f]+")
_RESET_TEXT = re.compile(rb"[\t\n\f\r\\]")
# Where the backslash separates no values it is a letter like others.
_RESET_LINE = re.compile(rb"[\t\n\f\r]")
_RESETS = {"PN": re.compile(rb"[\t\n\f\r\\^=]"), "LT": _RESET_LINE, "ST": _RESET_LINE, "UT": _RESET_LINE}
_RESET_KANJI = re.compile(rb"[\x00-\x1f]")
# What writers use in truth when they name the smaller set.
_WIDER = {"euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
_KATAKANA = re.compile(rb"[\x00-\x7f\xa1-\xdf]*")

# ISO_IR 100 and ISO 2022 IR 100, and how they are misspelled; "ISO 2022 58" is pydicom's and others' for 58.
_TERM = re.compile(r"ISO ?(?:2022 ?IR ?|2022 |IR ?)(\d{1,3})")

_REPLACED = "bytes that are not valid in its character set became U+FFFD"
_WIDENED = "bytes that are not valid in its character set were read by a wider one of its kind"
_NOT_INVOKED = "bytes were read by a character set that is declared, but not invoked where they stand"
_GUESSED_UTF8 = "bytes outside of the default repertoire were read as UTF-8"
_GUESSED = "bytes outside of the default repertoire were read as ISO 8859-1"
_UNDECLARED = "a character set is used that SpecificCharacterSet does not declare"


@dataclass(frozen=True, slots=True)
class Charset:
    """How text is decoded under one value of SpecificCharacterSet.

    ``codec`` reads all that stands without escape sequences; "" is the default repertoire. ``alone`` tells
    that escape sequences have no meaning. ``declared`` are the numbers of the sets that may be escaped to,
    ``spare`` is the codec of the first of them that has letters above the default repertoire, for text that
    forgets to. ``unknown`` are the terms that were not understood.
    """

    codec: str
    alone: bool
    declared: frozenset[str]
    unknown: tuple[str, ...]
    spare: str = ""

    def decode(self, data: bytes, vr: str = "LO") -> tuple[str, str]:
        """Text of ``data``, a whole value with its backslashes, and what is wrong with it ("" if nothing).

        ``vr`` tells what brings back the first character set: ends of lines, backslashes but in LT, ST and
        UT, and in PN ``^`` and ``=`` (PS3.5 §6.1.2.5.3).
        """
        if data.isascii() and (self.alone or ESC not in data):
            return data.decode("ascii"), ""
        if self.alone or ESC not in data:
            return _read(data, self.codec, self.spare)
        return self._extended(data, _RESETS.get(vr, _RESET_TEXT))

    def _extended(self, data: bytes, reset: re.Pattern[bytes]) -> tuple[str, str]:
        pieces: list[str] = []
        problem = ""
        low, high = "6", self.codec
        pos = 0
        for match in [*_ESCAPE.finditer(data), None]:
            end = match.start() if match else len(data)
            while pos < end:
                stop = (_RESET_KANJI if low in _KANJI else reset).search(data, pos, end)
                cut = stop.start() if stop else end
                text, wrong = _mixed(data[pos:cut], low, high, self.spare)
                pieces.append(text)
                problem = problem or wrong
                if stop:
                    pieces.append(chr(data[cut]))
                    low, high = "6", self.codec
                    cut += 1
                pos = cut
            if match:
                number, half = _ESCAPES.get(match[1], ("", 0))
                if not number:
                    problem = _REPLACED
                    pieces.append("\ufffd")
                elif half:
                    high = _MULTI.get(number) or _SINGLE[number]
                else:
                    low = number
                if number not in self.declared and number not in ("6", "14", ""):
                    problem = problem or _UNDECLARED
                pos = match.end()
        return "".join(pieces), problem


def _read(data: bytes, codec: str, spare: str) -> tuple[str, str]:
    if not codec:
        return _guess(data, spare)
    try:
        text = data.decode(codec)
    except UnicodeDecodeError:
        try:
            return data.decode(_WIDER.get(codec, codec)), _WIDENED
        except UnicodeDecodeError:
            return data.decode(codec, "replace"), _REPLACED
    if codec == "shift_jis" and not _KATAKANA.fullmatch(data):
        return text, _UNDECLARED
    return text, ""


def _guess(data: bytes, spare: str) -> tuple[str, str]:
    """Text where nothing is invoked that has letters beyond ASCII; what is valid UTF-8 surely is that."""
    if data.isascii():
        return data.decode("ascii"), ""
    for codec, problem in ((spare, _NOT_INVOKED), ("utf_8", _GUESSED_UTF8)):
        try:
            if codec:
                return data.decode(codec), problem
        except UnicodeDecodeError:
            pass
    return data.decode("latin_1"), _GUESSED


def _mixed(data: bytes, low: str, high: str, spare: str) -> tuple[str, str]:
    """Text without escape sequences or resets, its lower half in ``low`` and its upper half in codec
    ``high``.
    """
    if low not in _KANJI:
        return (data.decode("ascii"), "") if data.isascii() else _read(data, high, spare)
    pieces: list[str] = []
    problem = ""
    for run in _RUN.findall(data):
        if run[0] >= 0x80:
            text, wrong = _read(run, high, spare)
        else:
            try:
                text, wrong = (_KANJI[low] + run).decode("iso2022_jp_2"), ""
            except UnicodeDecodeError:
                text, wrong = _wider_kanji(run, low)
        pieces.append(text)
        problem = problem or wrong
    return "".join(pieces), problem


def _wider_kanji(run: bytes, low: str) -> tuple[str, str]:
    """JIS X 0208 with the rows that JIS X 0213 adds to it, such as that of circled digits."""
    if low == "87":
        try:
            return (b"\x1b$(Q" + run).decode("iso2022_jp_2004"), _WIDENED
        except UnicodeDecodeError:
            pass
    return (_KANJI[low] + run).decode("iso2022_jp_2", "replace"), _REPLACED


@lru_cache(maxsize=256)
def charset_of(raw: bytes) -> Charset:
    """The character set of the value ``raw`` of SpecificCharacterSet, b"" for the default repertoire.

    Misspelled terms such as ``ISO-IR 100`` or ``iso_ir_100`` are understood. Of a list with a set that allows
    no code extension (UTF-8, GB18030, GBK) only the first term counts (PS3.3 C.12.1.1.2).
    """
    terms = [_plain(term) for term in raw.decode("latin_1").split("\\")]
    unknown: list[str] = []
    codec, spare, alone = "", "", False
    declared: set[str] = set()
    for index, term in enumerate(terms):
        if term in _ALONE:
            if index == 0:
                codec, alone = _ALONE[term], True
            else:
                unknown.append(term)
            continue
        match = _TERM.fullmatch(term)
        number = match[1] if match else "" if term else "6"
        if alone or not (number in _SINGLE or number in _MULTI or number in _KANJI):
            unknown.append(term)
            continue
        declared.add(number)
        upper = _MULTI.get(number) or _SINGLE.get(number, "")
        if index == 0:
            codec = upper
        spare = spare or upper
    return Charset(codec, alone, frozenset(declared), tuple(unknown), spare)


def _plain(term: str) -> str:
    term = re.sub(r"[\s_\-\0]+", " ", term).strip().upper()
    return "ISO IR 192" if term in ("ISOIR 192", "ISO IR192", "ISOIR192") else term
