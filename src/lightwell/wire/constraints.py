"""What is wrong with a request, in the words that AWS services of this kind use.

::

    1 validation error detected: Value 'X' at 'datastoreId' failed to satisfy constraint: Member must
    satisfy regular expression pattern: [0-9a-z]{32}

Runs only on requests that msgspec has already refused. Values that the model calls sensitive are not
repeated, since messages end up in logs; nor are lists and structures.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache

from msgspec import Struct, inspect

from lightwell.wire.union import OneOf

_MOST_FAULTS = 10
_LONGEST_MESSAGE = 2048
_LONGEST_VALUE = 128
_PREFIX, _SUFFIX = r"\A(?a:(?:", r"))\Z"


def explain(values: dict[str, object], request: type[Struct]) -> str:
    """Every fault in `values`, the members of a request by wire name; "" if there is none."""
    faults: list[str] = []
    for fault in _faults(values, _type_of(request), "", False):
        faults.append(fault)
        if len(faults) == _MOST_FAULTS:
            break
    if not faults:
        return ""
    noun = "error" if len(faults) == 1 else "errors"
    message = f"{len(faults)} validation {noun} detected: {'; '.join(faults)}"
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 3] + "..."


@cache
def _type_of(request: type[Struct]) -> inspect.Type:
    return inspect.type_info(request)


def _faults(value: object, kind: inspect.Type, path: str, hidden: bool) -> Iterator[str]:
    extra: dict[str, object] = {}
    while True:
        if isinstance(kind, inspect.Metadata):
            extra.update(kind.extra or {})
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            if value is None and kind.includes_none:
                return
            kind = next(t for t in kind.types if not isinstance(t, inspect.NoneType))
        else:
            break
    hidden = hidden or bool(extra.get("sensitive"))
    if value is None:
        yield _fault(None, path, "Member must not be null")
        return
    if isinstance(kind, inspect.StructType):
        yield from _structure(value, kind, path, hidden)
    elif isinstance(kind, inspect.ListType):
        if not isinstance(value, list):
            yield _fault(value, path, "Member must be a list", hidden)
            return
        for wrong in _length(len(value), kind):
            yield _fault(value, path, wrong, hidden)
        for place, item in enumerate(value, 1):
            yield from _faults(item, kind.item_type, f"{path}.{place}.member", hidden)
    elif isinstance(kind, inspect.DictType):
        if not isinstance(value, dict):
            yield _fault(value, path, "Member must be a map", hidden)
            return
        for key, item in value.items():
            if wrong_key := _wrong(key, kind.key_type):
                yield _fault(key, path, f"Map keys must satisfy constraint: [{', '.join(wrong_key)}]", hidden)
            if wrong_value := _wrong(item, kind.value_type):
                text = f"Map value must satisfy constraint: [{', '.join(wrong_value)}]"
                yield _fault(item, f"{path}.{_shorten(str(key))}.member", text, hidden)
    else:
        for wrong in _scalar(value, kind, extra):
            yield _fault(value, path, wrong, hidden)


def _structure(value: object, kind: inspect.StructType, path: str, hidden: bool) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _fault(value, path, "Member must be a structure", hidden)
        return
    for member in kind.fields:
        name = member.encode_name
        if member.required or value.get(name) is not None:
            below = f"{path}.{name}" if path else name
            yield from _faults(value.get(name), member.type, below, hidden)
    if issubclass(kind.cls, OneOf):
        names = [member.encode_name for member in kind.fields]
        if sum(value.get(name) is not None for name in names) != 1:
            yield _fault(value, path, f"Member must have exactly one of [{', '.join(names)}]", hidden)


def _wrong(value: object, kind: inspect.Type) -> list[str]:
    extra: dict[str, object] = {}
    while isinstance(kind, inspect.Metadata):
        extra.update(kind.extra or {})
        kind = kind.type
    if value is None:
        return ["Member must not be null"]
    return list(_scalar(value, kind, extra))


def _scalar(value: object, kind: inspect.Type, extra: dict[str, object]) -> Iterator[str]:
    """The constraints that a string, number, boolean or blob breaks."""
    if isinstance(kind, inspect.LiteralType):
        if value not in kind.values:
            yield f"Member must satisfy enum value set: [{', '.join(str(v) for v in kind.values)}]"
    elif isinstance(kind, inspect.StrType):
        if not isinstance(value, str):
            yield f"Member must be a string, not {_noun(value)}"
            return
        yield from _length(len(value), kind)
        if kind.pattern is not None and re.search(kind.pattern, value) is None:
            shown = extra.get("pattern") or kind.pattern.removeprefix(_PREFIX).removesuffix(_SUFFIX)
            yield f"Member must satisfy regular expression pattern: {shown}"
    elif isinstance(kind, inspect.BoolType):
        if not isinstance(value, bool):
            yield "Member must be a boolean, true or false"
    elif isinstance(kind, inspect.IntType):
        if isinstance(value, bool) or not isinstance(value, int):
            yield "Member must be an integer"
        else:
            yield from _range(value, kind)
    elif isinstance(kind, inspect.FloatType):
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield "Member must be a number, seconds since 1970"
        else:
            yield from _range(value, kind)
    elif isinstance(kind, inspect.BytesType):
        content = _base64(value)
        if content is None:
            yield "Member must be base64 of the content"
        else:
            yield from _length(len(content), kind)


def _base64(value: object) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None


def _length(length: int, kind: inspect.StrType | inspect.BytesType | inspect.ListType) -> Iterator[str]:
    if kind.max_length is not None and length > kind.max_length:
        yield f"Member must have length less than or equal to {kind.max_length}"
    if kind.min_length is not None and length < kind.min_length:
        yield f"Member must have length greater than or equal to {kind.min_length}"


def _range(value: float, kind: inspect.IntType | inspect.FloatType) -> Iterator[str]:
    if kind.le is not None and not value <= kind.le:
        yield f"Member must have value less than or equal to {kind.le}"
    if kind.ge is not None and not value >= kind.ge:
        yield f"Member must have value greater than or equal to {kind.ge}"


def _noun(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "a structure"


def _fault(value: object, path: str, wrong: str, hidden: bool = False) -> str:
    if value is None:
        shown = " null"
    elif hidden or isinstance(value, list | dict):
        shown = ""
    elif isinstance(value, bool):
        shown = f" '{str(value).lower()}'"
    else:
        shown = f" '{_shorten(value if isinstance(value, str) else format(value))}'"
    return f"Value{shown} at '{path}' failed to satisfy constraint: {wrong}"


def _shorten(value: str) -> str:
    """Without control characters, which could forge log lines, and no longer than a line."""
    text = value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in text)
