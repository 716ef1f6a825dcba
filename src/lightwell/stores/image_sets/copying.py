"""Copies: an image set made from another one, and members copied into an existing set.

`changes.open_sets` has locked both sets. Only keys are written: a copy names the records, pixels and level
values of its source. Copying a whole set is one statement, which writes nothing but its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Connection, Integer, func, insert, literal, select
from sqlalchemy.sql.elements import ColumnElement

from lightwell.domain.image_sets.edits import Edits
from lightwell.domain.keys import ImageSetKey, InstanceKey
from lightwell.domain.states import Origin, WorkflowStatus
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.errors import misplaced
from lightwell.stores.db.tables import instance, level, member, pixels, record
from lightwell.stores.db.validity import is_open
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets.changes import LockedImageSet
from lightwell.stores.image_sets.instances import IS_ANOTHERS
from lightwell.stores.image_sets.writing import (
    NewImageSet,
    NewMember,
    NewVersion,
    insert_image_set,
    insert_members,
)
from lightwell.stores.keys import values

if TYPE_CHECKING:
    from lightwell.sealing.values import ValueCipher


@dataclass(frozen=True, slots=True)
class MemberLevels:
    """The keys of a member's level values, patient first, and its edits."""

    levels: tuple[int, int, int]
    edits: Edits


def insert_copy(
    conn: Connection,
    source: LockedImageSet,
    *,
    key: ImageSetKey,
    id: str,
    is_primary: bool,
    version: NewVersion,
) -> None:
    """A set of the series of ``source`` at version 1.

    If ``version`` has failed, the set has no content and no search finds it. Otherwise its members and levels
    are to be added, and its search columns set. A primary set is one that imports put instances into.
    """
    new = NewImageSet(
        key=key,
        id=id,
        datastore=source.datastore,
        study=source.study,
        study_instance_uid=source.study_instance_uid,
        series_instance_uid=source.series_instance_uid,
        origin=Origin.IMPORT if is_primary else Origin.COPY,
        is_primary=is_primary,
        has_content=version.workflow_status == WorkflowStatus.COPIED,
    )
    insert_image_set(conn, new, version)


def check_own(conn: Connection, source: ImageSetKey, instances: Sequence[InstanceKey] | None) -> None:
    """Look that the source's members to be copied name their own: nobody could read what they came into.

    ``instances`` as in `source_members`. Raises `DamagedError` where one names a record or pixels of another
    data store, or other pixels than its record.
    """
    for conditions in _of_source(source, instances):
        found = conn.execute(
            select(member.c.instance)
            .join(record, record.c.key == member.c.record)
            .outerjoin(pixels, pixels.c.key == member.c.pixels)
            .where(*conditions, IS_ANOTHERS)
            .limit(1),
            {"set": source},
        )
        if found.first() is not None:
            raise misplaced(source, "a record or pixels of another image set")


def copy_levels(conn: Connection, source: ImageSetKey, key: ImageSetKey) -> None:
    """Give a new set the levels of the source, with their edits."""
    rows = select(
        literal(key, BigInteger), level.c.level, literal(1, Integer), level.c.base, level.c.edits
    ).where(level.c.image_set == source, is_open(level))
    conn.execute(insert(level).from_select(["image_set", "level", "valid_from", "base", "edits"], rows))


def copy_all_members(conn: Connection, source: ImageSetKey, key: ImageSetKey, number: int) -> int:
    """Add every member of the source, unchanged, from version ``number`` of the copy on. Returns how many."""
    rows = (
        select(
            literal(key, BigInteger),
            member.c.instance,
            literal(number, Integer),
            member.c.record,
            member.c.pixels,
            member.c.edits,
        )
        .where(member.c.image_set == source, is_open(member))
        .order_by(member.c.instance)
    )
    columns = ["image_set", "instance", "valid_from", "record", "pixels", "edits"]
    return conn.execute(insert(member).from_select(columns, rows)).rowcount


def source_members(
    conn: Connection, source: ImageSetKey, instances: Sequence[InstanceKey] | None
) -> list[NewMember]:
    """The source's members, those of the instances with these keys; None for all."""
    columns = (member.c.instance, member.c.record, member.c.pixels, member.c.edits)
    return [
        NewMember(*row)
        for conditions in _of_source(source, instances)
        for row in conn.execute(select(*columns).where(*conditions))
    ]


def copy_members(
    conn: Connection, key: ImageSetKey, number: int, members: Sequence[NewMember], more: Edits
) -> int:
    """Add the source's members, with ``more`` edits on top of theirs, from version ``number`` on.

    Returns how many there are.
    """
    sealer = values.sealer_of_set(conn, key) if more else None
    return insert_members(conn, key, number, _with_edits(conn, key, members, more, sealer))


def _with_edits(
    conn: Connection,
    key: ImageSetKey,
    members: Sequence[NewMember],
    more: Edits,
    sealer: ValueCipher | None,
) -> Iterator[NewMember]:
    merged_z: dict[bytes | None, bytes | None] = {}
    for each in sorted(members, key=lambda each: each.instance):
        if not more:
            yield each
            continue
        if each.edits_z not in merged_z:
            merged_z[each.edits_z] = packed_edits.pack(
                {**packed_edits.unpack(conn, key, each.edits_z), **more}, sealer
            )
        yield replace(each, edits_z=merged_z[each.edits_z])


def common_instance(
    conn: Connection, source: ImageSetKey, destination: ImageSetKey, instances: Sequence[InstanceKey] | None
) -> str | None:
    """The first SOPInstanceUID to be copied that the destination already has; None if there is none."""
    other = member.alias()
    for conditions in _of_source(source, instances):
        found = conn.execute(
            select(instance.c.sop_instance_uid)
            .select_from(member)
            .join(other, other.c.instance == member.c.instance)
            .join(instance, instance.c.key == member.c.instance)
            .where(*conditions, other.c.image_set == destination, is_open(other))
            .order_by(instance.c.sop_instance_uid)
            .limit(1)
        ).scalar()
        if found is not None:
            return str(found)
    return None


def frame_count(conn: Connection, source: ImageSetKey, instances: Sequence[InstanceKey] | None) -> int:
    """How many frames the source's members have in all."""
    return sum(
        conn.execute(
            select(func.coalesce(func.sum(pixels.c.frame_count), 0))
            .select_from(member)
            .join(pixels, pixels.c.key == member.c.pixels)
            .where(*conditions)
        ).scalar_one()
        for conditions in _of_source(source, instances)
    )


def distinct_levels(
    conn: Connection, source: ImageSetKey, instances: Sequence[InstanceKey] | None
) -> Iterator[MemberLevels]:
    """The distinct level values that the source's members were imported with, each with their edits."""
    for conditions in _of_source(source, instances):
        rows = conn.execute(
            select(record.c.patient_value, record.c.study_value, record.c.series_value, member.c.edits)
            .select_from(member)
            .join(record, record.c.key == member.c.record)
            .where(*conditions)
            .distinct()
        )
        for patient, study, series, edits in rows:
            yield MemberLevels((patient, study, series), packed_edits.unpack(conn, source, edits))


def _of_source(
    source: ImageSetKey, instances: Sequence[InstanceKey] | None
) -> Iterator[list[ColumnElement[bool]]]:
    conditions = [member.c.image_set == source, is_open(member)]
    if instances is None:
        yield conditions
        return
    for some in batches(instances):
        yield [*conditions, member.c.instance.in_(some)]
