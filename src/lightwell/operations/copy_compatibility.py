"""Whether the instances of one image set may join another, and with which edits on top of theirs.

Source: devguide/copy-image-set: Patient, Study and Series metadata of source and destination agree, or the
copy is forced and those of the destination stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.domain.image_sets.copying import agree, blocks_agree, carried_along, mismatch
from lightwell.domain.image_sets.edits import Edit, Edits, apply_edits
from lightwell.domain.image_sets.levels import SERIES
from lightwell.domain.keys import InstanceKey
from lightwell.errors import StorageError
from lightwell.stores.image_sets import copying, native_instances, records
from lightwell.stores.image_sets import members as contents
from lightwell.stores.image_sets.changes import LockedImageSet
from lightwell.stores.image_sets.members import Level

if TYPE_CHECKING:
    from sqlalchemy import Connection

_DIGITS = re.compile(r"[0-9A-F]{8}")


@dataclass(frozen=True, slots=True)
class _Levels:
    """Patient, study and series of a set: what holds, and the ``DICOM`` objects that it shows."""

    rows: list[Level]
    shown: list[dict[str, object]]


def series_uid(conn: Connection, opened: LockedImageSet) -> str:
    """The key of the series in the document of a set."""
    value = _levels(conn, opened).shown[SERIES].get("SeriesInstanceUID")
    return value if isinstance(value, str) and value else opened.series_instance_uid


def edits_along(
    conn: Connection,
    source: LockedImageSet,
    target: LockedImageSet,
    instances: Sequence[InstanceKey] | None,
    *,
    force: bool,
) -> Edits:
    """The edits that go on top of those of every instance that joins ``target``.

    Raises `CopyRefused` where the two sets do not go together and ``force`` is not given.
    """
    ours, theirs = _levels(conn, source), _levels(conn, target)
    differing = [n for n in range(3) if not blocks_agree(ours.shown[n], theirs.shown[n])]
    if not force:
        if differing:
            raise mismatch(differing[0])
        _check_hidden(conn, source, instances, ours, theirs)
    maker = _EditMaker(conn, target) if differing else None
    found: dict[str, Edit | None] = {}
    for n in range(3):
        found |= carried_along(
            ours.shown[n],
            ours.rows[n].edits,
            theirs.shown[n],
            theirs.rows[n].edits,
            None if maker is None else maker.edit_to,
        )
    return found


def _levels(conn: Connection, opened: LockedImageSet) -> _Levels:
    rows = contents.open_levels(conn, opened.key)
    return _Levels(rows, contents.shown_levels(conn, rows))


def _check_hidden(
    conn: Connection,
    source: LockedImageSet,
    instances: Sequence[InstanceKey] | None,
    ours: _Levels,
    theirs: _Levels,
) -> None:
    """No instance may lose a value of its own under an edit of the destination's level."""
    hiding = [
        their.edits.keys() - our.edits.keys() for our, their in zip(ours.rows, theirs.rows, strict=True)
    ]
    if not any(hiding):
        return
    different = list(copying.distinct_levels(conn, source.key, instances))
    bodies = records.level_bodies(conn, {key for block in different for key in block.levels})
    for block in different:
        for n, keys in enumerate(hiding):
            if not keys:
                continue
            body = bodies.get(block.levels[n])
            if body is None:
                raise StorageError("The database has lost a level block; run `lightwell data verify`.")
            own = apply_edits(json.loads(body), block.edits)
            if not all(agree(own.get(key), theirs.shown[n].get(key)) for key in keys):
                raise mismatch(n)


class _EditMaker:
    """Edits to what a set shows on its levels."""

    def __init__(self, conn: Connection, opened: LockedImageSet) -> None:
        self._conn = conn
        self._opened = opened

    def edit_to(self, key: str, value: object) -> Edit:
        # Both bring DICOM's dictionary with them, which takes its time and memory to load.
        from lightwell.imaging.dataset.dictionary import attribute_named
        from lightwell.imaging.editing.native_values import TypingRules, edit_vr

        attribute = attribute_named(key)
        if attribute is None:
            raise StorageError(
                f"A level holds {key[:64]!r}, which is no keyword; run `lightwell data verify`."
            )
        nested = set(_keys_without_keyword(value))
        vrs = self._listed(nested) if nested else {}
        return Edit(edit_vr(attribute, value, TypingRules({}, True)), value, vrs)

    def _listed(self, wanted: set[str]) -> dict[str, str]:
        """The VRs of elements without a keyword; an instance that a level block came with lists them."""
        found: dict[str, str] = {}
        key, version = self._opened.key, self._opened.latest_version
        levels = native_instances.levels(self._conn, key, version)
        for member, _ in native_instances.members(self._conn, key, version):
            listed = metadata_documents.shown_instance(self._conn, member, levels)[1]
            found |= {key: vr for key, vr in listed.items() if key in wanted}
            if found.keys() == wanted:
                break
        return found


def _keys_without_keyword(value: object) -> Iterator[str]:
    """Of the elements in the items of a sequence."""
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            for key, nested in item.items():
                if _DIGITS.fullmatch(key):
                    yield key
                yield from _keys_without_keyword(nested)
