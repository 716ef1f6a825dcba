"""The frames of all instances of a version: in which order they are, and where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from lightwell.domain.keys import ImageSetKey, PixelsKey
from lightwell.errors import StorageError
from lightwell.stores.db.errors import misplaced
from lightwell.stores.db.tables import member, pixels, record
from lightwell.stores.db.validity import holds_in
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets import instances as instances_of
from lightwell.stores.image_sets import native_instances

_BATCH = 512

_MEMBERS: Select[Any] = (
    select(
        member.c.pixels,
        member.c.edits,
        record.c.instance_number,
        record.c.sop_instance_uid,
        pixels.c.frame_count,
        pixels.c.stored_syntax,
        instances_of.APART,
        instances_of.IS_ANOTHERS,
    )
    .select_from(member)
    .outerjoin(record, record.c.key == member.c.record)
    .outerjoin(pixels, pixels.c.key == member.c.pixels)
    .where(
        member.c.image_set == bindparam("set"),
        member.c.pixels.is_not(None),
        holds_in(member, bindparam("version")),
    )
)
_PAGES = (
    "SELECT p.key, p.pack, p.stored_syntax, p.frame_count, t.entries, t.checks, p.checksum_type, p.width,"
    f" p.height, {native_instances.PIXELS_STORE}"
    " FROM {pixels}, frame_table t WHERE t.pixels = p.key AND t.first_frame = 0"
)
_FIRST_PAGES = {
    # SQLite would go through the table by key: from json_each every key is one search.
    "sqlite": _PAGES.format(pixels="json_each(?) j CROSS JOIN pixels p ON p.key = j.value"),
    "postgresql": _PAGES.format(pixels="pixels p") + " AND p.key = ANY(%s)",
}


@dataclass(frozen=True, slots=True)
class InstanceFrames:
    """The pixels of one instance of a version. ``frame_count`` is 0 where they could not be split."""

    pixels: PixelsKey
    sop_instance_uid: str
    frame_count: int
    stored_syntax: str


def instances(conn: Connection, image_set: ImageSetKey, version: int) -> list[InstanceFrames]:
    """The instances of a version that have pixels, by InstanceNumber (those without one last), then by
    SOPInstanceUID; both as the version's edits have them. Raises `StorageError` where a row is lost, or
    another's.
    """
    found = []
    apart: dict[int, str] = {}
    for key, edits_z, number, uid, count, syntax, instance, is_anothers in native_instances.fetch_all(
        conn.execute(_MEMBERS, {"set": image_set, "version": version})
    ):
        if uid is None or count is None:
            raise StorageError(
                f"The database has lost the frames of an instance of version {version}; "
                "run `lightwell data verify`."
            )
        if is_anothers:
            raise misplaced(image_set, "a record or pixels of another image set")
        if edits_z is not None:
            edits = packed_edits.unpack(conn, image_set, edits_z)
            number = native_instances.instance_number(number, edits)
            uid = native_instances.sop_instance_uid(uid, edits)
        if instance is not None:
            apart[instance] = uid
        found.append(((number is None, number or 0, uid), InstanceFrames(key, uid, count, syntax)))
    if apart:
        instances_of.check(conn, image_set, apart)
    found.sort(key=lambda each: each[0])
    return [each for _, each in found]


def first_pages(conn: Connection, keys: Sequence[PixelsKey]) -> list[tuple[Any, ...]]:
    """Of each of these pixels that exists its key, and the row of `native_instances.FRAME_LOCATION_LOOK_UP`
    for its first page."""
    dialect = conn.dialect.name
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), _BATCH):
        some = list(keys[start : start + _BATCH])
        given = json.dumps(some) if dialect == "sqlite" else some
        rows += native_instances.fetch_all(conn.exec_driver_sql(_FIRST_PAGES[dialect], (given,)))
    return rows
