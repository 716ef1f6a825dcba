"""Reading Accept headers (RFC 9110 §12.5.1), and what else is written like them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

# An element of a list, up to the separator; in a quoted string separators mean nothing.
_COMMA = re.compile(r'((?:[^,"]|"(?:[^"\\]|\\.)*"?)*)(?:,|$)')
_SEMICOLON = re.compile(r'((?:[^;"]|"(?:[^"\\]|\\.)*"?)*)(?:;|$)')
_ESCAPED = re.compile(r"\\(.)")
_LONGEST_CACHED = 1 << 10


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One alternative of an Accept header, in lower case and without quotes.

    ``inner`` is the ``type`` parameter of a multipart type, ``transfer_syntax`` the parameter of that name
    (``*`` for any). If a parameter is given twice, the first one counts. ``refused`` are the types that the
    same header gives ``q`` 0, which this wildcard does not bring back (RFC 9110 §12.4.2); filled by
    `without_refused`.
    """

    type: str
    inner: str | None = None
    transfer_syntax: str | None = None
    q: float = 1.0
    refused: frozenset[str] = frozenset()


def accept_header(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """All Accept headers of a request joined into one; None if there is none. Names are in lower case."""
    values = [value.decode("latin-1") for name, value in headers if name == b"accept"]
    return ", ".join(values) if values else None


def media_ranges(accept: str) -> tuple[MediaRange, ...]:
    """The alternatives of an Accept header, as they stand; one without a type is left out."""
    return _cached(accept) if len(accept) <= _LONGEST_CACHED else _parse(accept)


def without_refused(ranges: Iterable[MediaRange]) -> tuple[MediaRange, ...]:
    """The alternatives that are accepted, the best first, each with what the header refuses."""
    found = tuple(ranges)
    refused = frozenset(each.type for each in found if not each.q and each.inner is None)
    kept = [each for each in found if each.q > 0]
    if refused:
        kept = [
            replace(each, refused=refused) if "*" in each.type + (each.inner or "") else each for each in kept
        ]
    return tuple(sorted(kept, key=lambda each: -each.q))


def quality(accept: str, media_type: str) -> float | None:
    """How much a client prefers ``media_type``, 0 to 1, by the most specific matching range of ``accept``.

    None if no range matches. No parameter but ``q`` is considered. A content coding is weighed the same way.
    """
    return quality_among(media_ranges(accept), media_type)


def quality_among(accepted: Iterable[MediaRange], media_type: str) -> float | None:
    """`quality` by the alternatives of a header that has been read."""
    media_type = media_type.lower()
    main = media_type.partition("/")[0]
    found: float | None = None
    best = -1
    for each in accepted:
        if each.type == media_type:
            rank = 2
        elif each.type == f"{main}/*":
            rank = 1
        elif each.type in ("*/*", "*"):
            rank = 0
        else:
            continue
        if rank > best:
            best, found = rank, each.q
    return found


def _parse(accept: str) -> tuple[MediaRange, ...]:
    ranges = (_media_range(element) for element in _split(_COMMA, accept))
    return tuple(each for each in ranges if each.type)


_cached = lru_cache(256)(_parse)


def _media_range(element: str) -> MediaRange:
    name, _, tail = element.partition(";")
    parameters: dict[str, str] = {}
    for parameter in _split(_SEMICOLON, tail):
        key, _, value = parameter.partition("=")
        parameters.setdefault(key.strip().lower(), unquoted(value.strip()).lower())
    return MediaRange(
        name.strip().lower(),
        parameters.get("type"),
        parameters.get("transfer-syntax"),
        _weight(parameters.get("q")),
    )


def _split(separator: re.Pattern[str], text: str) -> Iterator[str]:
    for match in separator.finditer(text):
        if element := match[1].strip():
            yield element


def unquoted(value: str) -> str:
    """The text of a parameter's value, with or without quotes (RFC 9110 §5.6.4)."""
    if not value.startswith('"'):
        return value
    return _ESCAPED.sub(r"\1", value[1:].removesuffix('"'))


def _weight(text: str | None) -> float:
    """A quality value; 0 if it is not a number from 0 to 1."""
    if text is None:
        return 1.0
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
