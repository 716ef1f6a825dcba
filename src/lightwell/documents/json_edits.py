"""Edits laid over ready JSON: every value that is not edited stays byte for byte as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

import msgspec

from lightwell.domain.image_sets.edits import NONE, Edit, Edits
from lightwell.domain.image_sets.level_tags import DIGITS
from lightwell.domain.image_sets.levels import INSTANCE, level_of
from lightwell.errors import StorageError

T = TypeVar("T")

_Values = dict[str, msgspec.Raw]
_DIGITS = re.compile(r"[0-9A-F]{8}")

_read_block = msgspec.json.Decoder(_Values).decode
_read_fragment = msgspec.json.Decoder(dict[str, _Values]).decode


def block(body: bytes, edits: Edits) -> bytes:
    """The JSON object of a level with its edits, keys in alphabetical order."""
    if not edits:
        return body
    values = _decoded(_read_block, body)
    for key, edit in edits.items():
        if edit is None:
            values.pop(key, None)
        else:
            values[key] = _written(edit.value)
    return _object({key: values[key] for key in sorted(values)})


def fragment(ready: bytes, edits: Edits) -> bytes:
    """``"DICOM":{…},"DICOMVRs":{…}`` of an instance with its edits, keys in tag order.

    ``edits`` name no patient, study or series attribute.
    """
    if not edits:
        return ready
    parts = _decoded(_read_fragment, b"{%s}" % ready)
    if parts.keys() != {"DICOM", "DICOMVRs"}:
        raise _damaged()
    values, vrs = parts["DICOM"], parts["DICOMVRs"]
    if not any(_DIGITS.fullmatch(key) or (edit is not None and edit.vrs) for key, edit in edits.items()):
        spliced = _spliced(ready, values, edits)
        if spliced is not None:
            return spliced
    fresh: _Values = {}
    listed: dict[str, str] = {}
    for key, edit in edits.items():
        if edit is None:
            values.pop(key, None)
            if key in vrs and not _inside(key, values):
                del vrs[key]
            continue
        (values if key in values else fresh)[key] = _written(edit.value)
        if _DIGITS.fullmatch(key):
            vrs[key] = _written(edit.vr)
        listed.update(edit.vrs)
    for key, vr in listed.items():
        vrs.setdefault(key, _written(vr))
    if fresh:
        values = _sorted_in(values, fresh)
    return b'"DICOM":%s,"DICOMVRs":%s' % (_object(values), _object({key: vrs[key] for key in sorted(vrs)}))


def covered(levels: Iterable[Edits]) -> tuple[str, ...]:
    """The digits under which an instance may show what edits of its levels name, see
    `domain.image_sets.level_tags`."""
    return tuple(DIGITS[key] for edits in levels for key in edits if key in DIGITS)


def shows(ready: bytes, digits: Iterable[str]) -> bool:
    """Whether ``ready`` may show an attribute under one of these digits, be it inside of a sequence."""
    return any(b'"%s":' % key.encode() in ready for key in digits)


def apart(edits: Edits) -> tuple[Edits, tuple[Edits, Edits, Edits]]:
    """The edits of a member on attributes of the instance itself, and those on each of its levels."""
    if all(level_of(key) == INSTANCE for key in edits):
        return edits, (NONE, NONE, NONE)
    by_level: tuple[dict[str, Edit | None], ...] = ({}, {}, {}, {})
    for key, edit in edits.items():
        by_level[level_of(key)][key] = edit
    patient, study, series, own = by_level
    return own, (patient, study, series)


def text_of(body: bytes, key: str) -> str | None:
    """The value of one key of a JSON object, if it is a text that is not empty."""
    raw = _decoded(_read_block, body).get(key)
    value = None if raw is None else json.loads(bytes(raw))
    return value if isinstance(value, str) and value else None


def _spliced(ready: bytes, values: _Values, edits: Edits) -> bytes | None:
    """``ready`` with only the edited places written again; None where one is not found for sure.

    Most fragments have a key once. Writing all 80 elements again takes three times as long.
    """
    # Those with the same key behind them go in by tag, each before it and so behind the others.
    fresh = sorted((key for key, edit in edits.items() if edit and key not in values), key=_tag)
    for key in (*(key for key in edits if key in values), *fresh):
        edit = edits[key]
        anchor = key if key in values else _next(values, key)
        if anchor is None:
            return None
        needle = b'"%s":' % anchor.encode()
        start = ready.find(needle)
        if ready.find(needle, start + 1) >= 0:
            return None
        value = start + len(needle)
        if edit is None:
            end = value + len(bytes(values.pop(key)))
            if ready[end : end + 1] == b",":
                end += 1
            elif ready[start - 1 : start] == b",":
                start -= 1
            ready = ready[:start] + ready[end:]
            continue
        written = bytes(_written(edit.value))
        if anchor == key:
            ready = ready[:value] + written + ready[value + len(bytes(values[key])) :]
        else:
            ready = b'%s"%s":%s,%s' % (ready[:start], key.encode(), written, ready[start:])
    return ready


def _next(values: _Values, key: str) -> str | None:
    """The first key with a greater tag."""
    tag = _tag(key)
    return next((other for other in values if _tag(other) > tag), None)


@lru_cache(16_384)
def _tag(key: str) -> int:
    # The dictionary takes its time to load, and who only reads unedited documents never needs it.
    from lightwell.imaging.dataset.dictionary import attribute_named

    attribute = attribute_named(key)
    return 0xFFFFFFFF if attribute is None else attribute.tag


def _sorted_in(values: _Values, fresh: _Values) -> _Values:
    waiting = sorted(((_tag(key), key) for key in fresh), reverse=True)
    ordered: _Values = {}
    for key, value in values.items():
        place = _tag(key)
        while waiting and waiting[-1][0] < place:
            new = waiting.pop()[1]
            ordered[new] = fresh[new]
        ordered[key] = value
    for _, new in reversed(waiting):
        ordered[new] = fresh[new]
    return ordered


def _inside(key: str, values: _Values) -> bool:
    """Whether a sequence still holds an element with this key."""
    quoted = b'"%s":' % key.encode()
    return any(quoted in bytes(value) for value in values.values())


def _decoded(decode: Callable[[bytes], T], text: bytes) -> T:
    try:
        return decode(text)
    except msgspec.DecodeError:
        raise _damaged() from None


def _written(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _object(values: Mapping[str, msgspec.Raw]) -> bytes:
    return b"{%s}" % b",".join([b'"%s":%s' % (key.encode(), bytes(value)) for key, value in values.items()])


def _damaged() -> StorageError:
    return StorageError("A stored attribute block is no such JSON; run `lightwell data verify`.")
