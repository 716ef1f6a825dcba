"""The statements of a copy: a set made from another one, and members taken over from it.

Both sets are locked by `revisions.open_sets`. Only keys are written: a copy names the records, pixels and
level values of its source. Everything at once costs one statement, whose rows are all that is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, Integer, func, insert, literal, select, update
from sqlalchemy.sql.elements import ColumnElement

from lightwell.domain.image_sets.edits import Edits
from lightwell.domain.image_sets.search_columns import SearchColumns
from lightwell.stores.db.bulk import batches, insert_many
from lightwell.stores.db.tables import image_set, instance, level, member, pixels, record, version
from lightwell.stores.image_sets import edits as packed
from lightwell.stores.image_sets.changes import LockedImageSet
from lightwell.stores.image_sets.validity import is_open


@dataclass(frozen=True, slots=True)
class CopiedMember:
    """A member of the source; ``edits`` as the column holds them."""

    instance: int
    record: int
    pixels: int | None
    edits: bytes | None


@dataclass(frozen=True, slots=True)
class Blocks:
    """The level values of a member, patient first, with its edits."""

    levels: tuple[int, int, int]
    edits: Edits


def add_set(
    conn: Connection,
    source: LockedImageSet,
    *,
    key: int,
    id: str,
    is_primary: bool,
    caller: str,
    now: int,
    forced: bool | None,
    failure: str | None = None,
) -> None:
    """A set of the series of ``source`` at version 1.

    With ``failure`` it has no content and no search finds it. Otherwise its members and levels are to be
    added, and its columns filled in. A set that is primary takes its place among those that imports join.
    """
    conn.execute(
        insert(image_set),
        {
            "key": key,
            "id": id,
            "datastore": source.datastore,
            "study": source.study,
            "study_instance_uid": source.study_instance_uid,
            "series_instance_uid": source.series_instance_uid,
            "origin": "import" if is_primary else "copy",
            "is_primary": is_primary,
            "state": "ACTIVE",
            "latest_version": 1,
            "readable_version": 1 if failure is None else 0,
            "created_at": now,
            "updated_at": now,
            "last_accessed_at": now,
            "listed_in": source.datastore if failure is None else None,
            "instance_count": 0,
        },
    )
    conn.execute(
        insert(version),
        {
            "image_set": key,
            "number": 1,
            "workflow_status": "COPIED" if failure is None else "COPY_FAILED",
            "message": failure,
            "forced": forced,
            "caller": caller,
            "created_at": now,
        },
    )


def add_levels(conn: Connection, source: int, key: int) -> None:
    """The levels of the source, edits and all, as those of a new set."""
    rows = select(
        literal(key, BigInteger), level.c.level, literal(1, Integer), level.c.base, level.c.edits
    ).where(level.c.image_set == source, is_open(level))
    conn.execute(insert(level).from_select(["image_set", "level", "valid_from", "base", "edits"], rows))


def add_all_members(conn: Connection, source: int, key: int, number: int) -> int:
    """Every member of the source, as it is, from version ``number`` of the other set on; how many."""
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


def members(conn: Connection, source: int, instances: Sequence[int] | None) -> list[CopiedMember]:
    """Those members of the source that are named by the keys of their instances; None for all."""
    columns = (member.c.instance, member.c.record, member.c.pixels, member.c.edits)
    return [
        CopiedMember(*row)
        for these in _held(source, instances)
        for row in conn.execute(select(*columns).where(*these))
    ]


def add_members(conn: Connection, key: int, number: int, members: Sequence[CopiedMember], more: Edits) -> int:
    """Members of the source with ``more`` edits on top of theirs, from version ``number`` on; how many."""
    known: dict[bytes | None, bytes | None] = {}
    rows = []
    for each in sorted(members, key=lambda each: each.instance):
        if each.edits not in known:
            merged = {**packed.unpack(each.edits), **more} if more else None
            known[each.edits] = each.edits if merged is None else packed.pack(merged)
        rows.append(
            {
                "image_set": key,
                "instance": each.instance,
                "valid_from": number,
                "valid_to": None,
                "record": each.record,
                "pixels": each.pixels,
                "edits": known[each.edits],
            }
        )
    insert_many(conn, member, rows)
    return len(rows)


def in_both(conn: Connection, source: int, destination: int, instances: Sequence[int] | None) -> str | None:
    """A SOPInstanceUID that is to be copied and stands in the destination already."""
    other = member.alias()
    for these in _held(source, instances):
        found = conn.execute(
            select(instance.c.sop_instance_uid)
            .select_from(member)
            .join(other, other.c.instance == member.c.instance)
            .join(instance, instance.c.key == member.c.instance)
            .where(*these, other.c.image_set == destination, is_open(other))
            .order_by(instance.c.sop_instance_uid)
            .limit(1)
        ).scalar()
        if found is not None:
            return str(found)
    return None


def frame_count(conn: Connection, source: int, instances: Sequence[int] | None) -> int:
    """How many frames the members have together."""
    return sum(
        conn.execute(
            select(func.coalesce(func.sum(pixels.c.frame_count), 0))
            .select_from(member)
            .join(pixels, pixels.c.key == member.c.pixels)
            .where(*these)
        ).scalar_one()
        for these in _held(source, instances)
    )


def blocks(conn: Connection, source: int, instances: Sequence[int] | None) -> Iterator[Blocks]:
    """The different level blocks that the members came with."""
    for these in _held(source, instances):
        rows = conn.execute(
            select(record.c.patient_value, record.c.study_value, record.c.series_value, member.c.edits)
            .select_from(member)
            .join(record, record.c.key == member.c.record)
            .where(*these)
            .distinct()
        )
        for patient, study, series, edits in rows:
            yield Blocks((patient, study, series), packed.unpack(edits))


def _held(source: int, instances: Sequence[int] | None) -> Iterator[list[ColumnElement[bool]]]:
    these = [member.c.image_set == source, is_open(member)]
    if instances is None:
        yield these
        return
    for some in batches(instances):
        yield [*these, member.c.instance.in_(some)]


def fill(conn: Connection, key: int, columns: SearchColumns, instance_count: int) -> None:
    """Write the search columns of a new set, once it has content."""
    values = {**columns.as_row(), "instance_count": instance_count}
    conn.execute(update(image_set).where(image_set.c.key == key).values(values))
