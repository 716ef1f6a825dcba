"""The pieces of a study's texts by which wildcards and fuzzy names are found, wherever in a text they match.

A *gram* is `LENGTH` characters of a text from any place in it, or what there is left of it at its end; before
it stand letters for the data store and the attribute. So whatever stands in a text is the beginning of a gram
of it, or several grams in a row; a value's own beginning and end are characters of the text too. Grams find
every study that matches, and some that do not: case and accents are gone, and their order is not looked at.

A gram has no character that would part it into two in an index: others than letters and digits are replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from lightwell.domain.qido.criteria import AnyOf, Match, Range, Wildcard, Words, fold

LENGTH = 5
_SHORT = 3  # beginnings of grams that many studies have are used only where there is nothing better

# Beginning of a value, and of a word of a person name; end of a value.
_BEGIN, _END = "\u015e", "\u0102"
_NAME = str.maketrans({character: _BEGIN for character in "^= ,"})
_PLAIN = str.maketrans(
    {chr(code): chr(code + 0x100) for code in range(0x80) if not chr(code).isalnum()} | {"^": "\u015f"}
)

MOST = 40_000
"""Grams of one study, of which PostgreSQL keeps a megabyte. What has more, such as a study of some hundred
series with long lists of requests, is not found by all of them."""

LETTERS = {
    "PatientName": "n",
    "ReferringPhysicianName": "r",
    "PatientID": "i",
    "AccessionNumber": "a",
    "StudyDescription": "d",
    "StudyID": "s",
    "ModalitiesInStudy": "m",
    "RequestAttributesSequence.ScheduledProcedureStepID": "p",
    "RequestAttributesSequence.RequestedProcedureID": "q",
}
"""The attributes that have grams."""
NAMES = frozenset(("PatientName", "ReferringPhysicianName"))
LISTS = frozenset(
    (
        "ModalitiesInStudy",
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "RequestAttributesSequence.RequestedProcedureID",
    )
)
"""Those whose column is a JSON array of values."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def fold_name(text: str) -> str:
    """A person name as it is compared, without the separators that say nothing at the ends of its groups.

    Source: PS3.5 §6.2.1.
    """
    return "=".join(group.rstrip("^ ") for group in fold(text).split("=")).rstrip("=")


def grams(datastore: int, texts: Mapping[str, str | None]) -> str:
    """Grams of a study, sorted, with a space between: all, or `MOST` at most.

    ``texts`` are its columns by keyword.
    """
    found: set[str] = set()
    for keyword, text in texts.items():
        if text is None:
            continue
        mark = _mark(datastore) + LETTERS[keyword]
        for value in json.loads(text) if keyword in LISTS else (text,):
            whole = _BEGIN + _encoded(keyword, value) + _END
            if len(found) + len(whole) > MOST:
                return " ".join(sorted(found))
            found.update(mark + whole[place : place + LENGTH] for place in range(len(whole) - 1))
    return " ".join(sorted(found))


def query(datastore: int, keyword: str, match: Match) -> list[list[str]] | None:
    """What the grams of a study that matches begin with: of each list any, of all lists one.

    A person name matches by all of it or by one of its groups. None where grams are of no help; `is_rare`
    tells whether they help much.
    """
    if keyword not in LETTERS or isinstance(match, Range):
        return None
    mark = _mark(datastore) + LETTERS[keyword]
    if isinstance(match, AnyOf):
        end = "" if keyword in NAMES else _END  # what matches may be one group of a name
        wholes = [_BEGIN + _encoded(keyword, value) + end for value in match.values]
        if len(wholes) == 1:
            return [[mark + piece] for piece in _pieces(wholes[0])]
        return [[mark + whole[:LENGTH] for whole in wholes]]
    if isinstance(match, Words):
        return [[mark + (_BEGIN + _encoded(keyword, word))[:LENGTH] for word in match.words]]
    parts = sorted(_parts(keyword, match), key=len, reverse=True)
    if not parts:
        return None
    best = [part for part in parts if len(part) >= _SHORT] or parts[:1]
    return [[mark + piece] for part in best for piece in _pieces(part)]


def is_rare(wanted: list[list[str]]) -> bool:
    """Whether few studies have such grams, most probably."""
    before = 4  # mark and letter
    return any(all(len(gram) - before >= _SHORT for gram in some) for some in wanted)


def is_whole(gram: str) -> bool:
    """Whether it is a gram of full length, and not the beginning of one."""
    return len(gram) == LENGTH + 4


def _mark(datastore: int) -> str:
    """Three characters for the data store: others that share them cost time, and no more."""
    digits = datastore % len(_ALPHABET) ** 3
    return "".join(_ALPHABET[digits // 36**place % 36] for place in range(3))


def _encoded(keyword: str, text: str) -> str:
    if keyword in NAMES:
        text = fold_name(text).translate(_NAME)
    else:
        text = fold(text)
    return text.translate(_PLAIN)


def _parts(keyword: str, match: Wildcard) -> Iterator[str]:
    """What stands between the wildcards, with the value's own beginning and end where there are none."""
    parts = re.split(r"[*?]+", match.pattern)
    for place, part in enumerate(parts):
        if keyword in NAMES:
            part = fold(part).translate(_NAME)
        else:
            part = fold(part)
        part = part.translate(_PLAIN)
        if place == 0 and part:
            part = _BEGIN + part
        if place == len(parts) - 1 and part and keyword not in NAMES:
            part += _END
        if part:
            yield part


def _pieces(text: str) -> Iterable[str]:
    """Grams that cover a text, or the beginning of one."""
    if len(text) <= LENGTH:
        return [text]
    last = len(text) - LENGTH
    return [text[place : place + LENGTH] for place in (*range(0, last, LENGTH), last)]
