"""Text of the character sets that SpecificCharacterSet (0008,0005) names.

Source: PS3.3 C.12.1.1.2 (defined terms and escape sequences), PS3.5 §6.1.2 (code extension, and where the
first set becomes active again). Decoding never fails: what cannot be decoded becomes U+FFFD, and the caller
is told.
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

# Escape sequence → number of the term, and the code area it designates (0: G0, 1: G1).
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
# A backslash that does not separate values is an ordinary character.
_RESET_LINE = re.compile(rb"[\t\n\f\r]")
_RESETS = {"PN": re.compile(rb"[\t\n\f\r\\^=]"), "LT": _RESET_LINE, "ST": _RESET_LINE, "UT": _RESET_LINE}
_RESET_KANJI = re.compile(rb"[\x00-\x1f]")
# What writers actually use when they name the smaller set.
_SUPERSETS = {"euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
_KATAKANA = re.compile(rb"[\x00-\x7f\xa1-\xdf]*")

# ISO_IR 100 and ISO 2022 IR 100, and how they are misspelled; "ISO 2022 58" is pydicom's and others' for 58.
_TERM = re.compile(r"ISO ?(?:2022 ?IR ?|2022 |IR ?)(\d{1,3})")

_REPLACED = "bytes that are not valid in its character set were replaced with U+FFFD"
_WIDENED = "bytes that are not valid in its character set were decoded with a superset of it"
_NOT_INVOKED = "bytes were decoded with a declared character set that no escape sequence designates"
_GUESSED_UTF8 = "bytes outside the default repertoire were decoded as UTF-8"
_GUESSED = "bytes outside the default repertoire were decoded as ISO 8859-1"
_UNDECLARED = "it uses a character set that SpecificCharacterSet does not declare"


@dataclass(frozen=True, slots=True)
class Charset:
    """How text is decoded under one value of SpecificCharacterSet.

    ``codec`` decodes text before escape sequences; "" is the default repertoire. ``alone``: a set without
    code extension, in which escape sequences have no meaning. ``declared`` are the numbers of the sets that
    escape sequences may designate; ``fallback`` is the codec of the first of them that has characters beyond
    the default repertoire, for text that lacks the escape sequence. ``unknown`` are the unknown terms.
    """

    codec: str
    alone: bool
    declared: frozenset[str]
    unknown: tuple[str, ...]
    fallback: str = ""

    def decode(self, data: bytes, vr: str = "LO") -> tuple[str, str]:
        """The text of ``data``, a whole value with its backslashes, and the problem with it ("" if none).

        ``vr`` decides which characters reactivate the first character set: line ends, backslashes except in
        LT, ST and UT, and in PN ``^`` and ``=`` (PS3.5 §6.1.2.5.3).
        """
        if data.isascii() and (self.alone or ESC not in data):
            return data.decode("ascii"), ""
        if self.alone or ESC not in data:
            return _decode(data, self.codec, self.fallback)
        return self._extended(data, _RESETS.get(vr, _RESET_TEXT))

    def _extended(self, data: bytes, reset: re.Pattern[bytes]) -> tuple[str, str]:
        pieces: list[str] = []
        problem = ""
        g0, g1 = "6", self.codec
        pos = 0
        for match in [*_ESCAPE.finditer(data), None]:
            end = match.start() if match else len(data)
            while pos < end:
                reset_match = (_RESET_KANJI if g0 in _KANJI else reset).search(data, pos, end)
                run_end = reset_match.start() if reset_match else end
                text, run_problem = _decode_run(data[pos:run_end], g0, g1, self.fallback)
                pieces.append(text)
                problem = problem or run_problem
                if reset_match:
                    pieces.append(chr(data[run_end]))
                    g0, g1 = "6", self.codec
                    run_end += 1
                pos = run_end
            if match:
                number, is_g1 = _ESCAPES.get(match[1], ("", 0))
                if not number:
                    problem = _REPLACED
                    pieces.append("\ufffd")
                elif is_g1:
                    g1 = _MULTI.get(number) or _SINGLE[number]
                else:
                    g0 = number
                if number not in self.declared and number not in ("6", "14", ""):
                    problem = problem or _UNDECLARED
                pos = match.end()
        return "".join(pieces), problem


def _decode(data: bytes, codec: str, fallback: str) -> tuple[str, str]:
    if not codec:
        return _guess(data, fallback)
    try:
        text = data.decode(codec)
    except UnicodeDecodeError:
        try:
            return data.decode(_SUPERSETS.get(codec, codec)), _WIDENED
        except UnicodeDecodeError:
            return data.decode(codec, "replace"), _REPLACED
    if codec == "shift_jis" and not _KATAKANA.fullmatch(data):
        return text, _UNDECLARED
    return text, ""


def _guess(data: bytes, fallback: str) -> tuple[str, str]:
    """Text without a designated set beyond ASCII; bytes that are valid UTF-8 are taken for UTF-8."""
    if data.isascii():
        return data.decode("ascii"), ""
    for codec, problem in ((fallback, _NOT_INVOKED), ("utf_8", _GUESSED_UTF8)):
        try:
            if codec:
                return data.decode(codec), problem
        except UnicodeDecodeError:
            pass
    return data.decode("latin_1"), _GUESSED


def _decode_run(data: bytes, g0: str, g1: str, fallback: str) -> tuple[str, str]:
    """Text without escape sequences or resets: ``g0`` is the number of its set, ``g1`` is a codec."""
    if g0 not in _KANJI:
        return (data.decode("ascii"), "") if data.isascii() else _decode(data, g1, fallback)
    pieces: list[str] = []
    problem = ""
    for run in _RUN.findall(data):
        if run[0] >= 0x80:
            text, run_problem = _decode(run, g1, fallback)
        else:
            try:
                text, run_problem = (_KANJI[g0] + run).decode("iso2022_jp_2"), ""
            except UnicodeDecodeError:
                text, run_problem = _decode_kanji_superset(run, g0)
        pieces.append(text)
        problem = problem or run_problem
    return "".join(pieces), problem


def _decode_kanji_superset(run: bytes, g0: str) -> tuple[str, str]:
    """JIS X 0208 with the rows that JIS X 0213 adds, such as the circled digits."""
    if g0 == "87":
        try:
            return (b"\x1b$(Q" + run).decode("iso2022_jp_2004"), _WIDENED
        except UnicodeDecodeError:
            pass
    return (_KANJI[g0] + run).decode("iso2022_jp_2", "replace"), _REPLACED


@lru_cache(maxsize=256)
def charset_of(raw: bytes) -> Charset:
    """The character set of the value ``raw`` of SpecificCharacterSet, b"" for the default repertoire.

    Misspelled terms such as ``ISO-IR 100`` or ``iso_ir_100`` are accepted. In a list, a set without code
    extension (UTF-8, GB18030, GBK) counts only as the first term, and then alone (PS3.3 C.12.1.1.2).
    """
    terms = [_normalized(term) for term in raw.decode("latin_1").split("\\")]
    unknown: list[str] = []
    codec, fallback, alone = "", "", False
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
        g1_codec = _MULTI.get(number) or _SINGLE.get(number, "")
        if index == 0:
            codec = g1_codec
        fallback = fallback or g1_codec
    return Charset(codec, alone, frozenset(declared), tuple(unknown), fallback)


def _normalized(term: str) -> str:
    term = re.sub(r"[\s_\-\0]+", " ", term).strip().upper()
    return "ISO IR 192" if term in ("ISOIR 192", "ISO IR192", "ISOIR192") else term
