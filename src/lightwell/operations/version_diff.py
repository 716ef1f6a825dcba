"""What differs between two versions of an image set: rows first, and only what they hold that differs.

Most of the cost is that of the instances that were edited or came again: those are opened in both versions.
Members that were only added or removed are named, and those that are the same are counted; but where edits of
a level began or ended, the ready fragments of all are looked through for what these hide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.documents import json_edits, metadata_documents
from lightwell.domain.image_sets import version_diff as domain
from lightwell.domain.image_sets.frame_table import PAGE, Frame
from lightwell.domain.image_sets.image_set import ImageSet, Version
from lightwell.domain.image_sets.metadata_document import LevelBlock, Member
from lightwell.domain.image_sets.version_diff import (
    ADDED,
    CHANGED,
    LEVEL_NAMES,
    REMOVED,
    REPLACED,
    Block,
    InstanceDifference,
    LevelDifference,
    SetDifference,
)
from lightwell.errors import NotFoundError, StorageError
from lightwell.imaging.dataset.dictionary import attribute_named
from lightwell.operations.version_ids import existing_version
from lightwell.stores.image_sets import lookups, native_instances
from lightwell.stores.image_sets import version_diff as rows
from lightwell.stores.image_sets.version_diff import ComparedMember

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.stores import Stores

_AT_ONCE = 200  # instances that are opened together
_VERSIONS = 1000


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two versions; ``levels`` is empty where it has no content."""

    version: int
    levels: Sequence[LevelBlock]


def between(stores: Stores, image_set_id: str, first: int, second: int) -> SetDifference:
    """The difference from version ``first`` to version ``second`` of a set, whatever data store it is in.

    A failed version holds what the one before held; one that never had content holds nothing. Raises
    `NotFoundError` for a set or a version that is not there, and for a deleted set.
    """
    with stores.db.read() as conn:
        known = lookups.find(conn, image_set_id)
        if known is None:
            raise NotFoundError(
                f"There is no image set {image_set_id}; SearchImageSets lists those there are."
            )
        datastore_id, found = known
        if found.deleted:
            raise NotFoundError(f"Image set {image_set_id} is deleted, and with it what its versions held.")
        one, other = (existing_version(number, found) for number in (first, second))
        low, high = min(one, other), max(one, other)
        old, new = (_side(conn, found.key, number) for number in (one, other))
        levels = _levels(conn, found.key, old, new)
        instances = _instances(conn, found.key, old, new)
        came = sum(each.old_uid is None for each in instances)
        return SetDifference(
            datastore_id=datastore_id,
            image_set_id=image_set_id,
            first=one,
            second=other,
            versions=tuple(_versions(conn, found, low, high)),
            levels=levels,
            instances=instances,
            same=rows.count(conn, found.key, other) - came - _still_there(instances),
        )


def _still_there(instances: Sequence[InstanceDifference]) -> int:
    return sum(each.kind in (CHANGED, REPLACED) for each in instances)


def _side(conn: Connection, key: int, version: int) -> _Side:
    has_content = bool(rows.levels(conn, key, version))
    return _Side(version, native_instances.levels(conn, key, version) if has_content else [])


def _versions(conn: Connection, found: ImageSet, low: int, high: int) -> Iterator[Version]:
    below = high + 1
    pages: list[Version] = []
    while below > low + 1:
        page = lookups.versions(conn, found.key, below=below, limit=_VERSIONS)
        pages += [version for version in page if version.number > low]
        if not page:
            break
        below = page[-1].number
    return reversed(pages)


def _levels(conn: Connection, key: int, old: _Side, new: _Side) -> tuple[LevelDifference, ...]:
    newest = rows.levels(conn, key, max(old.version, new.version))
    found = []
    for level in range(len(LEVEL_NAMES)):
        before, after = (
            metadata_documents.shown_block(side.levels[level]) if side.levels else {} for side in (old, new)
        )
        differing = domain.elements(Block(before), Block(after), _known)
        if differing:
            version = newest[level].valid_from if level in newest else None
            found.append(LevelDifference(level, version, differing))
    return tuple(found)


def _instances(conn: Connection, key: int, old: _Side, new: _Side) -> tuple[InstanceDifference, ...]:
    low, high = sorted((old.version, new.version))
    moved = rows.changed_members(conn, key, low, high)
    is_forward = old.version <= new.version
    gone = {row.instance: row for row in moved if row.in_older == is_forward}
    came = {row.instance: row for row in moved if row.in_older != is_forward}
    pairs = [(row, came.pop(row.instance)) for row in list(gone.values()) if row.instance in came]
    for row, _ in pairs:
        del gone[row.instance]
    pairs += _renamed(gone, came)
    pairs += [(row, row) for row in _beside(conn, key, old, new)]
    found = [
        InstanceDifference(
            kind,
            row.sop_instance_uid if kind == REMOVED else None,
            row.sop_instance_uid if kind == ADDED else None,
            row.number,
            row.valid_from if row.in_newer else row.valid_to,
        )
        for kind, some in ((REMOVED, gone), (ADDED, came))
        for row in some.values()
    ]
    for start in range(0, len(pairs), _AT_ONCE):
        found += _changed(conn, key, old, new, pairs[start : start + _AT_ONCE])
    found.sort(key=lambda each: (each.number is None, each.number or 0, each.new_uid or each.old_uid or ""))
    return tuple(found)


def _renamed(
    gone: dict[int, ComparedMember], came: dict[int, ComparedMember]
) -> list[tuple[ComparedMember, ComparedMember]]:
    """The pairs that are one record under two SOPInstanceUIDs; taken out of both."""
    by_record = {row.record: row for row in came.values()}
    pairs = []
    for row in list(gone.values()):
        other = by_record.pop(row.record, None)
        if other is not None:
            del gone[row.instance], came[other.instance]
            pairs.append((row, other))
    return pairs


def _beside(conn: Connection, key: int, old: _Side, new: _Side) -> list[ComparedMember]:
    """Members that hold in both versions, but may show other attributes since a level has changed."""
    low, high = sorted((old.version, new.version))
    before, after = rows.levels(conn, key, low), rows.levels(conn, key, high)
    bases = {
        level: sorted({before[level].base, after[level].base})
        for level in before.keys() & after.keys()
        if before[level] != after[level]
    }
    if not bases:
        return []
    found = rows.members_affected_by_levels(conn, key, low, high, bases)
    named = [set(json_edits.covered(level.edits for level in side.levels)) for side in (old, new)]
    if digits := named[0] ^ named[1]:
        # No row tells which instances show such an attribute by its digits: their fragments do.
        hiding = {
            member.sop_instance_uid
            for member, _ in native_instances.members(conn, key, high)
            if json_edits.shows(member.fragment, digits)
        }
        known = {row.instance for row in found}
        found += [
            row
            for row in (rows.unchanged_members(conn, key, low, high) if hiding else [])
            if row.sop_instance_uid in hiding and row.instance not in known
        ]
    return found


def _changed(
    conn: Connection, key: int, old: _Side, new: _Side, pairs: Sequence[tuple[ComparedMember, ComparedMember]]
) -> Iterator[InstanceDifference]:
    before = _opened(conn, key, old, [row for row, _ in pairs])
    after = _opened(conn, key, new, [row for _, row in pairs])
    high = max(old.version, new.version)
    level_version = max((row.valid_from for row in rows.levels(conn, key, high).values()), default=None)
    for row, other in pairs:
        was, is_now = before[row.sop_instance_uid], after[other.sop_instance_uid]
        differing = domain.elements(was.block, is_now.block, _known)
        frames = None
        if row.pixels != other.pixels:
            frames = domain.frames(_checksums(conn, was), _checksums(conn, is_now))
        is_same_file = row.record == other.record
        if is_same_file and frames is None and not differing:
            continue
        newer = other if other.in_newer else row
        yield InstanceDifference(
            kind=CHANGED if is_same_file else REPLACED,
            old_uid=row.sop_instance_uid,
            new_uid=other.sop_instance_uid,
            number=other.number,
            version=level_version if row is other else newer.valid_from,
            elements=differing,
            frames=frames,
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    """An instance as a version shows it."""

    member: Member
    first_frames: Sequence[Frame]
    block: Block


def _opened(conn: Connection, key: int, side: _Side, wanted: Sequence[ComparedMember]) -> dict[str, _Opened]:
    found = {}
    for member, frames in native_instances.members(
        conn, key, side.version, only=[row.instance for row in wanted]
    ):
        values, vrs = metadata_documents.shown_instance(conn, member, side.levels)
        if member.pixels is not None:
            values["StoredTransferSyntaxUID"] = member.pixels.stored_syntax
            values["ChecksumType"] = member.pixels.checksum_type
        found[member.sop_instance_uid] = _Opened(member, frames, Block(values, vrs))
    missing = [row.sop_instance_uid for row in wanted if row.sop_instance_uid not in found]
    if missing:
        raise StorageError(f"The database has lost instance {missing[0]}; run `lightwell data verify`.")
    return found


def _checksums(conn: Connection, opened: _Opened) -> list[int]:
    pixels = opened.member.pixels
    found = [frame.checksum for frame in opened.first_frames]
    if pixels is not None:
        for first in range(PAGE, pixels.frame_count, PAGE):
            found += [frame.checksum for frame in native_instances.read_frame_page(conn, pixels.key, first)]
    return found


def _known(key: str) -> tuple[int, str]:
    attribute = attribute_named(key)
    return (0xFFFFFFFF, "") if attribute is None else (attribute.tag, attribute.vr)
