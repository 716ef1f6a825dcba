"""Whether the instances of one image set may be copied into another, and which edits they need there.

Source: devguide/copy-image-set: the Patient, Study and Series metadata of source and destination must match,
unless the copy is forced; then those of the destination are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.domain.image_sets import levels
from lightwell.domain.image_sets.copying import blocks_agree, edits_for_copies, level_mismatch, values_agree
from lightwell.domain.image_sets.edits import Edit, Edits, apply_edits
from lightwell.domain.keys import InstanceKey
from lightwell.errors import StorageError
from lightwell.stores.image_sets import copying, members, native_instances, records
from lightwell.stores.image_sets.changes import LockedImageSet
from lightwell.stores.image_sets.members import Level

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LEVELS: tuple[levels.Level, ...] = (levels.PATIENT, levels.STUDY, levels.SERIES)
_DIGITS = re.compile(r"[0-9A-F]{8}")


@dataclass(frozen=True, slots=True)
class _ShownLevels:
    """The patient, study and series levels of a set: their rows, and the ``DICOM`` objects that it shows."""

    rows: list[Level]
    shown: list[dict[str, object]]


def series_uid(conn: Connection, opened: LockedImageSet) -> str:
    """The SeriesInstanceUID under which the document of a set shows its series."""
    value = _levels(conn, opened).shown[levels.SERIES].get("SeriesInstanceUID")
    return value if isinstance(value, str) and value else opened.series_instance_uid


def find_edits_for_copies(
    conn: Connection,
    source: LockedImageSet,
    target: LockedImageSet,
    instances: Sequence[InstanceKey] | None,
    *,
    force: bool,
) -> Edits:
    """The edits to add to every instance that is copied into ``target``.

    Raises `CopyRefused` where the two sets do not match and ``force`` is not given.
    """
    ours, theirs = _levels(conn, source), _levels(conn, target)
    differing = [n for n in _LEVELS if not blocks_agree(ours.shown[n], theirs.shown[n])]
    if not force:
        if differing:
            raise level_mismatch(differing[0])
        _check_hidden_values(conn, source, instances, ours, theirs)
    maker = _EditMaker(conn, target) if differing else None
    found: dict[str, Edit | None] = {}
    for n in _LEVELS:
        found |= edits_for_copies(
            ours.shown[n],
            ours.rows[n].edits,
            theirs.shown[n],
            theirs.rows[n].edits,
            None if maker is None else maker.edit_to,
        )
    return found


def _levels(conn: Connection, opened: LockedImageSet) -> _ShownLevels:
    rows = members.open_levels(conn, opened.key)
    return _ShownLevels(rows, members.shown_levels(conn, opened.key, rows))


def _check_hidden_values(
    conn: Connection,
    source: LockedImageSet,
    instances: Sequence[InstanceKey] | None,
    ours: _ShownLevels,
    theirs: _ShownLevels,
) -> None:
    """An edit of a destination level must not hide a different value of an instance."""
    hiding = [
        their.edits.keys() - our.edits.keys() for our, their in zip(ours.rows, theirs.rows, strict=True)
    ]
    if not any(hiding):
        return
    different = list(copying.distinct_levels(conn, source.key, instances))
    bodies = records.level_bodies(conn, {key for block in different for key in block.levels}, source.key)
    for block in different:
        for n, keys, level_key in zip(_LEVELS, hiding, block.levels, strict=True):
            if not keys:
                continue
            body = bodies.get(level_key)
            if body is None:
                raise StorageError("The database has lost a level block; run `lightwell data verify`.")
            own = apply_edits(json.loads(body), block.edits)
            if not all(values_agree(own.get(key), theirs.shown[n].get(key)) for key in keys):
                raise level_mismatch(n)


class _EditMaker:
    """Makes edits to the values that a set shows on its levels."""

    def __init__(self, conn: Connection, opened: LockedImageSet) -> None:
        self._conn = conn
        self._opened = opened

    def edit_to(self, key: str, value: object) -> Edit:
        # Imported here because both load the DICOM dictionary, which takes time and memory.
        from lightwell.imaging.dataset.dictionary import attribute_named
        from lightwell.imaging.editing.native_values import TypingRules, edit_vr

        attribute = attribute_named(key)
        if attribute is None:
            raise StorageError(
                f"A level block contains {key[:64]!r}, which is not a keyword; run `lightwell data verify`."
            )
        nested = set(_keys_without_keyword(value))
        vrs = self._listed(nested) if nested else {}
        return Edit(edit_vr(attribute, value, TypingRules({}, True)), value, vrs)

    def _listed(self, wanted: set[str]) -> dict[str, str]:
        """The VRs of elements without a keyword, which the instance that a level block was imported with
        lists.
        """
        found: dict[str, str] = {}
        key, version = self._opened.key, self._opened.latest_version
        blocks = native_instances.levels(self._conn, key, version)
        for member, _ in native_instances.members(self._conn, key, version):
            listed = metadata_documents.edited_instance(self._conn, key, member, blocks)[1]
            found |= {key: vr for key, vr in listed.items() if key in wanted}
            if found.keys() == wanted:
                break
        return found


def _keys_without_keyword(value: object) -> Iterator[str]:
    """The keys of elements in the items of a sequence that have no keyword."""
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            for key, nested in item.items():
                if _DIGITS.fullmatch(key):
                    yield key
                yield from _keys_without_keyword(nested)
