"""Differences between attributes as the console shows them: as JSON, with long lists and values cut short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lightwell.domain.image_sets.levels import LEVEL_NAMES
from lightwell.domain.image_sets.version_diff import (
    ABSENT,
    ElementDifference,
    InstanceDifference,
    LevelDifference,
)

_LONGEST_VALUE = 20_000
"""Bytes of a value, as JSON, that an answer holds; of longer ones it holds the beginning."""
_BEGINNING = 2_000
_MOST_ELEMENTS = 500
_MOST_BYTES = 1 << 20
"""Of the elements of one instance or level, as JSON."""
_MOST_FRAMES = 50

_encode = msgspec.json.Encoder().encode


def level_json(found: LevelDifference) -> dict[str, Any]:
    """The patient, study or series level."""
    return {
        "level": LEVEL_NAMES[found.level],
        "versionId": None if found.version is None else str(found.version),
        **elements_json(found.elements),
    }


def instance_json(found: InstanceDifference) -> dict[str, Any]:
    """As `lightwell sets diff --json` prints it, with long lists and values cut short."""
    shown = found.as_json()
    if "elements" in shown:
        shown |= elements_json(found.elements)
    shown["versionId"] = None if found.version is None else str(found.version)
    del shown["version"]
    if found.frames is not None:
        frames = found.frames
        shown["frames"] = {
            "old": frames.old,
            "new": frames.new,
            "differing": len(frames.differing),
            "first": [each.number for each in frames.differing[:_MOST_FRAMES]],
        }
    return shown


def json_size(found: InstanceDifference) -> int:
    """How many bytes `instance_json` has."""
    return len(_encode(instance_json(found)))


def elements_json(elements: Sequence[ElementDifference]) -> dict[str, Any]:
    """At most `_MOST_ELEMENTS` of them, and about `_MOST_BYTES`, and how many there are besides."""
    shown: list[dict[str, Any]] = []
    size = 0
    for element in elements[:_MOST_ELEMENTS]:
        one: dict[str, Any] = {"element": element.path, "vr": element.new_vr or element.old_vr}
        if element.old_vr and element.new_vr and element.old_vr != element.new_vr:
            one["oldVr"] = element.old_vr
        for name, value in (("old", element.old), ("new", element.new)):
            if value is not ABSENT:
                one[name], length = short(value)
                if length is not None:
                    one[f"{name}Length"] = length
        shown.append(one)
        size += len(_encode(one))
        if size >= _MOST_BYTES:
            break
    found: dict[str, Any] = {"elements": shown}
    if len(elements) > len(shown):
        found["moreElements"] = len(elements) - len(shown)
    return found


def short(value: object) -> tuple[object, int | None]:
    """A value as it is, or the beginning of its JSON text with the length of all of it, in bytes."""
    if isinstance(value, str):
        return (value, None) if len(value) <= _LONGEST_VALUE else (value[:_BEGINNING], len(value.encode()))
    if not isinstance(value, list | dict):
        return value, None
    text = _encode(value)
    if len(text) <= _LONGEST_VALUE:
        return value, None
    return text[:_BEGINNING].decode("utf-8", "ignore"), len(text)


def shortened(block: Mapping[str, object]) -> dict[str, object]:
    """A ``DICOM`` object without its sequences, and with the beginning of very long values."""
    return {key: short(value)[0] for key, value in block.items() if not key.endswith("Sequence")}
