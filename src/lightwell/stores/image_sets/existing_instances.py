"""Instances that the data store already has when a file with their UIDs is imported again.

A record made for such a file may refer to the existing pixels and original (`protect_shared`), so that no
bytes are stored twice. Whether the file changes the image set is decided when it is merged
(`unchanged_records`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import zstandard
from sqlalchemy import Connection, Row, Select, bindparam, select

from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.records import NewRecord, StoredPixels
from lightwell.domain.keys import InstanceKey, RecordKey
from lightwell.domain.states import ImageSetState, PackState
from lightwell.errors import StorageError
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.tables import (
    dictionary,
    image_set,
    instance,
    level,
    level_value,
    member,
    pack,
    pixels,
    record,
)
from lightwell.stores.db.validity import is_open
from lightwell.stores.image_sets import instances, part10_instances
from lightwell.stores.image_sets.importing import StagedInstance
from lightwell.stores.image_sets.records import decompress
from lightwell.stores.objects import packs

_MAX_SETS = 4  # how many image sets of a series are searched for an instance


class SharedBytesGone(StorageError):
    """What a file was found to equal has been collected since: the file has to be read again."""


# With the instance's key, or NULL if it is new: a file that is imported for the first time costs one
# statement.
_SERIES = (
    select(
        image_set.c.key,
        select(instance.c.key)
        .where(
            instance.c.datastore == bindparam("datastore"), instance.c.sop_instance_uid == bindparam("uid")
        )
        .scalar_subquery()
        .label("instance"),
    )
    .where(
        image_set.c.datastore == bindparam("datastore"),
        image_set.c.series_instance_uid == bindparam("series"),
        image_set.c.study_instance_uid == bindparam("study"),
        image_set.c.state == ImageSetState.ACTIVE,
    )
    .order_by(image_set.c.is_primary.desc(), image_set.c.created_at, image_set.c.key)
    .limit(_MAX_SETS)
)
_patient, _study, _series = (level_value.alias(name) for name in ("patient", "study", "series"))
_own_pack, _pixel_pack = pack.alias(), pack.alias()
_PIXELS = tuple(
    pixels.c[name]
    for name in (
        "key",
        "pack",
        "stored_syntax",
        "frame_count",
        "checksum_type",
        "width",
        "height",
        "image",
        "decoder",
    )
)
_INSTANCES: Select[Any] = (
    select(
        member.c.image_set,
        record.c.pack.label("original_pack"),
        record.c.original_offset,
        record.c.original_length,
        record.c.override_z,
        record.c.fragment_z,
        record.c.dictionary,
        record.c.dicom_z,
        record.c.dicom_dictionary,
        _patient.c.hash.label("patient"),
        _study.c.hash.label("study"),
        _series.c.hash.label("series"),
        member.c.pixels,
        _pixel_pack.c.state,
        *(column.label(f"pixels_{column.name}") for column in _PIXELS),
    )
    .select_from(member)
    .join(record, record.c.key == member.c.record)
    .join(_own_pack, _own_pack.c.key == record.c.pack)
    .join(_patient, _patient.c.key == record.c.patient_value)
    .join(_study, _study.c.key == record.c.study_value)
    .join(_series, _series.c.key == record.c.series_value)
    .outerjoin(pixels, pixels.c.key == member.c.pixels)
    .outerjoin(_pixel_pack, _pixel_pack.c.key == pixels.c.pack)
    .where(
        member.c.image_set.in_(bindparam("sets", expanding=True)),
        member.c.instance == bindparam("instance"),
        is_open(member),
        _own_pack.c.state.in_((PackState.OPEN, PackState.LIVE)),
    )
)


def find(
    conn: Connection, datastore: int, study: str, series: str, sop_instance_uid: str
) -> list[ExistingInstance] | None:
    """The instances with these UIDs in the latest versions of image sets, primary set first.

    None where the data store has no image set of the series at all.
    """
    named = {"datastore": datastore, "study": study, "series": series, "uid": sop_instance_uid}
    of_series = conn.execute(_SERIES, named).all()
    if not of_series:
        return None
    key = of_series[0].instance
    if key is None:
        return []
    sets = [row.key for row in of_series]
    rows = conn.execute(_INSTANCES, {"sets": sets, "instance": key}).all()
    return [
        _existing(conn, row)
        for row in sorted(rows, key=lambda row: sets.index(row.image_set))
        # An instance that has lost its pixels, or is about to, equals nothing.
        if row.pixels is None or row.state in (PackState.OPEN, PackState.LIVE)
    ]


def missing_uids(conn: Connection, datastore: int, uids: Sequence[str]) -> list[str]:
    """Those SOPInstanceUIDs that the data store has no instance of."""
    known = instances.find_keys(conn, datastore, uids)
    return [uid for uid in uids if uid not in known]


def _existing(conn: Connection, row: Row[Any]) -> ExistingInstance:
    found = None
    if row.pixels is not None:
        named = {column.name: getattr(row, f"pixels_{column.name}") for column in _PIXELS}
        table = part10_instances.read_frame_table(conn, row.pixels)
        found = StoredPixels(**named, pages=list(table.pages), checks=list(table.checks))
    dicom = None if row.dicom_z is None else _digest(conn, row.dicom_z, row.dicom_dictionary)
    return ExistingInstance(
        row.original_pack,
        row.original_offset,
        row.original_length,
        row.override_z,
        [row.patient, row.study, row.series],
        _digest(conn, row.fragment_z, row.dictionary),
        dicom,
        found,
    )


def _digest(conn: Connection, text_z: bytes, key: int | None) -> bytes:
    """SHA-256 of compressed attributes; empty if they are damaged."""
    body = None
    if key is not None:
        body = conn.execute(select(dictionary.c.bytes).where(dictionary.c.key == key)).scalar()
        if body is None:
            return b""
    try:
        return hashlib.sha256(decompress(text_z, body)).digest()
    except zstandard.ZstdError:
        return b""


def protect_shared(conn: Connection, records: Sequence[NewRecord], own: Container[int]) -> None:
    """Keep the collector from removing what records share with others, in the transaction that inserts them.

    ``own`` are the packs that were written with the records. Pixels are found by content, as level values
    are (see `stores.background.gc_candidates`), so the image set that they were found in need not be
    locked. Raises `SharedBytesGone`.
    """
    keys = {r.shared_pixels for r in records if r.shared_pixels is not None}
    named = {r.pack for r in records if r.pack not in own}
    if not keys and not named:
        return
    gc_candidates.lock_shared(conn)
    for some in batches(sorted(keys)):
        found = conn.execute(select(pixels.c.key, pixels.c.pack).where(pixels.c.key.in_(some))).all()
        if len(found) < len(some):
            raise SharedBytesGone("The pixels that a file was found to equal have been collected since.")
        named.update(row.pack for row in found)
    gc_candidates.unmark(conn, gc_candidates.PIXELS, keys)
    try:
        packs.lock_live(conn, sorted(named))
    except StorageError as error:
        raise SharedBytesGone(str(error)) from error


def unchanged_records(
    conn: Connection,
    image_set_key: int,
    staged: Sequence[StagedInstance],
    instance_keys: Mapping[str, InstanceKey],
) -> set[RecordKey]:
    """The ``staged`` records that would not change the set, whose lock the caller holds.

    Two records that refer to the same original have been compared, see `ingest.duplicates`. A member that has
    been edited since is not the same, nor is any member of a set whose levels have been edited.
    """
    # An instance that is new to the data store gets the key of its record.
    again = {
        instance_keys[one.uid]: one.record
        for one in staged
        if instance_keys[one.uid] != InstanceKey(one.record)
    }
    if not again:
        return set()
    places = _places(conn, again.values())
    there: dict[int, tuple[int, int, int | None]] = {}
    for some in batches(sorted(again)):
        rows = conn.execute(
            select(member.c.instance, record.c.pack, record.c.original_offset, member.c.pixels)
            .join(record, record.c.key == member.c.record)
            .where(
                member.c.image_set == image_set_key,
                member.c.instance.in_(some),
                is_open(member),
                member.c.edits.is_(None),
            )
        )
        there.update((key, (pack_key, offset, of)) for key, pack_key, offset, of in rows)
    same = {new for key, new in again.items() if key in there and there[key] == places.get(new)}
    return set() if same and _has_edited_levels(conn, image_set_key) else same


def _places(conn: Connection, records: Iterable[int]) -> dict[int, tuple[int, int, int | None]]:
    found: dict[int, tuple[int, int, int | None]] = {}
    for some in batches(sorted(set(records))):
        rows = conn.execute(
            select(record.c.key, record.c.pack, record.c.original_offset, record.c.pixels).where(
                record.c.key.in_(some)
            )
        )
        found.update((key, (pack_key, offset, of)) for key, pack_key, offset, of in rows)
    return found


def _has_edited_levels(conn: Connection, image_set_key: int) -> bool:
    edited = select(level.c.level).where(
        level.c.image_set == image_set_key, is_open(level), level.c.edits.is_not(None)
    )
    return conn.execute(edited.limit(1)).first() is not None
