"""Commits synchronous stores: instances that become versions of image sets in one transaction.

Records and merge are those of an import job, but there is no job: nothing is staged, and there are no
outcomes. Several requests may share a transaction, and with it the flush of the disk; each makes versions of
its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.image_sets.search_columns import search_columns
from lightwell.domain.imports.records import ChunkResult, NewRecord
from lightwell.domain.keys import PixelsKey, RecordKey
from lightwell.ingest import merge
from lightwell.ingest.merge import Group, Merge, VersionRef
from lightwell.stores.db import compression
from lightwell.stores.db.errors import BROKEN_RULES
from lightwell.stores.image_sets import existing_instances, importing, records
from lightwell.stores.image_sets.importing import StagedBatch, StagedInstance
from lightwell.stores.image_sets.records import Levels
from lightwell.stores.jobs.staging import Batch
from lightwell.stores.objects import packs

REFUSED = "This file has values that the database rejects: please report it."

# No job has this key.
_NO_JOB = 0


@dataclass(frozen=True, slots=True)
class StoreCommit:
    """What one request has stored, durable but not committed; ``caller`` is an ARN, ``emergency``: of a
    session for an emergency."""

    caller: str
    emergency: bool
    result: ChunkResult


@dataclass(frozen=True, slots=True)
class _StoredGroup(Group):
    """A group of one store; its commit adds the version of each of its files to ``versions``."""

    records: Sequence[NewRecord]
    versions: dict[int, VersionRef]


def commit(putting: Merge, stores: Sequence[StoreCommit]) -> list[dict[int, VersionRef]]:
    """Insert and merge. Returns, for each store, in which version each file is, by file number.

    Raises `StorageError` if a pack has been collected meanwhile, and `TwinsMet`. The caller has locked the
    data store.
    """
    conn, target, ids = putting.conn, putting.target, putting.ids
    used = [store.result.used() for store in stores]
    bodies: dict[bytes, bytes] = {}
    for dependencies in used:
        bodies |= dependencies.level_values
    own = {key: pack for dependencies in used for key, pack in dependencies.packs.items()}
    packs.make_live(conn, own, {key: seal for each in used for key, seal in each.seals.items()})
    arrived = [record for store in stores for record in store.result.records]
    existing_instances.protect_shared(conn, arrived, own)
    keys = records.level_values(conn, target.datastore, bodies, [ids.key() for _ in bodies])
    dictionaries = {key: data for dependencies in used for key, data in dependencies.dictionaries.items()}
    records.insert(conn, target.datastore, arrived, keys, dictionaries)
    groups: list[_StoredGroup] = []
    versions_of_stores: list[dict[int, VersionRef]] = []
    for store in stores:
        versions: dict[int, VersionRef] = {}
        versions_of_stores.append(versions)
        for of_group in _by_group(store.result.records):
            groups.append(_group(target.datastore, store, of_group, keys, bodies, versions))

    def settle(group: _StoredGroup, batch: StagedBatch, version: VersionRef) -> None:
        importing.list_unused(conn, [*batch.unused, *batch.unchanged])
        group.versions.update((record.file, version) for record in group.records)

    merge.put(putting, groups, lambda group: _batch(group.records), settle)
    return versions_of_stores


def refused(
    conn: Connection, datastore: int, result: ChunkResult, also: Callable[[NewRecord], None] | None = None
) -> list[NewRecord]:
    """The records that the database rejects, with the rows that ``also`` adds to each; inserts nothing."""
    keys = {digest: index for index, digest in enumerate(result.dependencies.level_values)}
    rejected = []
    for record in result.records:
        trial = conn.begin_nested()
        try:
            records.insert(conn, datastore, [record], keys, {})
            if also is not None:
                also(record)
        except BROKEN_RULES:
            rejected.append(record)
        finally:
            trial.rollback()
    return rejected


def _by_group(of_store: Sequence[NewRecord]) -> list[list[NewRecord]]:
    """The records of each group, in input order, the groups by their first."""
    groups: dict[tuple[str, str, str], list[NewRecord]] = {}
    for record in sorted(of_store, key=lambda r: r.file):
        key = (record.study_instance_uid, record.series_instance_uid, record.grouping)
        groups.setdefault(key, []).append(record)
    return list(groups.values())


def _group(
    datastore: int,
    store: StoreCommit,
    of_group: Sequence[NewRecord],
    keys: dict[bytes, int],
    bodies: dict[bytes, bytes],
    versions: dict[int, VersionRef],
) -> _StoredGroup:
    first = of_group[0]
    hashes = (first.patient, first.study, first.series)
    patient, study, series = (json.loads(compression.decompress(bodies[digest])) for digest in hashes)
    grouping = Grouping.from_json(first.grouping)
    return _StoredGroup(
        batch=Batch(_NO_JOB, datastore, first.study_instance_uid, first.series_instance_uid, first.grouping),
        grouping=grouping,
        files=len(of_group),
        levels=Levels(*(keys[digest] for digest in hashes)),
        columns=search_columns(grouping, patient, study, series),
        caller=store.caller,
        emergency=store.emergency,
        records=of_group,
        versions=versions,
    )


def _batch(of_group: Sequence[NewRecord]) -> StagedBatch:
    """Of several files with one SOPInstanceUID the last becomes the member (as in `importing.load`)."""
    last: dict[str, StagedInstance] = {}
    unused = []
    for record in of_group:
        before = last.pop(record.sop_instance_uid, None)
        if before is not None:
            unused.append(before.record)
        pixels = None if record.pixels_key is None else PixelsKey(record.pixels_key)
        last[record.sop_instance_uid] = StagedInstance(record.sop_instance_uid, RecordKey(record.key), pixels)
    return StagedBatch(list(last.values()), unused)
