"""The JSON body of a request, read so that nothing in it can become a fault of the server.

Stricter than RFC 8259 where a reader would have to guess: a name that appears twice in one object is
refused, and so is the character U+0000, which PostgreSQL cannot store.
"""

from __future__ import annotations

import json

import msgspec

from lightwell.errors import ValidationError

_decode = msgspec.json.Decoder().decode


def read_body(body: bytes) -> object:
    """The value of a JSON text. Raises `ValidationError`, which says what is wrong with it and where."""
    try:
        value: object = _decode(body)
    except msgspec.DecodeError as error:  # msgspec.ValidationError (numbers out of range) is one
        raise ValidationError(f"The request body is not valid JSON: {error}") from None
    except UnicodeDecodeError:
        raise ValidationError("The request body is not valid JSON: it is not UTF-8") from None
    except RecursionError:
        raise ValidationError("The request body is nested too deeply") from None
    # As many colons as names means that no name was lost. Colons inside strings need the slow check.
    if body.count(b":") != _count_names(value):
        _refuse_names_given_twice(body)
    if b"\\u0000" in body and _holds_nul(value):
        raise ValidationError("The request body contains the character U+0000, which cannot be stored")
    return value


def _count_names(value: object) -> int:
    count = 0
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            count += len(item)
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)
    return count


def _holds_nul(value: object) -> bool:
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            if "\0" in item:
                return True
        elif isinstance(item, dict):
            rest.extend(item)
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)
    return False


def _refuse_names_given_twice(body: bytes) -> None:
    def pairs(items: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for name, _ in items:
            if name in seen:
                raise ValidationError(f"The request body has the name {name[:64]!r} twice in one object")
            seen.add(name)

    try:
        json.loads(body, object_pairs_hook=pairs)
    except RecursionError:
        raise ValidationError("The request body is nested too deeply") from None
    except ValueError as error:
        raise ValidationError(f"The request body is not valid JSON: {error}") from None
