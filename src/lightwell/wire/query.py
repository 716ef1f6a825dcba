"""Query strings: names and values, and the types that the service model gives them.

A plus sign is a plus sign (RFC 3986), not a space: tag keys may contain one, no value of this API contains a
space, and the SDKs encode both.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from lightwell.wire.route import QueryMember

_BOOLEANS = {"true": True, "false": False}
_LONGEST_INTEGER = 18


def query_pairs(raw: bytes) -> list[tuple[str, str]]:
    """The decoded pairs of a raw query string, in order; a name without a value has the value ""."""
    if not raw:
        return []
    pairs = []
    for part in raw.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((_decode(name), _decode(value)))
    return pairs


def read_query(members: tuple[QueryMember, ...], query: list[tuple[str, str]]) -> dict[str, object]:
    """The members that `query` gives, by member name; names that are not known are ignored.

    A value that does not fit its member's type stays text, and one given twice stays a list, so that the
    validation of the whole request names it.
    """
    values: dict[str, object] = {}
    for member in members:
        given = [value for name, value in query if name == member.name]
        if member.kind == "strings":
            # The empty list and no list are the same query string.
            values[member.member] = given
        elif len(given) == 1:
            values[member.member] = _typed(given[0], member.kind)
        elif given:
            values[member.member] = given
    return values


def _typed(value: str, kind: str) -> object:
    if kind == "boolean":
        return _BOOLEANS.get(value, value)
    if kind == "integer":
        digits = value[1:] if value.startswith("-") else value
        if digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_INTEGER:
            return int(value)
    return value


def _decode(text: bytes) -> str:
    if b"%" in text:
        text = unquote_to_bytes(text)
    return text.decode("utf-8", "replace")
