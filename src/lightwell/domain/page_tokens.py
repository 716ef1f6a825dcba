"""Tokens of paged lists: where the next page starts, opaque to clients.

A token is the URL-safe base64 of a JSON array, without padding. It holds the sort key of the last item of a
page (keyset paging), so pages neither repeat nor skip items that exist all the time. It is neither secret nor
signed: a forged one can only start a page elsewhere in the same list.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence

from lightwell.errors import ValidationError

# Integers have 64 bits, signed, in both databases.
_INTEGER_LIMIT = 1 << 63
_LONGEST = 8192


def encode(values: Sequence[object]) -> str:
    """The token for ``values``: strings, integers, floats, booleans and None."""
    text = json.dumps(list(values), ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode(token: str, *kinds: type | tuple[type, ...]) -> list[object]:
    """The values that `encode` was given.

    With ``kinds``, one or several types per value, number and types must match. Raises `ValidationError` for
    a token that this server has not made for this list.
    """
    values = _values(token)
    if values is None or (kinds and not _fits(values, kinds)):
        raise ValidationError(
            "nextToken is not valid. Use the nextToken of the previous response, or omit it."
        )
    return values


def after(token: str | None) -> tuple[int, int] | None:
    """The (time, key) of the last row of the previous page, from a token of these two; None for the first
    page.

    Raises `ValidationError` as `decode` does.
    """
    if token is None:
        return None
    moment, key = decode(token, int, int)
    assert isinstance(moment, int) and isinstance(key, int)
    return moment, key


def _values(token: str) -> list[object] | None:
    if len(token) > _LONGEST:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        values = json.loads(raw, parse_constant=_refuse)
    except (ValueError, binascii.Error, RecursionError):
        return None
    if not isinstance(values, list) or not all(_storable(value) for value in values):
        return None
    return values


def _refuse(name: str) -> None:
    raise ValueError(name)


def _storable(value: object) -> bool:
    if isinstance(value, int):
        return -_INTEGER_LIMIT <= value < _INTEGER_LIMIT
    if isinstance(value, str):
        # PostgreSQL does not take NUL, and neither database takes half a surrogate pair.
        return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    return value is None or isinstance(value, float)


def _fits(values: Sequence[object], kinds: Sequence[type | tuple[type, ...]]) -> bool:
    return len(values) == len(kinds) and all(
        isinstance(value, kind) and (not isinstance(value, bool) or _takes_bool(kind))
        for value, kind in zip(values, kinds, strict=True)
    )


def _takes_bool(kind: type | tuple[type, ...]) -> bool:
    return kind is bool or (isinstance(kind, tuple) and bool in kind)
