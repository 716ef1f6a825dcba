"""Instances that the data store already has when a file with their UIDs is imported again.

A record made for such a file may refer to the existing pixels and original (`protect_shared`), so that no
bytes are stored twice. Whether the file changes the image set is decided when it is merged
(`compare_staged`); there, too, for a file that another import has brought at the same time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard
from sqlalchemy import Connection, Row, Select, bindparam, or_, select

from lightwell.domain.image_sets.frame_table import unpack_entries
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.records import NewRecord, StoredPixels
from lightwell.domain.keys import InstanceKey, PixelsKey, RecordKey
from lightwell.domain.states import ImageSetState, PackState
from lightwell.errors import DamagedError, StorageError
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.compression import decompress
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
from lightwell.stores.image_sets import instances, part10_instances, records
from lightwell.stores.image_sets.importing import StagedInstance
from lightwell.stores.keys import values
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
_USABLE = (PackState.OPEN, PackState.LIVE)
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
        record.c.key.label("record"),
        record.c.pack.label("original_pack"),
        record.c.original_offset,
        record.c.original_length,
        record.c.override_z,
        record.c.fragment_z,
        record.c.dictionary,
        record.c.dicom_z,
        record.c.dicom_dictionary,
        *(
            column.label(f"{name}_{column.name}")
            for name, level in (("patient", _patient), ("study", _study), ("series", _series))
            for column in (level.c.key, level.c.hash, level.c.body_z)
        ),
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
        _own_pack.c.state.in_(_USABLE),
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
    found = [
        _existing(conn, row)
        for row in sorted(rows, key=lambda row: sets.index(row.image_set))
        # An instance that has lost its pixels, or is about to, equals nothing.
        if row.pixels is None or row.state in _USABLE
    ]
    return [each for each in found if each is not None]


def missing_uids(conn: Connection, datastore: int, uids: Sequence[str]) -> list[str]:
    """Those SOPInstanceUIDs that the data store has no instance of."""
    known = instances.find_keys(conn, datastore, uids)
    return [uid for uid in uids if uid not in known]


def _existing(conn: Connection, row: Row[Any]) -> ExistingInstance | None:
    """None where its override is damaged: it equals nothing then, and a file that came again is stored."""
    try:
        override_z = values.of_record(conn, values.OVERRIDE, row.record, row.override_z, row.image_set)
    except DamagedError:
        return None
    found = None
    if row.pixels is not None:
        named = {column.name: getattr(row, f"pixels_{column.name}") for column in _PIXELS}
        table = part10_instances.read_frame_table(conn, row.pixels)
        found = StoredPixels(**named, pages=list(table.pages), checks=list(table.checks))
    dicom = None
    if row.dicom_z is not None:
        dicom = _digest(conn, values.DICOM, row.record, row.dicom_z, row.dicom_dictionary)
    return ExistingInstance(
        row.original_pack,
        row.original_offset,
        row.original_length,
        override_z,
        [
            _level_digest(
                conn, number, *(getattr(row, f"{name}_{part}") for part in ("key", "hash", "body_z"))
            )
            for number, name in enumerate(("patient", "study", "series"))
        ],
        _digest(conn, values.FRAGMENT, row.record, row.fragment_z, row.dictionary),
        dicom,
        found,
    )


def _level_digest(conn: Connection, level: int, key: int, kept: bytes, body_z: bytes) -> bytes:
    """The hash of a level value's body; empty if it is damaged."""
    try:
        if values.cipher_of(conn, body_z) is None:
            return kept
        body = records.level_text(conn, key, kept, body_z, (level,))
    except DamagedError:
        return b""
    return hashlib.sha256(bytes((level,)) + body).digest()


def _digest(conn: Connection, place: bytes, record_key: int, text_z: bytes, key: int | None) -> bytes:
    """SHA-256 of compressed attributes of a record; empty if they are damaged."""
    body = None
    if key is not None:
        body = conn.execute(select(dictionary.c.bytes).where(dictionary.c.key == key)).scalar()
        if body is None:
            return b""
    try:
        if key is not None and body is not None:
            body = values.opened(conn, values.DICTIONARY, key, body)
        text_z = values.opened(conn, place, record_key, text_z)
        return hashlib.sha256(decompress(text_z, body)).digest()
    except (zstandard.ZstdError, DamagedError):
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


@dataclass(frozen=True, slots=True)
class PackRange:
    """Bytes of a pack."""

    pack: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Twins:
    """Two records of one instance whose rows say the same, and which bytes would have to be equal, too."""

    staged: RecordKey
    kept: RecordKey
    ranges: Sequence[tuple[PackRange, PackRange]]

    @property
    def pair(self) -> tuple[RecordKey, RecordKey]:
        return self.staged, self.kept


Verdicts = Mapping[tuple[RecordKey, RecordKey], bool]
"""Whether the bytes of `Twins` are equal, by `Twins.pair`."""

_MOST_TWINS = 256
_of_record = record.c
_ARRIVED = (
    _of_record.key,
    _of_record.pack,
    _of_record.original_offset,
    _of_record.original_length,
    _of_record.patient_value,
    _of_record.study_value,
    _of_record.series_value,
    _of_record.pixels,
)


def compare_staged(
    conn: Connection,
    image_set_key: int,
    staged: Sequence[StagedInstance],
    instance_keys: Mapping[str, InstanceKey],
    verdicts: Verdicts,
) -> tuple[set[RecordKey], list[Twins]]:
    """The ``staged`` records that would not change the set, whose lock the caller holds; and some twins.

    Two records that refer to the same original were compared when the file was read, see `ingest.duplicates`.
    Others are the same if ``verdicts`` says so. Twins about which it says nothing have to be compared first:
    of a file that several imports have read before any of them was committed. A member that has been edited
    since is not the same, nor is any member of a set whose levels have been edited.
    """
    # An instance that is new to the data store gets the key of its record.
    again = {
        instance_keys[one.uid]: one.record
        for one in staged
        if instance_keys[one.uid] != InstanceKey(one.record)
    }
    if not again:
        return set(), []
    arrived = _arrived(conn, again.values())
    same: set[RecordKey] = set()
    perhaps: list[tuple[Row[Any], Row[Any]]] = []
    for some in batches(sorted(again)):
        rows: Iterable[Any] = conn.execute(
            select(member.c.instance, member.c.pixels.label("shown"), *_ARRIVED)
            .join(record, record.c.key == member.c.record)
            .join(_own_pack, _own_pack.c.key == record.c.pack)
            .outerjoin(pixels, pixels.c.key == member.c.pixels)
            .outerjoin(_pixel_pack, _pixel_pack.c.key == pixels.c.pack)
            .where(
                member.c.image_set == image_set_key,
                member.c.instance.in_(some),
                is_open(member),
                member.c.edits.is_(None),
                # What is about to lose its bytes equals nothing.
                _own_pack.c.state.in_(_USABLE),
                or_(member.c.pixels.is_(None), _pixel_pack.c.state.in_(_USABLE)),
            )
        )
        for kept in rows:
            new = arrived.get(again[kept.instance])
            if new is None:
                continue
            is_same = verdicts.get((RecordKey(new.key), RecordKey(kept.key)))
            if is_same or (_place(new) == _place(kept) and new.pixels == kept.shown):
                same.add(RecordKey(new.key))
            elif is_same is None and kept.pixels == kept.shown and _looks_like(new, kept):
                perhaps.append((new, kept))
    if (same or perhaps) and _has_edited_levels(conn, image_set_key):
        return set(), []
    twins: list[Twins] = []
    for new, kept in perhaps:
        ranges = _ranges(conn, new, kept)
        if ranges is not None:
            twins.append(Twins(RecordKey(new.key), RecordKey(kept.key), ranges))
        if len(twins) == _MOST_TWINS:
            break
    return same, twins


def _arrived(conn: Connection, records: Iterable[int]) -> dict[int, Row[Any]]:
    found: dict[int, Any] = {}
    for some in batches(sorted(set(records))):
        for row in conn.execute(select(*_ARRIVED).where(record.c.key.in_(some))):
            found[row.key] = row
    return found


def _place(row: Row[Any]) -> tuple[int, int]:
    return row.pack, row.original_offset


def _looks_like(new: Row[Any], kept: Row[Any]) -> bool:
    """What is cheap to ask, so that hardly any file that differs goes further."""
    return (
        new.original_length == kept.original_length
        and (new.patient_value, new.study_value, new.series_value)
        == (kept.patient_value, kept.study_value, kept.series_value)
        and (new.pixels is None) == (kept.pixels is None)
    )


def _ranges(conn: Connection, new: Row[Any], kept: Row[Any]) -> list[tuple[PackRange, PackRange]] | None:
    """Which bytes to compare of two records; None if they differ in what the tables have."""
    if _attributes(conn, new.key) != _attributes(conn, kept.key):
        return None
    ranges: list[tuple[PackRange, PackRange]] = []
    if _place(new) != _place(kept):
        ours, theirs = (PackRange(*_place(row), row.original_length) for row in (new, kept))
        ranges.append((ours, theirs))
    if new.pixels != kept.pixels:
        (said, our_frames), (says, their_frames) = (_frames(conn, row.pixels) for row in (new, kept))
        if said != says:
            return None
        ranges += _joined(zip(our_frames, their_frames, strict=True))
    return ranges


def _attributes(conn: Connection, key: int) -> tuple[bytes | object, ...]:
    """The attributes of a record, apart from its levels; what is damaged equals nothing."""
    names = ("fragment_z", "dictionary", "dicom_z", "dicom_dictionary", "override_z")
    row = conn.execute(select(*(record.c[name] for name in names)).where(record.c.key == key)).one()
    found = [
        None if text_z is None else _digest(conn, place, key, text_z, dictionary_key)
        for place, text_z, dictionary_key in (
            (values.FRAGMENT, row.fragment_z, row.dictionary),
            (values.DICOM, row.dicom_z, row.dicom_dictionary),
            (values.OVERRIDE, row.override_z, None),
        )
    ]
    return tuple(object() if digest == b"" else digest for digest in found)


def _frames(conn: Connection, key: PixelsKey) -> tuple[object, list[PackRange]]:
    """What the tables say of pixels, apart from where each frame lies; and that."""
    names = ("stored_syntax", "frame_count", "checksum_type", "width", "height", "image")
    row = conn.execute(
        select(pixels.c.pack, *(pixels.c[name] for name in names)).where(pixels.c.key == key)
    ).one()
    pages = part10_instances.read_frame_table(conn, key).pages
    frames = [frame for page in pages for frame in unpack_entries(page)]
    said = [(f.length, f.head, f.checksum, f.low, f.high) for f in frames]
    return (tuple(row)[1:], said), [PackRange(row.pack, f.offset, f.length) for f in frames]


def _joined(pairs: Iterable[tuple[PackRange, PackRange]]) -> Iterator[tuple[PackRange, PackRange]]:
    """Ranges of which each begins where the one before ends on both sides become one."""
    last: tuple[PackRange, PackRange] | None = None
    for pair in pairs:
        if last is not None:
            if all(b.offset == a.offset + a.length for a, b in zip(last, pair, strict=True)):
                length = last[0].length + pair[0].length
                last = (
                    PackRange(last[0].pack, last[0].offset, length),
                    PackRange(last[1].pack, last[1].offset, length),
                )
                continue
            yield last
        last = pair
    if last is not None:
        yield last


def _has_edited_levels(conn: Connection, image_set_key: int) -> bool:
    edited = select(level.c.level).where(
        level.c.image_set == image_set_key, is_open(level), level.c.edits.is_not(None)
    )
    return conn.execute(edited.limit(1)).first() is not None
