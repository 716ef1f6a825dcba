"""The instances of a version as DICOM JSON: their compressed lines, or what these are derived from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from lightwell.domain.image_sets.edits import NO_EDITS, Edits, merge_edits
from lightwell.domain.keys import ImageSetKey, RecordKey
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.tables import member, record
from lightwell.stores.db.validity import holds_in
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets import instances, native_instances
from lightwell.stores.image_sets.lookups import MARK
from lightwell.stores.keys import values

_FEW, _MANY, _BYTES = 64, 2048, 4 << 20
"""How many instances a batch of lines has, and bytes; its length follows from the bytes of the last batch."""


PRIMARY_LOOK_UP = LookUp(
    f"SELECT s.key, s.id, s.patient_id, v.number, {MARK} FROM image_set s, datastore d, version v"
    " WHERE d.id = ? AND s.datastore = d.key AND s.study_instance_uid = ? AND s.series_instance_uid = ?"
    " AND s.is_primary AND s.state = 'ACTIVE' AND s.readable_version > 0"
    " AND v.image_set = s.key AND v.number = s.readable_version"
)
"""For `Database.look_up` (data store id, study and series UID): key, id and PatientID of the primary set,
number and mark of its readable version."""


@dataclass(frozen=True, slots=True)
class DicomJsonInstance:
    """One instance of a version; ``image_set`` is the key of its set, ``record`` that of its row.

    ``dicom_z`` is None if the lines have to be derived from the original at (``pack``, ``offset``,
    ``length``) with ``override_z`` applied. ``stored_syntax`` is None without pixels. ``edits`` are all
    edits of the version, those of its levels included.
    """

    image_set: int
    record: RecordKey
    sop_instance_uid: str
    dicom_z: bytes | None
    dictionary: int | None
    pack: int
    offset: int
    length: int
    override_z: bytes | None
    stored_syntax: str | None
    edits: Edits


def _order(place: ColumnElement[Any]) -> Select[Any]:
    return (
        select(
            place,
            record.c.instance_number,
            record.c.sop_instance_uid,
            member.c.edits,
            instances.APART,
        )
        .select_from(member)
        .outerjoin(record, record.c.key == member.c.record)
        .where(
            member.c.image_set == bindparam("set"),
            holds_in(member, bindparam("version")),
        )
    )


# By what the records are then looked up. On SQLite the rowid spares a search in the index of the keys.
_ORDER = {"sqlite": _order(literal_column("record.rowid")), "postgresql": _order(record.c.key)}
_RECORDS = """
SELECT {place}, r.key, r.dicom_z, r.dicom_dictionary, r.pack, r.original_offset, r.original_length,
       r.override_z, p.stored_syntax
FROM {record}
LEFT JOIN pixels p ON p.key = r.pixels
WHERE r.datastore = (SELECT s.datastore FROM image_set s WHERE s.key = {set})
  AND (r.pixels IS NULL OR p.datastore = r.datastore)
"""
_BY_PLACE = {
    "sqlite": _RECORDS.format(
        place="r.rowid", set="?1", record="json_each(?2) j CROSS JOIN record r ON r.rowid = j.value"
    ),
    "postgresql": _RECORDS.format(place="r.key", set="%s", record="record r") + "  AND r.key = ANY(%s)",
}


def batches(
    conn: Connection, image_set: ImageSetKey, version: int, *, only: Sequence[int] | None = None
) -> Iterator[list[DicomJsonInstance]]:
    """The instances of a version by InstanceNumber (those without one last), then by SOPInstanceUID.

    ``only``: just those with these ``instance`` keys. In batches of bounded bytes. Raises `StorageError` if
    anything that the version refers to is missing. ``conn`` must see one state of the database throughout.
    """
    dialect = conn.dialect.name
    order = _ORDER[dialect] if only is None else _ORDER[dialect].where(member.c.instance.in_(only))
    on_levels = level_edits(conn, image_set, version)
    ordered = native_instances.fetch_all(conn.execute(order, {"set": image_set, "version": version}))
    found = [_placed(conn, image_set, *row[:-1], on_levels=on_levels) for row in ordered]
    apart = {row[-1]: key[-1] for row, (key, _, _) in zip(ordered, found, strict=True) if row[-1] is not None}
    if apart:
        instances.check(conn, image_set, apart)
    found.sort(key=lambda each: each[0])
    start, many = 0, _FEW
    while start < len(found):
        part = found[start : start + many]
        places = [place for _, place, _ in part]
        given = json.dumps(places) if dialect == "sqlite" else places
        rows = native_instances.fetch_all(conn.exec_driver_sql(_BY_PLACE[dialect], (image_set, given)))
        by_place = {row[0]: row[1:] for row in rows}
        if len(by_place) < len(set(places)):
            lost = f"the record of an instance of version {version}, or its pixels"
            raise instances.not_found(conn, image_set, version, lost)
        yield [
            DicomJsonInstance(
                image_set,
                key,
                uid,
                values.of_record(conn, values.DICOM, key, dicom_z, image_set),
                dictionary,
                pack,
                offset,
                length,
                values.of_record(conn, values.OVERRIDE, key, override_z, image_set),
                syntax,
                edits,
            )
            for (_, _, uid), place, edits in part
            for key, dicom_z, dictionary, pack, offset, length, override_z, syntax in (by_place[place],)
        ]
        start += many
        size = sum([len(row[2] or b"") for row in rows])
        many = min(_MANY, max(_FEW, many * _BYTES // max(size, 1)))


def level_edits(conn: Connection, image_set: ImageSetKey, version: int) -> Edits:
    """The edits of a version's levels, which apply to all its instances."""
    on_levels: Edits = NO_EDITS
    for level in native_instances.levels(conn, image_set, version):
        on_levels = merge_edits(on_levels, level.edits)
    return on_levels


def _placed(
    conn: Connection,
    image_set: ImageSetKey,
    place: Any,
    number: int | None,
    uid: str,
    edits_z: bytes | None,
    *,
    on_levels: Edits,
) -> tuple[tuple[bool, int, str], Any, Edits]:
    """An instance's sort key (its SOPInstanceUID last), its place, and its edits."""
    if edits_z is None:
        return (number is None, number or 0, uid), place, on_levels
    own = packed_edits.unpack(conn, image_set, edits_z)
    uid = native_instances.sop_instance_uid(uid, own)
    number = native_instances.instance_number(number, own)
    return (number is None, number or 0, uid), place, merge_edits(own, on_levels)
