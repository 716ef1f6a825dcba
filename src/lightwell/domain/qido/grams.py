"""The parts of texts by which wildcards and fuzzy names are found, wherever in a text they match.

A *gram* is `GRAM_LENGTH` consecutive characters of a text, or fewer at its end, with a prefix for the data
store and the attribute. Every part of a text is therefore a prefix of one of its grams, or several grams in a
row; the beginning and end of a value are characters of the text too. Grams find every study that matches, and
some that do not, because case, accents and the order of grams are ignored.

Where an attribute has no text there is a gram that says so, for empty value matching.

A gram holds no character at which an index would split it: everything but letters and digits is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from lightwell.domain.qido.criteria import AllOf, AnyOf, Empty, Match, Range, Wildcard, Words, fold

GRAM_LENGTH = 5
_SHORT = 3  # shorter prefixes, which many studies have, are used only where there is nothing better

# Mark the beginning of a value or of a word of a person name, and the end of a value.
_BEGIN, _END = "\u015e", "\u0102"
_EMPTY = "\u0100" * GRAM_LENGTH  # stands for a missing value
_NAME = str.maketrans({character: _BEGIN for character in "^= ,"})
_PLAIN = str.maketrans(
    {chr(code): chr(code + 0x100) for code in range(0x80) if not chr(code).isalnum()} | {"^": "\u015f"}
)

MOST_GRAMS = 40_000
"""Most grams of one study; PostgreSQL can store a megabyte. A study with more, such as one of some hundred
series with long lists of requests, is not found by all of its texts."""

STUDY_LETTERS = {
    "PatientName": "n",
    "ReferringPhysicianName": "r",
    "PatientID": "i",
    "AccessionNumber": "a",
    "StudyDescription": "d",
    "StudyID": "s",
    "ModalitiesInStudy": "m",
    "RequestAttributesSequence.ScheduledProcedureStepID": "p",
    "RequestAttributesSequence.RequestedProcedureID": "q",
    "NameOfPhysiciansReadingStudy": "f",
    "IssuerOfPatientID": "u",
    "PatientSex": "x",
    "StudyDate": "0",
    "StudyTime": "1",
    "PatientBirthDate": "2",
    "PatientBirthTime": "3",
}
"""The attributes of which a study has grams."""
SERIES_LETTERS = {
    "Modality": "o",
    "Manufacturer": "t",
    "InstitutionName": "c",
    "StationName": "w",
    "SeriesDescription": "e",
    "PerformingPhysicianName": "g",
    "OperatorsName": "h",
    "ManufacturerModelName": "l",
    "BodyPartExamined": "b",
    "ProtocolName": "v",
    "Laterality": "y",
    "SeriesDate": "4",
    "SeriesTime": "5",
    "PerformedProcedureStepStartDate": "6",
    "PerformedProcedureStepStartTime": "7",
    "SeriesNumber": "8",
}
"""The attributes of which a series has grams."""
_LETTERS = STUDY_LETTERS | SERIES_LETTERS
_WITHOUT_TEXT = frozenset(keyword for keyword, letter in _LETTERS.items() if letter.isdigit())
"""Those that are found by an index of their own, and whose grams only say that there is no value."""
NAME_ATTRIBUTES = frozenset(
    (
        *("PatientName", "ReferringPhysicianName", "NameOfPhysiciansReadingStudy"),
        *("PerformingPhysicianName", "OperatorsName"),
    )
)
_SEVERAL_NAMES = NAME_ATTRIBUTES - {"PatientName", "ReferringPhysicianName"}
"""Those of several names, with backslashes between them."""
_PARTS = frozenset(
    (
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "RequestAttributesSequence.RequestedProcedureID",
    )
)
"""Those of a series that stand in the grams of its study, which cannot tell which of its series has none."""
LIST_ATTRIBUTES = frozenset(
    (
        "ModalitiesInStudy",
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "RequestAttributesSequence.RequestedProcedureID",
    )
)
"""Those whose column is a JSON array of values."""

_PREFIX = 3  # characters that stand for the data store
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def fold_name(text: str) -> str:
    """A person name in the form for comparisons, without meaningless separators at the ends of its groups.

    Source: PS3.5 §6.2.1.
    """
    return "=".join(group.rstrip("^ ") for group in fold(text).split("=")).rstrip("=")


def grams(datastore: int, texts: Mapping[str, str | None]) -> str:
    """The grams of a study or a series, sorted and separated by spaces; at most `MOST_GRAMS`.

    ``texts`` are its columns by keyword.
    """
    prefix = _datastore_prefix(datastore)
    found = {
        prefix + _LETTERS[keyword] + _EMPTY
        for keyword, text in texts.items()
        if keyword not in _PARTS and not _has_value(keyword, text)
    }
    for keyword, text in texts.items():
        if text is None or keyword in _WITHOUT_TEXT:
            continue
        mark = prefix + _LETTERS[keyword]
        for value in _values(keyword, text):
            whole = _BEGIN + _normalize(keyword, value) + _END
            if len(found) + len(whole) > MOST_GRAMS:
                return " ".join(sorted(found))
            found.update(mark + whole[place : place + GRAM_LENGTH] for place in range(len(whole) - 1))
    return " ".join(sorted(found))


def gram_prefixes(datastore: int, keyword: str, match: Match) -> list[list[str]] | None:
    """The prefixes of grams that a matching study has: at least one prefix of each list.

    A person name matches as a whole or by one of its groups. None if grams do not help; `is_rare` tells
    whether they help much.
    """
    if keyword not in _LETTERS or isinstance(match, Range):
        return None
    mark = _datastore_prefix(datastore) + _LETTERS[keyword]
    if isinstance(match, Empty):
        return None if keyword in _PARTS else [[mark + _EMPTY]]
    if keyword in _WITHOUT_TEXT:
        return None
    if isinstance(match, AnyOf | AllOf):
        end = "" if keyword in NAME_ATTRIBUTES else _END  # the match may be one group of a name
        wholes = [_BEGIN + _normalize(keyword, value) + end for value in match.values]
        if len(wholes) == 1 or isinstance(match, AllOf):
            return [[mark + piece] for whole in wholes for piece in _covering_grams(whole)]
        return [[mark + whole[:GRAM_LENGTH] for whole in wholes]]
    if isinstance(match, Words):
        pieces = [_gram_of_word(keyword, word) for word in match.words]
        return [[mark + piece for piece in pieces]] if all(pieces) else None
    parts = sorted(_literal_parts(keyword, match), key=len, reverse=True)
    if not parts:
        return None
    best = [part for part in parts if len(part) >= _SHORT] or parts[:1]
    return [[mark + piece] for part in best for piece in _covering_grams(part)]


def is_rare(wanted: list[list[str]]) -> bool:
    """Whether probably only few studies have such grams."""
    before = 4  # mark and letter
    return any(all(len(gram) - before >= _SHORT for gram in some) for some in wanted)


def keyword_of_gram(gram: str) -> str:
    """The attribute whose text has a gram."""
    mark = gram[_PREFIX : _PREFIX + 1]
    return next((keyword for keyword, letter in _LETTERS.items() if letter == mark), "an unknown attribute")


def is_full_length(gram: str) -> bool:
    """Whether it is a gram of full length rather than a prefix of one."""
    return len(gram) == GRAM_LENGTH + 4


def _datastore_prefix(datastore: int) -> str:
    """Three characters for the data store; sharing them with other data stores only costs time."""
    digits = datastore % len(_ALPHABET) ** _PREFIX
    return "".join(_ALPHABET[digits // 36**place % 36] for place in range(_PREFIX))


def _values(keyword: str, text: str) -> Iterable[str]:
    if keyword in LIST_ATTRIBUTES:
        values: list[str] = json.loads(text)
        return values
    return text.split("\\") if keyword in _SEVERAL_NAMES else (text,)


def _has_value(keyword: str, text: str | None) -> bool:
    """Whether there is one; a name of empty components is none (PS3.5 §6.2.1)."""
    if keyword not in NAME_ATTRIBUTES or text is None:
        return text is not None
    return any(map(fold_name, _values(keyword, text)))


def _normalize(keyword: str, text: str) -> str:
    if keyword in NAME_ATTRIBUTES:
        text = fold_name(text).translate(_NAME)
    else:
        text = fold(text)
    return text.translate(_PLAIN)


def _gram_of_word(keyword: str, word: str) -> str:
    """The longest gram, or prefix of one, of the literal parts of a word with wildcards; "" without any."""
    first, *others = re.split(r"[*?]+", word)
    parts = [_BEGIN + _normalize(keyword, first)] if first else []
    parts += [_normalize(keyword, part) for part in others if part]
    return max((part[:GRAM_LENGTH] for part in parts), key=len, default="")


def _literal_parts(keyword: str, match: Wildcard) -> Iterator[str]:
    """The literal parts between the wildcards, with marks for the beginning and end of the value."""
    parts = re.split(r"[*?]+", match.pattern)
    for place, part in enumerate(parts):
        if keyword in NAME_ATTRIBUTES:
            part = fold(part).translate(_NAME)
        else:
            part = fold(part)
        part = part.translate(_PLAIN)
        if place == 0 and part:
            part = _BEGIN + part
        if place == len(parts) - 1 and part and keyword not in NAME_ATTRIBUTES:
            part += _END
        if part:
            yield part


def _covering_grams(text: str) -> Iterable[str]:
    """Grams that cover a text, or the prefix of one."""
    if len(text) <= GRAM_LENGTH:
        return [text]
    last = len(text) - GRAM_LENGTH
    return [text[place : place + GRAM_LENGTH] for place in (*range(0, last, GRAM_LENGTH), last)]
