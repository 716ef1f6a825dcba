"""What differs between two versions of an image set: compares rows first, and contents only of rows that
differ.

Most of the cost is for instances that were edited or imported again: those are read in both versions. Members
that were only added or removed are listed, and unchanged ones are counted. Where edits of a level began or
ended, the fragments of all members are searched for values that these edits hide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import TTLCache

from lightwell.documents import json_edits, metadata_documents
from lightwell.domain.image_sets import version_diff as domain
from lightwell.domain.image_sets.frame_table import PAGE, Frame
from lightwell.domain.image_sets.image_set import ImageSet, Version
from lightwell.domain.image_sets.levels import PATIENT, SERIES, STUDY
from lightwell.domain.image_sets.metadata_document import LevelBlock, Member
from lightwell.domain.image_sets.version_diff import (
    ChangeKind,
    InstanceBlock,
    InstanceDifference,
    LevelDifference,
    SetDifference,
)
from lightwell.domain.keys import ImageSetKey, InstanceKey
from lightwell.errors import NotFoundError, StorageError
from lightwell.operations.version_ids import existing_version
from lightwell.stores.image_sets import lookups, native_instances
from lightwell.stores.image_sets import version_diff as rows
from lightwell.stores.image_sets.version_diff import ComparedMember

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.stores import Stores

_INSTANCES_PER_BATCH = 200  # instances that are opened together
_VERSIONS_PER_PAGE = 1000
_MOST_COMPARED = 1000  # instances whose contents are read for a part of a difference
_MOST_BYTES = 8 << 20  # of a part as it is sent; it has one instance at least
_MOST_KEPT, _KEPT_SECONDS = 60_000, 60.0  # candidates, of half a kilobyte each


@dataclass(frozen=True, slots=True)
class _ComparedVersion:
    """One of the two versions; ``levels`` is empty if it has no content."""

    version: int
    levels: Sequence[LevelBlock]


def diff_versions(stores: Stores, image_set_id: str, first: int, second: int) -> SetDifference:
    """The difference from version ``first`` to version ``second`` of a set, in any data store.

    A failed version has the content of the version before it; a version before the first content has none.
    Raises `NotFoundError` for a set or a version that does not exist, and for a deleted set.
    """
    with stores.db.read() as conn:
        known = lookups.find(conn, image_set_id)
        if known is None:
            raise NotFoundError(
                f"There is no image set {image_set_id}; SearchImageSets lists the existing ones."
            )
        datastore_id, found = known
        one, other = existing_versions(found, first, second)
        old, new = (_compared_version(conn, found.key, number) for number in (one, other))
        levels = _level_differences(conn, found.key, old, new)
        instances = tuple(
            difference
            for difference, _ in _differences(
                conn, found.key, old, new, _candidates(conn, found.key, old, new)
            )
        )
        added = sum(each.old_uid is None for each in instances)
        return SetDifference(
            datastore_id=datastore_id,
            image_set_id=image_set_id,
            first=one,
            second=other,
            versions=tuple(versions_between(conn, found, one, other)),
            levels=levels,
            instances=instances,
            same=rows.count(conn, found.key, other) - added - _count_changed(instances),
        )


def existing_versions(found: ImageSet, first: int | str, second: int | str) -> tuple[int, int]:
    """The numbers of two versions of a set. Raises `NotFoundError` where one does not exist, and for a
    deleted set.
    """
    if found.deleted:
        raise NotFoundError(f"Image set {found.id} is deleted, and so is the content of its versions.")
    return existing_version(first, found), existing_version(second, found)


def diff_page(
    conn: Connection,
    key: ImageSetKey,
    first: int,
    second: int,
    *,
    start: int,
    most: int,
    size: Callable[[InstanceDifference], int],
) -> DifferencePage:
    """Part of the difference between two existing versions: of the instances that may differ, those from
    number ``start`` on, until ``most`` that do differ are found, or `_MOST_BYTES` of them by ``size``, or
    `_MOST_COMPARED` were compared.

    The candidates and their order never change, so ``next_start`` may be given as ``start`` at any time.
    """
    old, new = (_compared_version(conn, key, number) for number in (first, second))
    kept = _kept_candidates(conn, key, old, new)
    candidates = kept.rows
    found: list[InstanceDifference] = []
    bytes_found = 0
    next_start: int | None = None
    last = min(start + _MOST_COMPARED, len(candidates))
    if last < len(candidates):
        next_start = last
    for difference, place in _differences(conn, key, old, new, candidates[start:last]):
        found.append(difference)
        bytes_found += size(difference)
        if len(found) == most or bytes_found >= _MOST_BYTES:
            next_start = start + place + 1 if start + place + 1 < len(candidates) else None
            break
    return DifferencePage(
        levels=_level_differences(conn, key, old, new) if start == 0 else (),
        instances=tuple(found),
        added=kept.added,
        removed=kept.removed,
        old_count=kept.old_count,
        new_count=kept.new_count,
        next_start=next_start,
    )


@dataclass(frozen=True, slots=True)
class DifferencePage:
    """Part of the difference between two versions.

    ``levels`` are in the part that starts at 0 only. ``added`` and ``removed`` count instances of the whole
    difference, ``old_count`` and ``new_count`` those of the two versions.
    """

    levels: tuple[LevelDifference, ...]
    instances: tuple[InstanceDifference, ...]
    added: int
    removed: int
    old_count: int
    new_count: int
    next_start: int | None


def _count_changed(instances: Sequence[InstanceDifference]) -> int:
    return sum(each.kind in (ChangeKind.CHANGED, ChangeKind.REPLACED) for each in instances)


def _compared_version(conn: Connection, key: ImageSetKey, version: int) -> _ComparedVersion:
    has_content = bool(rows.levels(conn, key, version))
    return _ComparedVersion(version, native_instances.levels(conn, key, version) if has_content else [])


def versions_between(conn: Connection, found: ImageSet, one: int, other: int) -> Iterator[Version]:
    """The versions that lead from the older to the newer one, including the newer one, oldest first."""
    low, high = sorted((one, other))
    below = high + 1
    pages: list[Version] = []
    while below > low + 1:
        page = lookups.versions(conn, found.key, below=below, limit=_VERSIONS_PER_PAGE)
        pages += [version for version in page if version.number > low]
        if not page:
            break
        below = page[-1].number
    return reversed(pages)


def _level_differences(
    conn: Connection, key: ImageSetKey, old: _ComparedVersion, new: _ComparedVersion
) -> tuple[LevelDifference, ...]:
    newest = rows.levels(conn, key, max(old.version, new.version))
    found = []
    for level in (PATIENT, STUDY, SERIES):
        before, after = (
            metadata_documents.edited_level(side.levels[level]) if side.levels else {} for side in (old, new)
        )
        differing = domain.element_differences(InstanceBlock(before), InstanceBlock(after), tag_and_vr)
        if differing:
            version = newest[level].valid_from if level in newest else None
            found.append(LevelDifference(level, version, differing))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A row of the one version and of the other that may differ; None where the instance is not in it."""

    old: ComparedMember | None
    new: ComparedMember | None

    @property
    def shown(self) -> ComparedMember:
        row = self.old if self.new is None else self.new
        assert row is not None
        return row


def _candidates(
    conn: Connection, key: ImageSetKey, old: _ComparedVersion, new: _ComparedVersion
) -> list[_Candidate]:
    """The instances that may differ, by InstanceNumber and SOPInstanceUID."""
    low, high = sorted((old.version, new.version))
    moved = rows.changed_members(conn, key, low, high)
    is_forward = old.version <= new.version
    removed = {row.instance: row for row in moved if row.in_older == is_forward}
    added = {row.instance: row for row in moved if row.in_older != is_forward}
    pairs = [(row, added.pop(row.instance)) for row in list(removed.values()) if row.instance in added]
    for row, _ in pairs:
        del removed[row.instance]
    pairs += _pair_renamed(removed, added)
    pairs += [(row, row) for row in _members_in_both(conn, key, old, new)]
    found = [_Candidate(row, None) for row in removed.values()]
    found += [_Candidate(None, row) for row in added.values()]
    found += [_Candidate(row, other) for row, other in pairs]
    found.sort(
        key=lambda each: (each.shown.number is None, each.shown.number or 0, each.shown.sop_instance_uid)
    )
    return found


@dataclass(frozen=True, slots=True)
class _Candidates:
    """All of them, and how many instances they and both versions have."""

    rows: Sequence[_Candidate]
    added: int
    removed: int
    old_count: int
    new_count: int


# Those of whom somebody reads part after part: to find them takes as long as all parts have candidates.
_kept: TTLCache[tuple[object, ...], _Candidates] = TTLCache(
    _MOST_KEPT, _KEPT_SECONDS, getsizeof=lambda kept: len(kept.rows) + 1
)
_kept_lock = threading.Lock()


def _kept_candidates(
    conn: Connection, key: ImageSetKey, old: _ComparedVersion, new: _ComparedVersion
) -> _Candidates:
    """`_candidates`, found once for parts that are read within a minute of each other."""
    # By their marks, too: a version that was lost with the database's primary may come again as another one.
    marks = [lookups.mark_of(conn, key, each.version) for each in (old, new)]
    name = (str(conn.engine.url), key, old.version, new.version, *marks)
    with _kept_lock:
        kept = _kept.get(name)
    if kept is None:
        found = _candidates(conn, key, old, new)
        kept = _Candidates(
            found,
            added=sum(each.old is None for each in found),
            removed=sum(each.new is None for each in found),
            old_count=rows.count(conn, key, old.version),
            new_count=rows.count(conn, key, new.version),
        )
    if len(kept.rows) < _MOST_KEPT:
        with _kept_lock:
            _kept[name] = kept  # for another minute
    return kept


def _differences(
    conn: Connection,
    key: ImageSetKey,
    old: _ComparedVersion,
    new: _ComparedVersion,
    candidates: Sequence[_Candidate],
) -> Iterator[tuple[InstanceDifference, int]]:
    """The candidates that do differ, each with its place among them."""
    for start in range(0, len(candidates), _INSTANCES_PER_BATCH):
        batch = candidates[start : start + _INSTANCES_PER_BATCH]
        pairs = [(each.old, each.new) for each in batch if each.old is not None and each.new is not None]
        compared = _changed_instances(conn, key, old, new, pairs)
        for place, each in enumerate(batch, start):
            row = each.shown
            if each.old is not None and each.new is not None:
                difference = next(compared)
                if difference is not None:
                    yield difference, place
                continue
            yield (
                InstanceDifference(
                    ChangeKind.REMOVED if each.new is None else ChangeKind.ADDED,
                    None if each.old is None else row.sop_instance_uid,
                    None if each.new is None else row.sop_instance_uid,
                    row.number,
                    row.valid_from if row.in_newer else row.valid_to,
                ),
                place,
            )


def _pair_renamed(
    removed: dict[InstanceKey, ComparedMember], added: dict[InstanceKey, ComparedMember]
) -> list[tuple[ComparedMember, ComparedMember]]:
    """Pairs of rows that are one record under two SOPInstanceUIDs; removes them from both arguments."""
    by_record = {row.record: row for row in added.values()}
    pairs = []
    for row in list(removed.values()):
        other = by_record.pop(row.record, None)
        if other is not None:
            del removed[row.instance], added[other.instance]
            pairs.append((row, other))
    return pairs


def _members_in_both(
    conn: Connection, key: ImageSetKey, old: _ComparedVersion, new: _ComparedVersion
) -> list[ComparedMember]:
    """Members of both versions whose attributes may differ because a level has changed."""
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
    named = [set(json_edits.hidden_digits(level.edits for level in side.levels)) for side in (old, new)]
    if digits := named[0] ^ named[1]:
        # Only their fragments tell which instances show such an attribute by its digits.
        hiding = {
            member.sop_instance_uid
            for member, _ in native_instances.members(conn, key, high)
            if json_edits.may_show(member.fragment, digits)
        }
        known = {row.instance for row in found}
        found += [
            row
            for row in (rows.unchanged_members(conn, key, low, high) if hiding else [])
            if row.sop_instance_uid in hiding and row.instance not in known
        ]
    return found


def _changed_instances(
    conn: Connection,
    key: ImageSetKey,
    old: _ComparedVersion,
    new: _ComparedVersion,
    pairs: Sequence[tuple[ComparedMember, ComparedMember]],
) -> Iterator[InstanceDifference | None]:
    """The difference of each pair; None where the two versions show the same."""
    if not pairs:
        return
    before = _shown_instances(conn, key, old, [row for row, _ in pairs])
    after = _shown_instances(conn, key, new, [row for _, row in pairs])
    high = max(old.version, new.version)
    level_version = max((row.valid_from for row in rows.levels(conn, key, high).values()), default=None)
    for row, other in pairs:
        was, now_is = before[row.sop_instance_uid], after[other.sop_instance_uid]
        differing = domain.element_differences(was.block, now_is.block, tag_and_vr)
        frames = None
        if row.pixels != other.pixels:
            frames = domain.frames_difference(_checksums(conn, was), _checksums(conn, now_is))
        is_same_file = row.record == other.record
        if is_same_file and frames is None and not differing:
            yield None
            continue
        newer = other if other.in_newer else row
        yield InstanceDifference(
            kind=ChangeKind.CHANGED if is_same_file else ChangeKind.REPLACED,
            old_uid=row.sop_instance_uid,
            new_uid=other.sop_instance_uid,
            number=other.number,
            version=level_version if row is other else newer.valid_from,
            elements=differing,
            frames=frames,
        )


@dataclass(frozen=True, slots=True)
class _ShownInstance:
    """An instance as a version shows it."""

    member: Member
    first_frames: Sequence[Frame]
    block: InstanceBlock


def _shown_instances(
    conn: Connection, key: ImageSetKey, side: _ComparedVersion, wanted: Sequence[ComparedMember]
) -> dict[str, _ShownInstance]:
    found = {}
    for member, frames in native_instances.members(
        conn, key, side.version, only=[row.instance for row in wanted]
    ):
        values, vrs = metadata_documents.edited_instance(conn, key, member, side.levels)
        if member.pixels is not None:
            values["StoredTransferSyntaxUID"] = member.pixels.stored_syntax
            values["ChecksumType"] = member.pixels.checksum_type
        found[member.sop_instance_uid] = _ShownInstance(member, frames, InstanceBlock(values, vrs))
    missing = [row.sop_instance_uid for row in wanted if row.sop_instance_uid not in found]
    if missing:
        raise StorageError(f"The database has lost instance {missing[0]}; run `lightwell data verify`.")
    return found


def _checksums(conn: Connection, opened: _ShownInstance) -> list[int]:
    pixels = opened.member.pixels
    found = [frame.checksum for frame in opened.first_frames]
    if pixels is not None:
        for first in range(PAGE, pixels.frame_count, PAGE):
            found += [frame.checksum for frame in native_instances.read_frame_page(conn, pixels.key, first)]
    return found


def tag_and_vr(key: str) -> tuple[int, str]:
    """The tag by which a key of the document is sorted, and its VR in the dictionary, "" if it has none."""
    # Imported here because it loads the DICOM dictionary, which takes time and memory.
    from lightwell.imaging.dataset.dictionary import attribute_named

    attribute = attribute_named(key)
    return (0xFFFFFFFF, "") if attribute is None else (attribute.tag, attribute.vr)
