"""Where the original and the frames of each instance of a version are: what a Part 10 file is built from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, bindparam, exists, func, or_, select

from lightwell.domain.image_sets.edits import Edits, merge_edits
from lightwell.domain.image_sets.frame_checks import FrameChecks, unpack_checks
from lightwell.domain.image_sets.frame_table import ENTRY_SIZE, Frame, unpack_entries
from lightwell.domain.keys import ImageSetKey, PixelsKey
from lightwell.stores.db.errors import misplaced
from lightwell.stores.db.tables import frame_table, image_set, instance, member, pack, pixels, record
from lightwell.stores.db.validity import holds_in
from lightwell.stores.image_sets import instances as instances_of
from lightwell.stores.image_sets import native_instances
from lightwell.stores.image_sets.edits import unpack
from lightwell.stores.keys import values


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The pixels of an instance. ``image`` is the JSON that the import wrote; see `ingest.pipeline`."""

    key: PixelsKey
    pack: int
    stored_syntax: str
    frame_count: int
    image: bytes
    checksum_type: str


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One instance: its original in ``pack``, the DICOM JSON applied to it at import, and its pixels.

    ``edits`` are all that the version applies to the original, those of its levels included. ``record`` and
    ``instance`` are keys of rows; ``sop_class_uid`` is the imported one.
    """

    sop_instance_uid: str
    pack: int
    offset: int
    length: int
    override_z: bytes | None
    pixels: StoredImage | None
    edits: Edits = field(default_factory=dict)
    record: int = 0
    instance: int = 0
    sop_class_uid: str | None = None


@dataclass(frozen=True, slots=True)
class ReadableSet:
    """An image set with a version that can be read."""

    key: ImageSetKey
    id: str
    study_instance_uid: str
    series_instance_uid: str
    version: int
    patient_id: str | None


def readable_sets(conn: Connection, datastore: int, only: str | None = None) -> list[ReadableSet]:
    """The searchable image sets of a data store, oldest first, or the one with the id ``only``."""
    query = select(
        image_set.c.key,
        image_set.c.id,
        image_set.c.study_instance_uid,
        image_set.c.series_instance_uid,
        image_set.c.readable_version,
        image_set.c.patient_id,
    ).where(image_set.c.listed_in == datastore)
    if only is not None:
        query = query.where(image_set.c.id == only)
    return [
        ReadableSet(*row) for row in conn.execute(query.order_by(image_set.c.created_at, image_set.c.key))
    ]


_LIES_ELSEWHERE = exists().where(
    pack.c.key.in_((record.c.pack, pixels.c.pack)), pack.c.datastore != instances_of.OWN_STORE
)
_INSTANCES: Select[Any] = (
    select(
        record.c.sop_instance_uid,
        record.c.pack,
        record.c.original_offset,
        record.c.original_length,
        record.c.override_z,
        pixels.c.key,
        pixels.c.pack,
        pixels.c.stored_syntax,
        pixels.c.frame_count,
        pixels.c.image,
        pixels.c.checksum_type,
        member.c.edits,
        record.c.key,
        member.c.instance,
        record.c.sop_class_uid,
        instances_of.APART.label("apart"),
        or_(instances_of.IS_ANOTHERS, _LIES_ELSEWHERE).label("is_anothers"),
    )
    .select_from(member)
    .join(record, record.c.key == member.c.record)
    .outerjoin(pixels, pixels.c.key == member.c.pixels)
    .where(
        member.c.image_set == bindparam("set"),
        holds_in(member, bindparam("version")),
    )
    .order_by(record.c.instance_number.is_(None), record.c.instance_number, record.c.key)
)
_NAMED = _INSTANCES.join(instance, instance.c.key == member.c.instance).where(
    instance.c.datastore == bindparam("datastore"), instance.c.sop_instance_uid == bindparam("uid")
)


def instances(conn: Connection, image_set_key: ImageSetKey, version: int) -> list[StoredInstance]:
    """The instances of a version, by InstanceNumber (those without one last), then by record key."""
    rows = conn.execute(_INSTANCES, {"set": image_set_key, "version": version}).all()
    on_levels = _on_levels(conn, image_set_key, version)
    found = [_stored(conn, image_set_key, row, on_levels) for row in rows]
    if apart := {
        row.apart: each.sop_instance_uid
        for row, each in zip(rows, found, strict=True)
        if row.apart is not None
    }:
        instances_of.check(conn, image_set_key, apart)
    return found


def count(conn: Connection, image_set_key: ImageSetKey, version: int) -> int:
    """How many instances a version has."""
    query = select(func.count()).where(member.c.image_set == image_set_key, holds_in(member, version))
    return conn.execute(query).scalar_one()


def find_instance(
    conn: Connection, image_set_key: ImageSetKey, version: int, datastore: int, sop_instance_uid: str
) -> StoredInstance | None:
    """The instance of a version that has this SOPInstanceUID, be it an edited one."""
    values = {"set": image_set_key, "version": version, "datastore": datastore, "uid": sop_instance_uid}
    row = conn.execute(_NAMED, values).one_or_none()
    if row is None:
        return None
    found = _stored(conn, image_set_key, row, _on_levels(conn, image_set_key, version))
    if found.sop_instance_uid != sop_instance_uid:
        raise misplaced(image_set_key, "the record of another instance")
    return found


def _on_levels(conn: Connection, image_set_key: ImageSetKey, version: int) -> Edits:
    on_levels: Edits = {}
    for level in native_instances.levels(conn, image_set_key, version):
        on_levels = merge_edits(on_levels, level.edits)
    return on_levels


def _stored(conn: Connection, image_set_key: ImageSetKey, row: Any, on_levels: Edits) -> StoredInstance:
    if row.is_anothers:
        raise misplaced(image_set_key, "a record or pixels of another image set")
    own = unpack(conn, image_set_key, row.edits)
    return StoredInstance(
        native_instances.sop_instance_uid(row.sop_instance_uid, own),
        row.pack,
        row.original_offset,
        row.original_length,
        values.of_record(conn, values.OVERRIDE, row[12], row.override_z, image_set_key),
        StoredImage(*row[5:11]) if row[5] is not None else None,
        merge_edits(own, on_levels),
        *row[12:15],
    )


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Every frame of some pixels, or the one span of pixel data that could not be split: some 60 bytes each.

    ``checks`` are those of each page, see `domain.image_sets.frame_checks`, None where it has none yet.
    """

    pages: tuple[bytes, ...]
    checks: tuple[bytes | None, ...]

    def __len__(self) -> int:
        return sum(len(page) // ENTRY_SIZE for page in self.pages)

    def __iter__(self) -> Iterator[Frame]:
        for page in self.pages:
            yield from unpack_entries(page)

    def checked(self) -> Iterator[tuple[Frame, FrameChecks | None]]:
        """The frames, each with its checks. Raises struct.error where these are too short."""
        for page, checks in zip(self.pages, self.checks, strict=True):
            frames = unpack_entries(page)
            if checks is None:
                yield from ((frame, None) for frame in frames)
            else:
                lengths = [frame.length for frame in frames]
                yield from zip(frames, unpack_checks(checks, lengths), strict=True)


def read_frame_table(conn: Connection, pixels_key: PixelsKey) -> FrameTable:
    """The whole frame table of some pixels."""
    rows = conn.execute(
        select(frame_table.c.entries, frame_table.c.checks)
        .where(frame_table.c.pixels == pixels_key)
        .order_by(frame_table.c.first_frame)
    ).all()
    return FrameTable(tuple(bytes(row.entries) for row in rows), tuple(row.checks for row in rows))
