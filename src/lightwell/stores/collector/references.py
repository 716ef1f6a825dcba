"""Rows that refer to rows of another data store or of another patient, as `lightwell data verify` finds them.

Everything that an image set refers to lies in its own data store: copies are made within one, and a move
takes all rows as they are. Its members are of one patient, study and series, by the seven grouping values as
they are shown.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, select

from lightwell.domain.image_sets.edits import apply_edits
from lightwell.domain.image_sets.levels import level_of
from lightwell.domain.image_sets.search_columns import clean_text
from lightwell.errors import StorageError
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.tables import (
    instance,
    level,
    level_value,
    member,
    pack,
    pixels,
    record,
    study,
)
from lightwell.stores.image_sets.edits import unpack
from lightwell.stores.image_sets.records import level_text
from lightwell.stores.keys.job_values import NO_KEY

_own_pack, _pixel_pack = pack.alias(), pack.alias()
_MEMBERS: Select[Any] = (
    select(
        member.c.valid_from,
        member.c.valid_to,
        member.c.edits,
        member.c.pixels.label("shown"),
        instance.c.datastore.label("instance_store"),
        record.c.key.label("record"),
        record.c.datastore.label("record_store"),
        record.c.pixels.label("came_with"),
        record.c.patient_value,
        record.c.study_value,
        record.c.series_value,
        record.c.pack.label("record_pack"),
        _own_pack.c.datastore.label("pack_store"),
        pixels.c.datastore.label("pixels_store"),
        pixels.c.pack.label("pixels_pack"),
        _pixel_pack.c.datastore.label("pixels_pack_store"),
    )
    .select_from(member)
    .outerjoin(instance, instance.c.key == member.c.instance)
    .outerjoin(record, record.c.key == member.c.record)
    .outerjoin(_own_pack, _own_pack.c.key == record.c.pack)
    .outerjoin(pixels, pixels.c.key == member.c.pixels)
    .outerjoin(_pixel_pack, _pixel_pack.c.key == pixels.c.pack)
    .where(member.c.image_set == bindparam("set"))
)
_STORES = (
    ("instance_store", "members name instances"),
    ("record_store", "members name records"),
    ("pixels_store", "members name pixels"),
    ("pack_store", "of its originals lie in packs"),
    ("pixels_pack_store", "of its images lie in packs"),
)
_GROUPING = (
    (0, ("PatientID",)),
    (1, ("StudyInstanceUID", "StudyDate", "AccessionNumber", "StudyID")),
    (2, ("SeriesInstanceUID", "SeriesNumber")),
)


class _Value(NamedTuple):
    datastore: int
    hash: bytes
    body_z: bytes


def faults_of_set(conn: Connection, row: Any) -> list[str]:
    """What the image set with this row of ``image_set`` refers to and must not; no values in it."""
    members = conn.execute(_MEMBERS, {"set": row.key}).all()
    levels = conn.execute(select(level).where(level.c.image_set == row.key)).all()
    found = _values(conn, members, levels)
    faults = [*_study(conn, row), *_stores(row, members), *_of_values(row, members, levels, found)]
    try:
        return [*faults, *_contents(conn, row.key, members, levels, found)]
    except NO_KEY:
        raise
    except (StorageError, ValueError) as error:
        return [*faults, f"whether its instances belong together cannot be told: {error}"]


def _study(conn: Connection, row: Any) -> Iterator[str]:
    of = conn.execute(select(study.c.datastore, study.c.study_instance_uid).where(study.c.key == row.study))
    found = of.first()
    if found is None:
        return  # `stores.qido.index_check` says so
    if found.datastore != row.datastore:
        yield "it belongs to a study of another data store"
    elif row.study_instance_uid is not None and found.study_instance_uid != row.study_instance_uid:
        yield "it belongs to another study than it shows"
    if row.listed_in not in (None, row.datastore):
        yield "searches of another data store find it"


def _stores(row: Any, members: Sequence[Any]) -> Iterator[str]:
    for name, what in _STORES:
        count = sum(getattr(each, name) not in (None, row.datastore) for each in members)
        if count:
            yield f"{count} {what} of another data store"
    if lost := sum(each.record_pack is not None and each.pack_store is None for each in members):
        yield f"{lost} of its originals lie in packs that are lost"
    if lost := sum(each.pixels_pack is not None and each.pixels_pack_store is None for each in members):
        yield f"{lost} of its images lie in packs that are lost"
    if other := sum(each.record is not None and each.shown != each.came_with for each in members):
        yield f"{other} members show other pixels than their instances came with"


def _values(conn: Connection, members: Sequence[Any], levels: Sequence[Any]) -> dict[int, _Value]:
    keys = {each.base for each in levels}
    keys |= {key for each in members if each.record is not None for key in _own(each)}
    columns = (level_value.c.key, level_value.c.datastore, level_value.c.hash, level_value.c.body_z)
    return {
        key: _Value(*value)
        for some in batches(sorted(keys))
        for key, *value in conn.execute(select(*columns).where(level_value.c.key.in_(some)))
    }


def _own(of: Any) -> tuple[int, int, int]:
    return of.patient_value, of.study_value, of.series_value


def _of_values(
    row: Any, members: Sequence[Any], levels: Sequence[Any], found: Mapping[int, _Value]
) -> Iterator[str]:
    known = [each for each in members if each.record is not None]
    lost = sum(any(key not in found for key in _own(each)) for each in known)
    if lost:
        yield f"the attributes of {lost} of its instances are lost"
    foreign = {key for key, value in found.items() if value.datastore != row.datastore}
    if other := sum(any(key in foreign for key in _own(each)) for each in known):
        yield f"{other} of its instances have attributes of another data store"
    if other := sum(each.base in foreign for each in levels):
        yield f"{other} of its level blocks are of another data store"


def _contents(
    conn: Connection, key: int, members: Sequence[Any], levels: Sequence[Any], found: Mapping[int, _Value]
) -> Iterator[str]:
    """Whether all that is there shows one patient, study and series, and what an instance came with."""
    blocks = _Blocks(conn, key, found)
    known = [each for each in members if each.record is not None and all(v in found for v in _own(each))]
    for of in levels:
        if of.base in found and not _is_carried(blocks, of, known):
            what = ("patient", "study", "series")[of.level]
            yield f"version {of.valid_from} shows a {what} that none of its instances came with"
    kinds = Counter((*_own(each), each.edits, each.valid_from, each.valid_to) for each in known)
    apart = 0
    for (*values, edits, start, end), count in kinds.items():
        ours = [of for of in levels if of.base in found and _overlap(of, start, end)]
        apart += count * any(not blocks.agree(of, values[of.level], edits) for of in ours)
    if apart:
        yield f"{apart} of its instances are of another patient, study or series"


def _overlap(of: Any, start: int, end: int | None) -> bool:
    return (end is None or of.valid_from < end) and (of.valid_to is None or start < of.valid_to)


def _is_carried(blocks: _Blocks, of: Any, members: Sequence[Any]) -> bool:
    """Whether an instance came with the base of a level, under its own edits, where the level begins."""
    held = {
        (_own(each)[of.level], each.edits)
        for each in members
        if each.valid_from <= of.valid_from and (each.valid_to is None or of.valid_from < each.valid_to)
    }
    if not held or any(value == of.base and edits is None for value, edits in held):
        return True
    base = blocks.shown(of.level, of.base, None)
    return any(blocks.shown(of.level, value, edits) == base for value, edits in held)


class _Blocks:
    """The attributes of level values, each read once."""

    def __init__(self, conn: Connection, image_set: int, found: Mapping[int, _Value]) -> None:
        self._conn = conn
        self._image_set = image_set
        self._found = found
        self._bodies: dict[tuple[int, int], Mapping[str, object]] = {}
        self._agreed: dict[tuple[int, int, bytes | None, int, bytes | None], bool] = {}

    def shown(self, number: int, key: int, edits: bytes | None) -> Mapping[str, object]:
        """A level value under the edits of a member; only those of its level."""
        if (number, key) not in self._bodies:
            value = self._found[key]
            text = level_text(
                self._conn, key, value.hash, value.body_z, (number,), image_set_key=self._image_set
            )
            self._bodies[number, key] = json.loads(text)
        body = self._bodies[number, key]
        if edits is None:
            return body
        unpacked = unpack(self._conn, self._image_set, edits)
        return apply_edits(body, {name: edit for name, edit in unpacked.items() if level_of(name) == number})

    def agree(self, of: Any, value: int, edits: bytes | None) -> bool:
        """Whether an instance with this level value is of the patient, study or series that a level shows."""
        if value == of.base and edits is None:
            return True
        asked = (of.level, of.base, of.edits, value, edits)
        if asked not in self._agreed:
            on_level = unpack(self._conn, self._image_set, of.edits)
            base, own = self.shown(of.level, of.base, None), self.shown(of.level, value, edits)
            names = dict(_GROUPING)[of.level]
            self._agreed[asked] = _texts(apply_edits(base, on_level), names) == _texts(
                apply_edits(own, on_level), names
            )
        return self._agreed[asked]


def _texts(block: Mapping[str, object], names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        value = block.get(name)
        parts = value if isinstance(value, list) else [value]
        text = "\\".join("" if part is None else str(part) for part in parts)
        # As imports compare them, so that nothing is said of what has joined a set by right.
        found.append(clean_text(text.strip(" \0")))
    return found
