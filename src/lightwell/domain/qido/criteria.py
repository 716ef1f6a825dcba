"""What a QIDO-RS search asks for, apart from how it is written in a query and where it is looked up.

Source: PS3.18 §10.6, PS3.4 §C.2.2.2 (matching), AWS's dicomweb-search pages.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

STUDY, SERIES, INSTANCE = "study", "series", "instance"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The value is one of these, exactly; a UID list, or a single value."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A date or time from ``low`` to ``high``, both inclusive, None for an open end.

    Both are in the form of the column: ``YYYYMMDD``, or ``HHMMSS.FFFFFF`` padded (``high`` up, ``low`` down).
    """

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """``*`` is any run of characters, also none, and ``?`` exactly one; matches the whole value.

    ``pattern`` is folded (see `fold`) for person names, as it came for all else.
    """

    pattern: str


@dataclass(frozen=True, slots=True)
class Words:
    """A fuzzy name: some word of the name begins with one of these, which are folded."""

    words: tuple[str, ...]


Match = AnyOf | Range | Wildcard | Words


@dataclass(frozen=True, slots=True)
class QidoCriteria:
    """One search.

    ``level`` is what is found: studies, series or instances; ``study`` and ``series`` are the UIDs of the
    path. ``matches`` are by keyword, all have to hold; those of person names are folded. ``limit`` is at
    least 0.
    """

    level: str
    study: str | None = None
    series: str | None = None
    matches: Mapping[str, Match] = field(default_factory=dict)
    limit: int = 1000
    offset: int = 0


def fold(text: str) -> str:
    """A person name as it is compared: without case and without accents, so that "MULLER" finds "Müller".

    PS3.4 §C.2.2.2.1 leaves both to the server.
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in plain if not unicodedata.combining(character))
