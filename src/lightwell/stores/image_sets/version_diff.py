"""Which rows of an image set hold in one of two versions only; found without opening what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from lightwell.stores.db.tables import instance, level, member, record
from lightwell.stores.db.validity import holds, holds_in, holds_throughout

_LEVEL_VALUES = (record.c.patient_value, record.c.study_value, record.c.series_value)


@dataclass(frozen=True, slots=True)
class Row:
    """A member. ``at_low`` and ``at_high``: whether it holds in the older and in the newer version."""

    instance: int
    sop_instance_uid: str
    record: int
    pixels: int | None
    number: int | None
    valid_from: int
    valid_to: int | None
    at_low: bool
    at_high: bool


@dataclass(frozen=True, slots=True)
class LevelRow:
    """A level that holds: 0 patient, 1 study, 2 series; ``base`` is the key of a level value."""

    level: int
    base: int
    valid_from: int


def levels(conn: Connection, key: int, version: int) -> dict[int, LevelRow]:
    """The levels of a version, by number; none in a version without content."""
    rows = conn.execute(
        select(level.c.level, level.c.base, level.c.valid_from).where(
            level.c.image_set == key, holds_in(level, version)
        )
    )
    return {row.level: LevelRow(*row) for row in rows}


def moved(conn: Connection, key: int, low: int, high: int) -> list[Row]:
    """The members that hold in exactly one of the two versions."""
    removed = and_(holds_in(member, low), member.c.valid_to <= high)
    added = and_(member.c.valid_from > low, holds_in(member, high))
    return _rows(conn, key, or_(removed, added), low, high)


def beside(conn: Connection, key: int, low: int, high: int, bases: Mapping[int, Sequence[int]]) -> list[Row]:
    """The members that hold in both versions and have edits, or on one of the levels in ``bases`` another
    value than one of the bases given there: what they show may depend on the level.
    """
    other = [_LEVEL_VALUES[number] != base for number, both in bases.items() for base in both]
    affected = or_(member.c.edits.is_not(None), *other)
    return _rows(conn, key, and_(holds_throughout(member, low, high), affected), low, high)


def staying(conn: Connection, key: int, low: int, high: int) -> list[Row]:
    """All members that hold in both versions, and in those between."""
    return _rows(conn, key, holds_throughout(member, low, high), low, high)


def count(conn: Connection, key: int, version: int) -> int:
    """How many members a version has."""
    statement = (
        select(func.count()).select_from(member).where(member.c.image_set == key, holds_in(member, version))
    )
    return int(conn.execute(statement).scalar_one())


def _rows(conn: Connection, key: int, which: ColumnElement[bool], low: int, high: int) -> list[Row]:
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
        Row(
            *row,
            at_low=holds(row.valid_from, row.valid_to, low),
            at_high=holds(row.valid_from, row.valid_to, high),
        )
        for row in conn.execute(statement)
    ]
