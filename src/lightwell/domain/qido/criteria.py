"""The criteria of a QIDO-RS search, independent of the syntax of the query and of the index.

Source: PS3.18 §10.6, PS3.4 §C.2.2.2 (matching), AWS's dicomweb-search pages.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

STUDY, SERIES, INSTANCE = "study", "series", "instance"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The value is exactly one of these: UID list matching or single value matching."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Each of these is one of the attribute's values: multiple value matching (PS3.4 §C.2.2.2.8)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Empty:
    """The attribute is absent or has no value: empty value matching (PS3.4 §C.2.2.2.7)."""


@dataclass(frozen=True, slots=True)
class Range:
    """A date or time from ``low`` to ``high``, both inclusive, None for an open end.

    Both are in the form of the column: ``YYYYMMDD``, or ``HHMMSS.FFFFFF`` padded (``high`` up, ``low`` down).
    """

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """``*`` is any run of characters, even empty, and ``?`` exactly one; the pattern matches the whole value.

    ``pattern`` is folded (see `fold`) for person names, and unchanged for all other attributes.
    """

    pattern: str


@dataclass(frozen=True, slots=True)
class Words:
    """A fuzzy name: a word of the name begins with one of these.

    They are folded. In them ``*`` is any run of characters, even empty, and ``?`` exactly one, all of the
    same word; each has another character too.
    """

    words: tuple[str, ...]


Match = AnyOf | AllOf | Empty | Range | Wildcard | Words


@dataclass(frozen=True, slots=True)
class QidoCriteria:
    """One search.

    ``level`` is what to find: studies, series or instances; ``study`` and ``series`` are the UIDs of the
    path. ``matches`` are by keyword, and all must hold; those of person names are folded. ``limit`` is at
    least 0.
    """

    level: str
    study: str | None = None
    series: str | None = None
    matches: Mapping[str, Match] = field(default_factory=dict)
    limit: int = 1000
    offset: int = 0


def fold(text: str) -> str:
    """A person name in the form for comparisons, without case and accents, so that "MULLER" finds "Müller".

    PS3.4 §C.2.2.2.1 leaves both to the server.
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in plain if not unicodedata.combining(character))
