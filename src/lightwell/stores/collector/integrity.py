"""The stored data as `lightwell data verify` reads it: in bounded pages, packs in key order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, or_, select, tuple_, update

from lightwell.domain.image_sets.frame_table import ENTRY_SIZE
from lightwell.domain.integrity import MadeChecks, PackToVerify, PixelsToVerify, RecordToVerify, SharedValues
from lightwell.domain.states import DatastoreStatus, ImageSetState, PackState
from lightwell.errors import DamagedError, StorageError
from lightwell.stores.collector import references
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.tables import (
    datastore,
    dictionary,
    frame_table,
    image_set,
    instance,
    level_value,
    member,
    pack,
    pixels,
    record,
    version,
)
from lightwell.stores.image_sets import native_instances
from lightwell.stores.image_sets.edits import unpack
from lightwell.stores.integrity import primary_rule, shown_content
from lightwell.stores.keys import values
from lightwell.stores.keys.job_values import NO_KEY
from lightwell.stores.qido import index_check


def packs(conn: Connection, after: int, limit: int) -> list[PackToVerify]:
    """Live packs after the key ``after`` (-1 to begin)."""
    rows = conn.execute(
        select(pack.c.key, pack.c.datastore, pack.c.size, pack.c.checksum)
        .where(pack.c.state == PackState.LIVE, pack.c.key > after)
        .order_by(pack.c.key)
        .limit(limit)
    )
    return [PackToVerify(*row) for row in rows]


def live_pack(conn: Connection, key: int) -> PackToVerify | None:
    """A live pack; None where it has gone."""
    row = conn.execute(
        select(pack.c.key, pack.c.datastore, pack.c.size, pack.c.checksum).where(
            pack.c.state == PackState.LIVE, pack.c.key == key
        )
    ).first()
    return None if row is None else PackToVerify(*row)


def is_of_deleted(conn: Connection, held: PackToVerify) -> bool:
    """Whether the data store of a pack was deleted, and its keys with it."""
    status = conn.execute(select(datastore.c.status).where(datastore.c.key == held.datastore)).scalar()
    return status == DatastoreStatus.DELETED


def pack_bytes(conn: Connection) -> int:
    """The size of all live packs in bytes."""
    total = select(func.coalesce(func.sum(pack.c.size), 0)).where(pack.c.state == PackState.LIVE)
    return int(conn.execute(total).scalar_one())


def records(conn: Connection, pack_key: int) -> list[RecordToVerify]:
    """The records whose original is in a pack."""
    rows = conn.execute(
        select(record, pixels)
        .outerjoin(pixels, pixels.c.key == record.c.pixels)
        .where(record.c.pack == pack_key)
        .order_by(record.c.original_offset)
    ).all()
    pages: dict[int, list[tuple[bytes, bytes | None]]] = defaultdict(list)
    keys = [row._mapping[pixels.c.key] for row in rows if row._mapping[pixels.c.key] is not None]
    for some in batches(sorted(set(keys))):
        table = frame_table.c
        found = conn.execute(
            select(table.pixels, table.entries, table.checks)
            .where(table.pixels.in_(some))
            .order_by(table.pixels, table.first_frame)
        )
        for key, entries, checks in found:
            pages[key].append((entries, checks))
    return [_record(conn, row._mapping, pages) for row in rows]


def unchecked(conn: Connection, after: tuple[int, int], limit: int) -> list[PixelsToVerify]:
    """Rows of the frame table that have no checks, each with its pixels, after (pixels, first frame)."""
    table = frame_table.c
    rows = conn.execute(
        select(pixels, table.entries, table.first_frame)
        .join(frame_table, table.pixels == pixels.c.key)
        .where(table.checks.is_(None), tuple_(table.pixels, table.first_frame) > after)
        .order_by(table.pixels, table.first_frame)
        .limit(limit)
    )
    return [
        PixelsToVerify(
            row.key,
            row.pack,
            row.stored_syntax,
            row.frame_count,
            row.checksum_type,
            row.image,
            [row.entries],
            [None],
            row.first_frame,
        )
        for row in rows
    ]


def count_unchecked(conn: Connection) -> int:
    """How many frames have no checksum of their stored bytes."""
    size = func.coalesce(func.sum(func.length(frame_table.c.entries)), 0)
    return int(conn.execute(select(size).where(frame_table.c.checks.is_(None))).scalar_one()) // ENTRY_SIZE


def set_checks(conn: Connection, made: Sequence[MadeChecks]) -> None:
    """Write the checks of rows that have none; what has gone meanwhile is left out."""
    if not made:
        return
    table = frame_table.c
    conn.execute(
        update(frame_table)
        .where(
            table.pixels == bindparam("of"),
            table.first_frame == bindparam("first"),
            table.checks.is_(None),
        )
        .values(checks=bindparam("made")),
        [{"of": each.pixels, "first": each.first_frame, "made": each.checks} for each in made],
    )


def _record(conn: Connection, row: Any, pages: dict[int, list[tuple[bytes, bytes | None]]]) -> RecordToVerify:
    held, lost = None, []
    key = row[pixels.c.key]
    if key is not None:
        held = PixelsToVerify(
            key,
            row[pixels.c.pack],
            row[pixels.c.stored_syntax],
            row[pixels.c.frame_count],
            row[pixels.c.checksum_type],
            row[pixels.c.image],
            [entries for entries, _ in pages[key]],
            [checks for _, checks in pages[key]],
            width=row[pixels.c.width],
            height=row[pixels.c.height],
        )
    elif row[record.c.pixels] is not None:
        lost.append("its pixels")
    return RecordToVerify(
        row[record.c.key],
        row[record.c.sop_instance_uid],
        row[record.c.pack],
        row[record.c.original_offset],
        row[record.c.original_length],
        _opened(conn, values.OVERRIDE, row[record.c.key], row[record.c.override_z]),
        _opened(conn, values.FRAGMENT, row[record.c.key], row[record.c.fragment_z]) or b"",
        row[record.c.dictionary],
        _opened(conn, values.DICOM, row[record.c.key], row[record.c.dicom_z]),
        row[record.c.dicom_dictionary],
        (row[record.c.patient_value], row[record.c.study_value], row[record.c.series_value]),
        held,
        lost,
        row[record.c.sop_class_uid],
        row[record.c.instance_number],
    )


def _opened(conn: Connection, place: bytes, row: int, value: bytes | None) -> bytes | None:
    """A value of a row; empty, which is a fault wherever it is read, if it is damaged."""
    try:
        return None if value is None else values.opened(conn, place, row, value)
    except DamagedError:
        return b""


def bodies(conn: Connection, held: Iterable[RecordToVerify]) -> SharedValues:
    """The dictionaries and level values that records refer to; lost ones are left out."""
    found = SharedValues({}, {})
    held = list(held)
    named = {key for each in held for key in (each.dictionary, each.dicom_dictionary)}
    dictionaries = [key for key in named if key is not None]
    for some in batches(sorted(dictionaries)):
        query = select(dictionary.c.key, dictionary.c.bytes).where(dictionary.c.key.in_(some))
        found.dictionaries.update(
            (key, _opened(conn, values.DICTIONARY, key, body) or b"") for key, body in conn.execute(query)
        )
    for some in batches(sorted({key for each in held for key in each.levels})):
        query = select(level_value.c.key, level_value.c.body_z).where(level_value.c.key.in_(some))
        found.levels.update(
            (key, _opened(conn, values.LEVEL, key, body) or b"") for key, body in conn.execute(query)
        )
    return found


def sets(conn: Connection, after: int, limit: int) -> list[tuple[int, str, str]]:
    """(key, id, data store id) of image sets that are not deleted, behind the key ``after``."""
    rows = conn.execute(
        select(image_set.c.key, image_set.c.id, datastore.c.id)
        .join(datastore, datastore.c.key == image_set.c.datastore)
        .where(image_set.c.state == ImageSetState.ACTIVE, image_set.c.key > after)
        .order_by(image_set.c.key)
        .limit(limit)
    )
    return [tuple(row) for row in rows]


@dataclass(frozen=True, slots=True)
class ConcernedSet:
    """An image set that a fault concerns, and whose study it is."""

    datastore_id: str
    id: str
    patient_id: str | None
    study_instance_uid: str | None


_CONCERNED = (datastore.c.id, image_set.c.id, image_set.c.patient_id, image_set.c.study_instance_uid)


def named(conn: Connection, image_set_keys: Iterable[int]) -> dict[int, ConcernedSet]:
    """The undeleted ones of these image sets, by key."""
    found: dict[int, ConcernedSet] = {}
    for some in batches(sorted(set(image_set_keys))):
        rows = conn.execute(
            select(image_set.c.key, *_CONCERNED)
            .join(datastore, datastore.c.key == image_set.c.datastore)
            .where(image_set.c.key.in_(some), image_set.c.state == ImageSetState.ACTIVE)
        )
        found.update((key, ConcernedSet(*columns)) for key, *columns in rows)
    return found


def records_in(conn: Connection, pack_keys: Iterable[int]) -> dict[int, list[int]]:
    """The keys of the records whose originals or frames lie in packs, by pack."""
    found: dict[int, list[int]] = defaultdict(list)
    for some in batches(sorted(set(pack_keys))):
        rows = conn.execute(select(record.c.pack, record.c.key).where(record.c.pack.in_(some)))
        for of, key in rows:
            found[of].append(key)
    return dict(found)


def uids(conn: Connection, record_keys: Iterable[int]) -> dict[int, str]:
    """The SOPInstanceUIDs with which records came."""
    found: dict[int, str] = {}
    for some in batches(sorted(set(record_keys))):
        rows = conn.execute(select(record.c.key, record.c.sop_instance_uid).where(record.c.key.in_(some)))
        found.update((key, uid) for key, uid in rows)
    return found


def datastore_of(conn: Connection, image_set_key: int) -> int:
    """The key of the data store of an image set."""
    of = select(image_set.c.datastore).where(image_set.c.key == image_set_key)
    return int(conn.execute(of).scalar_one())


def sets_of(conn: Connection, record_keys: Iterable[int]) -> dict[int, list[ConcernedSet]]:
    """The undeleted image sets that refer to records, by record.

    Reads all members: for the few records that have a fault.
    """
    found: dict[int, list[ConcernedSet]] = defaultdict(list)
    for some in batches(sorted(set(record_keys))):
        rows = conn.execute(
            select(member.c.record, *_CONCERNED)
            .join(image_set, image_set.c.key == member.c.image_set)
            .join(datastore, datastore.c.key == image_set.c.datastore)
            .where(member.c.record.in_(some), image_set.c.state == ImageSetState.ACTIVE)
            .distinct()
        )
        for key, *columns in rows:
            found[key].append(ConcernedSet(*columns))
    return dict(found)


def are_live(conn: Connection, keys: Sequence[int]) -> set[int]:
    """Which of these packs are still live: one may have been collected since."""
    return set(
        conn.execute(select(pack.c.key).where(pack.c.key.in_(keys), pack.c.state == PackState.LIVE)).scalars()
    )


def faults_of_set(conn: Connection, key: int) -> list[str]:
    """What is missing or inconsistent among an image set's rows; empty if the set has been deleted since.

    Raises one of `NO_KEY` where that cannot be told without a key, which is no fault of the set.
    """
    row = conn.execute(select(image_set).where(image_set.c.key == key)).first()
    if row is None or row.state != ImageSetState.ACTIVE:
        return []
    return [*faults_of_content(conn, row), *shown_content.faults_of_columns(conn, row), *_index(conn, row)]


def faults_of_content(conn: Connection, row: Any) -> list[str]:
    """Of these those from which the rest, by which it is found, is made."""
    return [
        *_versions(conn, row),
        *_lost_of_members(conn, row.key),
        *_wrong_members(conn, row.key),
        *references.faults_of_set(conn, row),
        *shown_content.faults_of_content(conn, row),
        *primary_rule.faults_of_content(conn, row),
    ]


def _index(conn: Connection, row: Any) -> list[str]:
    try:
        return index_check.faults_of_set(conn, row)
    except NO_KEY:
        raise
    except (StorageError, ValueError) as error:
        return [f"its part of DICOMweb's index cannot be compared: {error}"]


def _wrong_members(conn: Connection, key: int) -> list[str]:
    """Members that name the record of another instance."""
    rows = conn.execute(
        select(member.c.edits, instance.c.sop_instance_uid, record.c.sop_instance_uid)
        .join(instance, instance.c.key == member.c.instance)
        .join(record, record.c.key == member.c.record)
        .where(
            member.c.image_set == key,
            or_(member.c.edits.is_not(None), instance.c.sop_instance_uid != record.c.sop_instance_uid),
        )
    )
    wrong = 0
    for edits, uid, came_with in rows:
        try:
            wrong += native_instances.sop_instance_uid(came_with, unpack(conn, key, edits)) != uid
        except NO_KEY:
            raise
        except StorageError as error:
            return [str(error)]
    return [f"{wrong} members name the records of other instances"] if wrong else []


def _versions(conn: Connection, row: Any) -> list[str]:
    numbers = conn.execute(select(version.c.number).where(version.c.image_set == row.key)).scalars()
    missing = set(range(1, row.latest_version + 1)) ^ set(numbers)
    return [f"versions {sorted(missing)} are missing or superfluous"] if missing else []


def _lost_of_members(conn: Connection, key: int) -> list[str]:
    faults = []
    for name, table, column in (
        ("records", record, member.c.record),
        ("pixels", pixels, member.c.pixels),
        ("instances", instance, member.c.instance),
    ):
        count = conn.execute(
            select(func.count())
            .select_from(member)
            .outerjoin(table, table.c.key == column)
            .where(member.c.image_set == key, column.is_not(None), table.c.key.is_(None))
        ).scalar_one()
        if count:
            faults.append(f"{count} members name {name} that are lost")
    return faults
