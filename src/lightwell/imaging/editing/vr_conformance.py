"""Whether a string is a value of its VR: PS3.5 table 6.2-1, one value at a time.

Imported files are accepted as they are; these rules apply to values that clients change.
"""

from __future__ import annotations

import re
from datetime import date

from lightwell.imaging.dataset.values import LENGTHS

_ASCII = r"[\x20-\x5B\x5D-\x7E]*"
_PATTERNS = {
    "AE": _ASCII,
    "AS": r"\d{3}[DWMY]",
    "CS": r"[A-Z0-9_ ]*",
    "DS": r" *[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[Ee][+-]?\d+)? *",
    "DT": r"\d{4}(?:\d\d(?:\d\d(?:\d\d(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?)?)?)?(?:[+-]\d{4})?",
    "IS": r" *[+-]?\d+ *",
    "TM": r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?",
    "UI": r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*",
    "UR": r"[!-\[\]-~]*",
}
_FORMATS = {vr: re.compile(pattern, re.ASCII) for vr, pattern in _PATTERNS.items()}
# Characters that are not allowed: a backslash separates values, and so are control characters except ESC.
_FORBIDDEN = re.compile(r"[\x00-\x1A\x1C-\x1F\x7F\\]")
_FORBIDDEN_IN_PARAGRAPHS = re.compile(r"[\x00-\x08\x0B\x0E-\x1A\x1C-\x1F\x7F]")
_PARAGRAPHS = frozenset(("LT", "ST", "UT"))
_IS_LIMIT = 2**31


def nonconformance(vr: str, text: str) -> str | None:
    """Why ``text``, without padding, is not a value of the VR; None if it is one, as an empty string is."""
    if not text:
        return None
    longest = LENGTHS.get(vr)
    parts = text.split("=") if vr == "PN" else [text]
    if longest is not None and max(map(len, parts)) > longest:
        return f"it is {max(map(len, parts))} characters long, but {vr} allows {longest}"
    if vr == "PN" and len(parts) > 3:
        return "a name has at most three groups, separated by ="
    if not matches_pattern(vr, text):
        return f"it does not have the format of {vr}"
    if vr == "DA" or (vr == "DT" and len(text) >= 8 and text[:8].isdigit()):
        return None if _is_date(text if vr == "DA" else text[:8]) else "it is not a date such as 20240131"
    if vr == "IS" and not -_IS_LIMIT <= int(text) < _IS_LIMIT:
        return "it does not fit in 32 bits"
    if (_FORBIDDEN_IN_PARAGRAPHS if vr in _PARAGRAPHS else _FORBIDDEN).search(text):
        return f"it contains a character that {vr} does not allow"
    return None


def matches_pattern(vr: str, text: str) -> bool:
    """Whether ``text`` has the format of the VR, whatever its length."""
    pattern = _FORMATS.get(vr)
    return pattern is None or pattern.fullmatch(text) is not None


def is_uid(text: str) -> bool:
    """Whether ``text`` is a UID (PS3.5 §9.1)."""
    return bool(text) and nonconformance("UI", text) is None


def _is_date(text: str) -> bool:
    if not (text.isascii() and text.isdigit() and len(text) == 8):
        return False
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True
