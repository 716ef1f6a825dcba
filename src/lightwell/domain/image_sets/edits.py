"""Edits: changes of attributes since the import, relative to the original.

Edits belong to a level of an image set, where they apply to every member, or to a member. Keys are those of
the native document: the keyword, or eight upper-case hex digits where there is none. If both a level and a
member edit a key, the level's edit applies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from lightwell.errors import StorageError


@dataclass(frozen=True, slots=True)
class Edit:
    """A new value, as the native document shows it, and its VR.

    ``vrs`` are the VRs of elements without a keyword inside a sequence, by key.
    """

    vr: str
    value: object
    vrs: Mapping[str, str] = field(default_factory=dict)


#: key → the new value, or None if the attribute was removed
Edits = Mapping[str, Edit | None]

NO_EDITS: Edits = {}


def merge_edits(older: Edits, newer: Edits) -> Edits:
    """Both together; ``newer`` takes precedence."""
    return {**older, **newer} if newer else older


def apply_edits(block: Mapping[str, object], edits: Edits) -> dict[str, object]:
    """A ``DICOM`` object with edits applied; new keys come last."""
    shown = dict(block)
    for key, edit in edits.items():
        if edit is None:
            shown.pop(key, None)
        else:
            shown[key] = edit.value
    return shown


def encode_edits(edits: Edits) -> bytes:
    """The JSON in which edits are stored: equal edits give equal bytes, in whatever order they were made."""
    # Values keep their order, since the order of elements in the items of a sequence is shown.
    plain = {key: _plain(edits[key]) for key in sorted(edits)}
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(edit: Edit | None) -> dict[str, object] | None:
    if edit is None:
        return None
    plain = {"vr": edit.vr, "value": edit.value}
    return plain | {"vrs": {key: edit.vrs[key] for key in sorted(edit.vrs)}} if edit.vrs else plain


def decode_edits(data: bytes) -> Edits:
    """The inverse of `encode_edits`. Raises `StorageError` for anything that it did not write."""
    try:
        found: dict[str, Edit | None] = {}
        for key, plain in json.loads(data).items():
            found[key] = None if plain is None else Edit(plain["vr"], plain["value"], plain.get("vrs", {}))
        return found
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StorageError("Stored edits cannot be read; run `lightwell data verify`.") from None
