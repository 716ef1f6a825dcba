"""The rows of an image set that hold in only one of two versions, found without reading their content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from lightwell.domain.keys import ImageSetKey, InstanceKey, PixelsKey, RecordKey
from lightwell.stores.db.tables import instance, level, member, record
from lightwell.stores.db.validity import holds, holds_in, holds_throughout

_LEVEL_VALUES = (record.c.patient_value, record.c.study_value, record.c.series_value)


@dataclass(frozen=True, slots=True)
class ComparedMember:
    """A member, and whether it holds in the older and in the newer of two versions."""

    instance: InstanceKey
    sop_instance_uid: str
    record: RecordKey
    pixels: PixelsKey | None
    number: int | None
    valid_from: int
    valid_to: int | None
    in_older: bool
    in_newer: bool


@dataclass(frozen=True, slots=True)
class ValidLevel:
    """A level of a version: 0 patient, 1 study, 2 series; ``base`` is the key of a level value."""

    level: int
    base: int
    valid_from: int


def levels(conn: Connection, key: ImageSetKey, version: int) -> dict[int, ValidLevel]:
    """The levels of a version, by number; none in a version without content."""
    rows = conn.execute(
        select(level.c.level, level.c.base, level.c.valid_from).where(
            level.c.image_set == key, holds_in(level, version)
        )
    )
    return {row.level: ValidLevel(*row) for row in rows}


def changed_members(conn: Connection, key: ImageSetKey, low: int, high: int) -> list[ComparedMember]:
    """The members that hold in exactly one of the two versions."""
    removed = and_(holds_in(member, low), member.c.valid_to <= high)
    added = and_(member.c.valid_from > low, holds_in(member, high))
    return _rows(conn, key, or_(removed, added), low, high)


def members_affected_by_levels(
    conn: Connection, key: ImageSetKey, low: int, high: int, bases: Mapping[int, Sequence[int]]
) -> list[ComparedMember]:
    """The members that hold in both versions and have edits, or on one of the levels in ``bases`` another
    value than one of the bases given there: what they show may depend on the level.
    """
    other = [_LEVEL_VALUES[number] != base for number, both in bases.items() for base in both]
    affected = or_(member.c.edits.is_not(None), *other)
    return _rows(conn, key, and_(holds_throughout(member, low, high), affected), low, high)


def unchanged_members(conn: Connection, key: ImageSetKey, low: int, high: int) -> list[ComparedMember]:
    """All members that hold in both versions and in those between."""
    return _rows(conn, key, holds_throughout(member, low, high), low, high)


def count(conn: Connection, key: ImageSetKey, version: int) -> int:
    """How many members a version has."""
    statement = (
        select(func.count()).select_from(member).where(member.c.image_set == key, holds_in(member, version))
    )
    return int(conn.execute(statement).scalar_one())


def _rows(
    conn: Connection, key: ImageSetKey, which: ColumnElement[bool], low: int, high: int
) -> list[ComparedMember]:
    statement = (
        select(
            member.c.instance,
            instance.c.sop_instance_uid,
            member.c.record,
            member.c.pixels,
            record.c.instance_number,
            member.c.valid_from,
            member.c.valid_to,
        )
        .join(instance, instance.c.key == member.c.instance)
        .join(record, record.c.key == member.c.record)
        .where(member.c.image_set == key, which)
    )
    return [
        ComparedMember(
            *row,
            in_older=holds(row.valid_from, row.valid_to, low),
            in_newer=holds(row.valid_from, row.valid_to, high),
        )
        for row in conn.execute(statement)
    ]
