"""Parses the query of a QIDO-RS search.

Source: PS3.18 §8.3.4 and §10.6.1, AWS's dicomweb-search pages.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lightwell.domain.image_sets.levels import TAG_DIGITS
from lightwell.domain.qido.attributes import MATCH_KEYS, MATCH_KEYS_BY_PATH, MatchKey, match_keys
from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY, Match, QidoCriteria
from lightwell.domain.qido.values import match
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
_COUNT = re.compile(r"\d{1,12}", re.ASCII)
_LIMIT, _OFFSET, _FUZZY, _FIELD, _SET = "limit", "offset", "fuzzymatching", "includefield", "imageSetId"
# Features of PS3.18 that are not supported; false is accepted.
_ABSENT = ("emptyvaluematching", "multiplevaluematching")
_PARAMETERS = (_LIMIT, _OFFSET, _FUZZY, _FIELD)
_OTHERS = ("accept",)  # concerns the form of the response; read elsewhere
_SIGNATURE = "x-amz-"

# Keywords that need no look-up in the DICOM dictionary.
_TAGS = {keyword: int(digits, 16) for keyword, digits in TAG_DIGITS.items()} | {
    part: tag
    for key in MATCH_KEYS.values()
    for part, tag in zip(key.keyword.split("."), key.path, strict=True)
}

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
    """

    criteria: QidoCriteria
    named: tuple[Path, ...] = ()
    fields: tuple[Path, ...] = ()
    everything: bool = False
    creators: Mapping[int, str] = field(default_factory=dict)


def parse_query(
    level: str, study: str | None, series: str | None, pairs: Sequence[tuple[str, str]], tag_of: TagOf
) -> Query:
    """The query of a search for studies, series or instances, below a study or a series if given.

    ``pairs`` are form-decoded names and values. Raises `ValidationError`, whose message names the parameter,
    for everything that would otherwise be overlooked or misunderstood.
    """
    given = _single_parameters(pairs)
    fields, everything = _included_fields([value for name, value in pairs if name == _FIELD], tag_of)
    fuzzy = _flag(_FUZZY, given.get(_FUZZY))
    for name in _ABSENT:
        if _flag(name, given.get(name)):
            raise ValidationError(f"{name} is not supported.")
    keys = {key.path: key for key in match_keys(level)}
    matches: dict[str, Match] = {}
    texts: dict[Path, str] = {}
    creators: dict[int, str] = {}
    for name, value in given.items():
        if name in _PARAMETERS or name in _ABSENT or name in _OTHERS or name.lower().startswith(_SIGNATURE):
            continue
        path = None if name == _SET else path_of(name, tag_of)
        if path is None:
            raise _unknown(name, keys.values())
        if texts.setdefault(path, value) != value:
            raise ValidationError(f"{_shorten(name)} is given twice, once by keyword and once by tag.")
        if len(path) == 1 and is_creator(path[0]) and value.strip(" "):
            creators[path[0]] = value.strip(" ")
        elif path in keys:
            key = keys[path]
            if (wanted := match(key, value, fuzzy=fuzzy)) is not None:
                matches[key.keyword] = wanted
        elif value.strip(" "):
            raise _unmatchable(name, MATCH_KEYS_BY_PATH.get(path), level, keys.values())
    criteria = QidoCriteria(
        level,
        study,
        series,
        matches,
        _number(_LIMIT, given.get(_LIMIT), MOST_RESULTS, MOST_RESULTS),
        _number(_OFFSET, given.get(_OFFSET), LARGEST_OFFSET, 0),
    )
    return Query(criteria, tuple(texts), tuple(dict.fromkeys(fields)), everything, creators)


def path_of(name: str, tag_of: TagOf) -> Path | None:
    """The tags of ``PatientName``, ``00100010`` or a path ``00400275.00400009``; None for anything else."""
    path: list[int] = []
    parts = name.split(".")
    if len(parts) > _DEEPEST:
        return None
    for part in parts:
        tag = _TAGS.get(part)
        if tag is None:
            tag = int(part, 16) if _TAG.fullmatch(part) else tag_of(part)
        if tag is None:
            return None
        path.append(tag)
    return tuple(path)


def is_private(tag: int) -> bool:
    return bool(tag >> 16 & 1)


def is_creator(tag: int) -> bool:
    """Whether the tag is one of a private creator, which reserves a block (PS3.5 §7.8.1)."""
    return is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF


def creator_of(tag: int) -> int:
    """The tag of the creator of a private attribute."""
    return tag & 0xFFFF0000 | (tag & 0xFF00) >> 8


def _single_parameters(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The parameters except ``includefield``; each may be given once (PS3.18 §8.3.4.1)."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name != _FIELD and given.setdefault(name, value) != value:
            raise ValidationError(
                f"{_shorten(name)} is given twice, with different values. "
                "A list of UIDs or modalities is one value, separated by commas."
            )
    return given


def _included_fields(values: Sequence[str], tag_of: TagOf) -> tuple[list[Path], bool]:
    """The attributes that ``includefield`` names and the dictionary has, and whether it says ``all``."""
    names = dict.fromkeys(name for value in values for part in value.split(",") if (name := part.strip(" ")))
    if len(names) > MOST_FIELDS:
        raise ValidationError(
            f"includefield names {len(names)} attributes, more than {MOST_FIELDS}. "
            "Use includefield=all to get all attributes."
        )
    paths = [path for name in names if name != ALL and (path := path_of(name, tag_of)) is not None]
    return paths, ALL in names


def _number(name: str, text: str | None, most: int, default: int) -> int:
    if text is None:
        return default
    if not _COUNT.fullmatch(text) or int(text) > most:
        raise ValidationError(f"{name} must be a number from 0 to {most}.")
    return int(text)


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
    near = difflib.get_close_matches(name[:_SHOWN].lower(), by_letters, 1) if len(name) <= _SHOWN else []
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
