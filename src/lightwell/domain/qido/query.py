"""Parses the query of a QIDO-RS search.

Source: PS3.18 §8.3.4 and §10.6.1, AWS's dicomweb-search pages.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from lightwell.domain.image_sets.levels import TAG_DIGITS
from lightwell.domain.qido.attributes import MATCH_KEYS, MATCH_KEYS_BY_PATH, MatchKey, match_keys
from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY, Match, QidoCriteria
from lightwell.domain.qido.values import Matching, match
from lightwell.errors import ValidationError

MOST_RESULTS = 1000
"""Most results of one response, and the default limit."""
LARGEST_OFFSET = 1_000_000
MOST_FIELDS = 50
"""Most attributes that ``includefield`` may name."""

ALL = "all"
_PLURALS = {STUDY: "studies", SERIES: "series", INSTANCE: "instances"}
# Names in messages are cut off after so many characters; longer ones are not typing errors.
_SHOWN = 64
_DEEPEST = 16  # components of a path

_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_COUNT = re.compile(r"\d{1,64}", re.ASCII)
_LIMIT, _OFFSET, _FUZZY, _FIELD, _SET = "limit", "offset", "fuzzymatching", "includefield", "imageSetId"
# Not known to HealthImaging; false is accepted all the same.
_EMPTY, _MULTIPLE = "emptyvaluematching", "multiplevaluematching"
_PARAMETERS = (_LIMIT, _OFFSET, _FUZZY, _FIELD, _EMPTY, _MULTIPLE)
_OTHERS = ("accept",)  # concerns the form of the response; read elsewhere
_SIGNATURE = "x-amz-"
_BY_LETTERS = {name.lower(): name for name in (*_PARAMETERS, *_OTHERS, _SET)}

# Keywords that need no look-up in the DICOM dictionary.
_TAGS = {keyword: int(digits, 16) for keyword, digits in TAG_DIGITS.items()} | {
    part: tag
    for key in MATCH_KEYS.values()
    for part, tag in zip(key.keyword.split("."), key.path, strict=True)
}
_TAGS_BY_LETTERS = {keyword.lower(): tag for keyword, tag in _TAGS.items()}
# Spelt like a tag, although it is none: nobody adds such a parameter for another purpose.
_LIKE_TAG = re.compile(
    r"[(\[]?(?:0?[xX])?[0-9A-Fa-f]{4}[,.:_ -](?:0?[xX])?[0-9A-Fa-f]{4}[)\]]?|(?:0?[xX])?[0-9A-Fa-f]{7,9}",
    re.ASCII,
)
# A name is a shortened one, such as SeriesUID or PatID, if it has so many letters of it in their order.
_SHORTENED, _BEGINNING = 5, 3
# How alike a name and a known one must be for the name to count as a misspelling: less is enough for a hint.
_MISSPELT, _SIMILAR = 0.75, 0.6
_KNOWN_LETTERS = {part.lower() for key in MATCH_KEYS for part in key.split(".")} | _BY_LETTERS.keys()

MOST_PARAMETERS = 200
"""Most different parameters of a query."""

Path = tuple[int, ...]
TagOf = Callable[[str], int | None]
"""keyword → tag; None if the DICOM dictionary does not have it."""


@dataclass(frozen=True, slots=True)
class Query:
    """What one search requests.

    ``named`` are the attributes of match parameters, with or without a value, ``fields`` those of
    ``includefield``, each as the tags from the data set down to it. The response has both in addition to the
    attributes that it always has. ``everything``: ``includefield=all``. ``creators`` are private creators by
    their tags: a data set must have them for the private attributes of their blocks to be returned.
    ``ignored`` are parameters that are no attributes (PS3.18 §8.3.1).
    """

    criteria: QidoCriteria
    named: tuple[Path, ...] = ()
    fields: tuple[Path, ...] = ()
    everything: bool = False
    creators: Mapping[int, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def parse_query(
    level: str,
    study: str | None,
    series: str | None,
    pairs: Sequence[tuple[str, str]],
    tag_of: TagOf,
    *,
    strict: bool = False,
) -> Query:
    """The query of a search for studies, series or instances, below a study or a series if given.

    ``pairs`` are form-decoded names and values. ``strict``: refuse what HealthImaging does not know, instead
    of ignoring it; keywords then are matched as they are spelt, otherwise with letters in either case, which
    ``tag_of`` has to do too.

    Raises `ValidationError`, whose message names the parameter, for everything that would otherwise be
    overlooked or misunderstood; so is a misspelt match key, because without it the search finds everything.
    """
    if not strict:
        pairs = [(_BY_LETTERS.get(name.lower(), name), value) for name, value in pairs]
    given = _single_parameters(pairs, tag_of, strict)
    fields, everything = _included_fields([value for name, value in pairs if name == _FIELD], tag_of, strict)
    how = Matching(*(_flag(name, given.get(name)) for name in (_FUZZY, _EMPTY, _MULTIPLE)))
    if strict and (how.empty or how.multiple):
        name = _EMPTY if how.empty else _MULTIPLE
        raise ValidationError(f"{name} is not supported with the setting strict_queries.")
    keys = _match_keys(level, not strict)
    matches: dict[str, Match] = {}
    texts: dict[Path, str] = {}
    creators: dict[int, str] = {}
    ignored: list[str] = []
    for name, value in given.items():
        if name in _PARAMETERS or name in _OTHERS or name.lower().startswith(_SIGNATURE):
            continue
        path = None if name == _SET else path_of(name, tag_of, strict=strict)
        if path is None:
            if strict or _is_misspelt(name, tag_of):
                raise _unknown(name, keys.values())
            if name:
                ignored.append(name)
            continue
        if texts.setdefault(path, value) != value:
            raise ValidationError(f"{_shorten(name)} is given twice, with different spellings and values.")
        if len(path) == 1 and is_creator(path[0]) and value.strip(" "):
            creators[path[0]] = value.strip(" ")
        elif path in keys:
            key = keys[path]
            if (wanted := match(key, value, how)) is not None:
                matches[key.keyword] = wanted
        elif value.strip(" "):
            key_elsewhere = MATCH_KEYS_BY_PATH.get(path)
            if strict and key_elsewhere is not None and key_elsewhere.optional:
                key_elsewhere = None
            raise _unmatchable(name, key_elsewhere, level, keys.values())
    criteria = QidoCriteria(
        level,
        study,
        series,
        matches,
        _number(_LIMIT, given.get(_LIMIT), MOST_RESULTS, MOST_RESULTS, capped=not strict),
        _number(_OFFSET, given.get(_OFFSET), LARGEST_OFFSET, 0),
    )
    return Query(criteria, tuple(texts), tuple(dict.fromkeys(fields)), everything, creators, tuple(ignored))


@lru_cache(8)
def _match_keys(level: str, optional: bool) -> Mapping[Path, MatchKey]:
    return {key.path: key for key in match_keys(level, optional=optional)}


def path_of(name: str, tag_of: TagOf, *, strict: bool = False) -> Path | None:
    """The tags of ``PatientName``, ``00100010`` or a path ``00400275.00400009``; None for anything else.

    ``strict``: keywords as PS3.6 spells them, otherwise with letters in either case.
    """
    path: list[int] = []
    parts = name.split(".")
    if len(parts) > _DEEPEST:
        return None
    for part in parts:
        tag = _tag_of(part, tag_of, strict)
        if tag is None:
            return None
        path.append(tag)
    return tuple(path)


def _tag_of(part: str, tag_of: TagOf, strict: bool) -> int | None:
    tag = _TAGS.get(part)
    if tag is None and not strict and len(part) <= _SHOWN:
        tag = _TAGS_BY_LETTERS.get(part.lower())
    if tag is None:
        tag = int(part, 16) if _TAG.fullmatch(part) else tag_of(part)
    return tag


def is_private(tag: int) -> bool:
    return bool(tag >> 16 & 1)


def is_creator(tag: int) -> bool:
    """Whether the tag is one of a private creator, which reserves a block (PS3.5 §7.8.1)."""
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF


def creator_of(tag: int) -> int:
    """The tag of the creator of a private attribute."""
    return tag & 0xFFFF0000 | (tag & 0xFF00) >> 8


def _single_parameters(pairs: Sequence[tuple[str, str]], tag_of: TagOf, strict: bool) -> dict[str, str]:
    """The parameters except ``includefield``; each may be given once (PS3.18 §8.3.4.1)."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name != _FIELD and given.setdefault(name, value) != value:
            if not strict and name not in _BY_LETTERS and path_of(name, tag_of) is None:
                continue  # no attribute: it is ignored, or refused as a misspelling
            raise ValidationError(
                f"{_shorten(name)} is given twice, with different values. "
                "A list of UIDs or modalities is one value, separated by commas."
            )
    if not strict and len(given) > MOST_PARAMETERS:
        raise ValidationError(f"The query has {len(given)} parameters, more than {MOST_PARAMETERS}.")
    return given


def _is_misspelt(name: str, tag_of: TagOf) -> bool:
    """Whether a parameter that is unknown was probably meant to be a match key or a known parameter."""
    if name == _SET or _LIKE_TAG.fullmatch(name):
        return True
    if len(name) > _SHOWN:
        return False
    parts = name.split(".")[:_DEEPEST]
    if len(parts) > 1 and any(_tag_of(part, tag_of, strict=False) is not None for part in parts):
        return True
    letters = name.lower()
    if difflib.get_close_matches(letters, _KNOWN_LETTERS, 1, _MISSPELT):
        return True
    return len(letters) >= _SHORTENED and any(_is_shortened(letters, known) for known in _KNOWN_LETTERS)


def _is_shortened(letters: str, known: str) -> bool:
    if letters[:_BEGINNING] != known[:_BEGINNING]:
        return False
    rest = iter(known)
    return all(letter in rest for letter in letters)


def _included_fields(values: Sequence[str], tag_of: TagOf, strict: bool) -> tuple[list[Path], bool]:
    """The attributes that ``includefield`` names and the dictionary has, and whether it says ``all``."""
    names = dict.fromkeys(name for value in values for part in value.split(",") if (name := part.strip(" ")))
    if len(names) > MOST_FIELDS:
        raise ValidationError(
            f"includefield names {len(names)} attributes, more than {MOST_FIELDS}. "
            "Use includefield=all to get all attributes."
        )
    found = [path_of(name, tag_of, strict=strict) for name in names if name != ALL]
    return [path for path in found if path is not None], ALL in names


def _number(name: str, text: str | None, most: int, default: int, *, capped: bool = False) -> int:
    """``capped``: a larger number counts as ``most``: a server may limit its responses (PS3.18 §8.3.4.4)."""
    if text is None:
        return default
    if not _COUNT.fullmatch(text) or (int(text) > most and not capped):
        raise ValidationError(f"{name} must be a number from 0 to {most}.")
    return min(int(text), most)


def _flag(name: str, text: str | None) -> bool:
    if text is None:
        return False
    if text.lower() not in ("true", "false"):
        raise ValidationError(f"{name} must be true or false.")
    return text.lower() == "true"


def _unknown(name: str, keys: Iterable[MatchKey]) -> ValidationError:
    if name == _SET:
        return ValidationError(
            "A search finds primary image sets only, so it takes no imageSetId. SearchImageSets "
            "finds the others."
        )
    known = [*_PARAMETERS, *(key.keyword for key in keys)]
    by_letters = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), by_letters, 1, _SIMILAR) if len(name) <= _SHOWN else []
    hint = f" Did you mean {by_letters[near[0]]}?" if near else ""
    return ValidationError(f"{_shorten(name)} is not a DICOM keyword, a tag or a search parameter.{hint}")


def _unmatchable(name: str, key: MatchKey | None, level: str, keys: Iterable[MatchKey]) -> ValidationError:
    known = ", ".join(one.keyword for one in keys)
    below = "" if key is None else f", only a search for {_PLURALS[key.level]} can"
    return ValidationError(
        f"A search for {_PLURALS[level]} cannot match {_shorten(name)}{below}. It can match {known}."
    )


def _shorten(name: str) -> str:
    return name if len(name) <= _SHOWN else name[:_SHOWN] + "…"
