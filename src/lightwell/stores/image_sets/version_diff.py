"""The rows of an image set that hold in only one of two versions, and how much each version holds and
changes; found without reading what they hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from lightwell.domain.keys import ImageSetKey, InstanceKey, PixelsKey, RecordKey
from lightwell.stores.db.tables import instance, level, member, pixels, record
from lightwell.stores.db.validity import holds, holds_in, holds_throughout, is_open

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


@dataclass(frozen=True, slots=True)
class VersionRows:
    """What the versions of a set begin and end, by version number.

    ``opened`` and ``closed`` count instances, ``levels`` are the numbers of the levels that a version
    changed: 0 patient, 1 study, 2 series.
    """

    opened: Mapping[int, int]
    closed: Mapping[int, int]
    levels: Mapping[int, frozenset[int]]

    def instance_count(self, version: int) -> int:
        """How many instances a version has."""
        begun = sum(count for number, count in self.opened.items() if number <= version)
        return begun - sum(count for number, count in self.closed.items() if number <= version)


@dataclass(frozen=True, slots=True)
class Content:
    """What a version holds. ``syntaxes`` are the transfer syntaxes in which its frames are stored."""

    instances: int
    images: int
    frames: int
    syntaxes: tuple[str, ...]


def version_rows(conn: Connection, key: ImageSetKey) -> VersionRows:
    """What each version of a set begins and ends."""
    opened = conn.execute(
        select(member.c.valid_from, func.count())
        .where(member.c.image_set == key)
        .group_by(member.c.valid_from)
    )
    closed = conn.execute(
        select(member.c.valid_to, func.count())
        .where(member.c.image_set == key, member.c.valid_to.is_not(None))
        .group_by(member.c.valid_to)
    )
    levels: dict[int, set[int]] = {}
    for number, version in conn.execute(
        select(level.c.level, level.c.valid_from).where(level.c.image_set == key)
    ):
        levels.setdefault(version, set()).add(number)
    return VersionRows(
        {version: count for version, count in opened},
        {version: count for version, count in closed},
        {version: frozenset(numbers) for version, numbers in levels.items()},
    )


def content(conn: Connection, key: ImageSetKey, version: int) -> Content:
    """What a version holds."""
    rows = conn.execute(
        select(
            pixels.c.stored_syntax,
            func.count(),
            func.count(pixels.c.key),
            func.coalesce(func.sum(pixels.c.frame_count), 0),
        )
        .select_from(member)
        .outerjoin(pixels, pixels.c.key == member.c.pixels)
        .where(member.c.image_set == key, holds_in(member, version))
        .group_by(pixels.c.stored_syntax)
        .order_by(pixels.c.stored_syntax)
    ).all()
    return Content(
        instances=sum(row[1] for row in rows),
        images=sum(row[2] for row in rows),
        frames=sum(int(row[3]) for row in rows),
        syntaxes=tuple(row[0] for row in rows if row[0] is not None),
    )


def level_values(conn: Connection, key: ImageSetKey, number: int, most: int) -> list[tuple[int, int]]:
    """The level values that the open members came with on a level, each with how many have it; at most
    ``most``, the frequent ones first.
    """
    column = _LEVEL_VALUES[number]
    rows = conn.execute(
        select(column, func.count())
        .select_from(member)
        .join(record, record.c.key == member.c.record)
        .where(member.c.image_set == key, is_open(member))
        .group_by(column)
        .order_by(func.count().desc(), column)
        .limit(most)
    )
    return [(value, count) for value, count in rows]
