"""The content of an image set: its members and levels, closed and opened for a new version.

A row holds in the versions ``valid_from <= v < valid_to``, and is open while ``valid_to`` is NULL (see
`stores.db.validity`). Every function takes the key of a set that `changes.open_sets` has locked, and the
number of the version that is being made. Nothing here costs more in a set of 5,000 instances than in one of
5, except `restore`. For levels whose first member is closed, see `level_inheritance`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, func, insert, select, text, update

from lightwell.domain.image_sets.edits import Edits, apply_edits
from lightwell.domain.image_sets.search_columns import SearchColumns, columns_of_levels
from lightwell.domain.keys import ImageSetKey, InstanceKey, PixelsKey, RecordKey
from lightwell.errors import StorageError
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.errors import misplaced
from lightwell.stores.db.tables import instance, level, level_value, member
from lightwell.stores.db.validity import holds_in_sql, is_open
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets import instances, records
from lightwell.stores.image_sets.writing import NewMember, insert_members
from lightwell.stores.keys import values

# "o" held at the target; rows are the same if record (or base) and edits are.
_SAME_EDITS = "(o.edits = n.edits OR (o.edits IS NULL AND n.edits IS NULL))"
_HELD = holds_in_sql("o", ":target")
_CLOSE_OTHERS = [
    text(
        f"""
UPDATE {table} AS n SET valid_to = :number
WHERE n.image_set = :set AND n.valid_to IS NULL AND n.valid_from > :target AND NOT EXISTS (
    SELECT 1 FROM {table} o
    WHERE o.image_set = n.image_set AND o.{key} = n.{key} AND o.{content} = n.{content}
      AND {_SAME_EDITS} AND {_HELD})
"""
    )
    for table, key, content in (("member", "instance", "record"), ("level", "level", "base"))
]
_OPEN_AGAIN = [
    text(
        f"""
INSERT INTO {table} (image_set, {key}, valid_from, valid_to, {content})
SELECT o.image_set, o.{key}, CAST(:number AS INTEGER), NULL, {content} FROM {table} o
WHERE o.image_set = :set AND o.valid_from <= :target AND o.valid_to > :target AND NOT EXISTS (
    SELECT 1 FROM {table} n WHERE n.image_set = :set AND n.{key} = o.{key} AND n.valid_to IS NULL)
"""
    )
    for table, key, content in (
        ("member", "instance", "record, pixels, edits"),
        ("level", "level", "base, edits"),
    )
]


@dataclass(frozen=True, slots=True)
class Level:
    """An open level: 0 patient, 1 study, 2 series; ``base`` is the key of a level value."""

    level: int
    base: int
    edits: Edits


@dataclass(frozen=True, slots=True)
class OpenMember:
    """An open member. ``sop_instance_uid`` is its current one."""

    instance: InstanceKey
    sop_instance_uid: str
    record: RecordKey
    pixels: PixelsKey | None
    edits: Edits


def open_levels(conn: Connection, key: ImageSetKey) -> list[Level]:
    """The three open levels, patient first. Raises `StorageError` if one is missing or another's."""
    rows = conn.execute(
        select(
            level.c.level,
            level.c.base,
            level.c.edits,
            (level_value.c.datastore != instances.OWN_STORE).label("is_anothers"),
        )
        .outerjoin(level_value, level_value.c.key == level.c.base)
        .where(level.c.image_set == key, is_open(level))
        .order_by(level.c.level),
        {"set": key},
    ).all()
    if [row.level for row in rows] != [0, 1, 2]:
        raise StorageError(
            "The database has lost a level block of an image set; run `lightwell data verify`."
        )
    if any(row.is_anothers for row in rows):
        raise misplaced(key, "a patient, study or series of another data store")
    return [Level(row.level, row.base, packed_edits.unpack(conn, key, row.edits)) for row in rows]


def replace_level(conn: Connection, key: ImageSetKey, number: int, row: Level) -> None:
    """Replace the open row of a level by ``row`` from version ``number`` on."""
    this = and_(level.c.image_set == key, level.c.level == row.level, is_open(level))
    changed = {
        "base": row.base,
        "edits": packed_edits.pack(row.edits, values.sealer_of_set(conn, key) if row.edits else None),
    }
    if conn.execute(update(level).where(this, level.c.valid_from == number).values(changed)).rowcount:
        return
    conn.execute(update(level).where(this).values(valid_to=number))
    conn.execute(
        insert(level),
        {"image_set": key, "level": row.level, "valid_from": number, "valid_to": None, **changed},
    )


def open_members(conn: Connection, key: ImageSetKey, uids: Iterable[str]) -> dict[str, OpenMember]:
    """The open members with these SOPInstanceUIDs, by UID."""
    found: dict[str, OpenMember] = {}
    for some in batches(sorted(set(uids))):
        rows = conn.execute(
            select(
                member.c.instance,
                instance.c.sop_instance_uid,
                member.c.record,
                member.c.pixels,
                member.c.edits,
            )
            .join(instance, instance.c.key == member.c.instance)
            .where(
                member.c.image_set == key,
                is_open(member),
                instance.c.sop_instance_uid.in_(some),
            )
        )
        for row in rows:
            found[row.sop_instance_uid] = OpenMember(*row[:4], packed_edits.unpack(conn, key, row.edits))
    return found


def close_members(conn: Connection, key: ImageSetKey, number: int, instances: Sequence[InstanceKey]) -> int:
    """Close members at version ``number``; returns how many.

    Those opened in this very version are deleted.
    """
    closed = 0
    for some in batches(instances):
        these = and_(member.c.image_set == key, is_open(member), member.c.instance.in_(some))
        closed += conn.execute(delete(member).where(these, member.c.valid_from == number)).rowcount
        closed += conn.execute(update(member).where(these).values(valid_to=number)).rowcount
    return closed


def add_members(conn: Connection, key: ImageSetKey, number: int, members: Sequence[OpenMember]) -> None:
    """Add members from version ``number`` on.

    Raises IntegrityError if the set already has one of the instances.
    """
    sealer = values.sealer_of_set(conn, key) if any(each.edits for each in members) else None
    new = (
        NewMember(each.instance, each.record, each.pixels, packed_edits.pack(each.edits, sealer))
        for each in members
    )
    insert_members(conn, key, number, new)


def restore(conn: Connection, key: ImageSetKey, number: int, target: int) -> None:
    """Make version ``number`` equal to ``target``, an older version.

    Rows that are the same in both, by record and edits, stay as they are.
    """
    of = {"set": key, "number": number, "target": target}
    for statement in (*_CLOSE_OTHERS, *_OPEN_AGAIN):
        conn.execute(statement, of)


def count(conn: Connection, key: ImageSetKey) -> int:
    """How many open members there are."""
    return int(
        conn.execute(
            select(func.count()).select_from(member).where(member.c.image_set == key, is_open(member))
        ).scalar_one()
    )


def shown_levels(conn: Connection, key: ImageSetKey, levels: Sequence[Level]) -> list[dict[str, object]]:
    """The ``DICOM`` objects of levels of a set, with their edits applied."""
    bodies = records.level_bodies(conn, {row.base for row in levels}, key)
    found = []
    for row in levels:
        body = bodies.get(row.base)
        if body is None:
            raise StorageError("The database has lost a level block; run `lightwell data verify`.")
        found.append(apply_edits(json.loads(body), row.edits))
    return found


def search_columns(conn: Connection, key: ImageSetKey) -> SearchColumns:
    """The search columns of the open levels."""
    return columns_of_levels(*shown_levels(conn, key, open_levels(conn, key)))
