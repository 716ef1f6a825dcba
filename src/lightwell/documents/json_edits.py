"""Applies edits to stored JSON: every value that is not edited stays byte for byte as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

import msgspec

from lightwell.domain.image_sets.edits import NO_EDITS, Edit, Edits
from lightwell.domain.image_sets.levels import INSTANCE, TAG_DIGITS, level_of
from lightwell.errors import StorageError

T = TypeVar("T")

_Values = dict[str, msgspec.Raw]
_DIGITS = re.compile(r"[0-9A-F]{8}")

_read_block = msgspec.json.Decoder(_Values).decode
_read_fragment = msgspec.json.Decoder(dict[str, _Values]).decode


def edit_level_block(body: bytes, edits: Edits) -> bytes:
    """The JSON object of a level with its edits applied, keys in alphabetical order."""
    if not edits:
        return body
    values = _decode(_read_block, body)
    for key, edit in edits.items():
        if edit is None:
            values.pop(key, None)
        else:
            values[key] = _encode(edit.value)
    return _object({key: values[key] for key in sorted(values)})


def edit_fragment(ready: bytes, edits: Edits) -> bytes:
    """``"DICOM":{…},"DICOMVRs":{…}`` of an instance with its edits applied, keys in tag order.

    ``edits`` must not name patient, study or series attributes.
    """
    if not edits:
        return ready
    parts = _decode(_read_fragment, b"{%s}" % ready)
    if parts.keys() != {"DICOM", "DICOMVRs"}:
        raise _damaged_block()
    values, vrs = parts["DICOM"], parts["DICOMVRs"]
    if not any(_DIGITS.fullmatch(key) or (edit is not None and edit.vrs) for key, edit in edits.items()):
        spliced = _splice(ready, values, edits)
        if spliced is not None:
            return spliced
    fresh: _Values = {}
    listed: dict[str, str] = {}
    for key, edit in edits.items():
        if edit is None:
            values.pop(key, None)
            if key in vrs and not _is_in_sequence(key, values):
                del vrs[key]
            continue
        (values if key in values else fresh)[key] = _encode(edit.value)
        if _DIGITS.fullmatch(key):
            vrs[key] = _encode(edit.vr)
        listed.update(edit.vrs)
    for key, vr in listed.items():
        vrs.setdefault(key, _encode(vr))
    if fresh:
        values = _insert_in_tag_order(values, fresh)
    return b'"DICOM":%s,"DICOMVRs":%s' % (_object(values), _object({key: vrs[key] for key in sorted(vrs)}))


def hidden_digits(levels: Iterable[Edits]) -> tuple[str, ...]:
    """The digits under which an instance may show what edits of its levels name, see
    `domain.image_sets.levels`."""
    return tuple(TAG_DIGITS[key] for edits in levels for key in edits if key in TAG_DIGITS)


def may_show(ready: bytes, digits: Iterable[str]) -> bool:
    """Whether ``ready`` may show an attribute under one of these digits, possibly inside a sequence."""
    return any(b'"%s":' % key.encode() in ready for key in digits)


def split_by_level(edits: Edits) -> tuple[Edits, tuple[Edits, Edits, Edits]]:
    """The edits of a member that concern the instance itself, and those that concern each of its levels."""
    if all(level_of(key) == INSTANCE for key in edits):
        return edits, (NO_EDITS, NO_EDITS, NO_EDITS)
    by_level: tuple[dict[str, Edit | None], ...] = ({}, {}, {}, {})
    for key, edit in edits.items():
        by_level[level_of(key)][key] = edit
    patient, study, series, own = by_level
    return own, (patient, study, series)


def text_value(body: bytes, key: str) -> str | None:
    """The value of one key of a JSON object, if it is a non-empty string."""
    raw = _decode(_read_block, body).get(key)
    value = None if raw is None else json.loads(bytes(raw))
    return value if isinstance(value, str) and value else None


def _splice(ready: bytes, values: _Values, edits: Edits) -> bytes | None:
    """``ready`` with only the edited values replaced; None where the position of one is ambiguous.

    In most fragments a key occurs once. Writing all 80 elements again takes three times as long.
    """
    # New elements before the same key are inserted in tag order, each directly before that key.
    fresh = sorted((key for key, edit in edits.items() if edit and key not in values), key=_tag)
    for key in (*(key for key in edits if key in values), *fresh):
        edit = edits[key]
        anchor = key if key in values else _next_key(values, key)
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
        written = bytes(_encode(edit.value))
        if anchor == key:
            ready = ready[:value] + written + ready[value + len(bytes(values[key])) :]
        else:
            ready = b'%s"%s":%s,%s' % (ready[:start], key.encode(), written, ready[start:])
    return ready


def _next_key(values: _Values, key: str) -> str | None:
    """The first key with a greater tag."""
    tag = _tag(key)
    return next((other for other in values if _tag(other) > tag), None)


@lru_cache(16_384)
def _tag(key: str) -> int:
    # Imported here because the dictionary takes time to load, and unedited documents do not need it.
    from lightwell.imaging.dataset.dictionary import attribute_named

    attribute = attribute_named(key)
    return 0xFFFFFFFF if attribute is None else attribute.tag


def _insert_in_tag_order(values: _Values, fresh: _Values) -> _Values:
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


def _is_in_sequence(key: str, values: _Values) -> bool:
    """Whether a sequence still contains an element with this key."""
    quoted = b'"%s":' % key.encode()
    return any(quoted in bytes(value) for value in values.values())


def _decode(decode: Callable[[bytes], T], text: bytes) -> T:
    try:
        return decode(text)
    except msgspec.DecodeError:
        raise _damaged_block() from None


def _encode(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _object(values: Mapping[str, msgspec.Raw]) -> bytes:
    return b"{%s}" % b",".join([b'"%s":%s' % (key.encode(), bytes(value)) for key, value in values.items()])


def _damaged_block() -> StorageError:
    return StorageError("A stored attribute block is not valid JSON; run `lightwell data verify`.")
