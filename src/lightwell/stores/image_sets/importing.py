"""Imports: the statements that create an image set or add instances to one, one bulk statement a step.

A *batch* is what a job has staged for one group of one series. Nothing here costs more in a set of 5,000
instances than in an empty one, except finding a new level base once the last member with the old one is
gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from lightwell.domain.imports.jobs import ALREADY_THERE
from lightwell.domain.keys import ImageSetKey, InstanceKey, PixelsKey, RecordKey
from lightwell.domain.states import ImageSetState, Origin
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.bulk import batches, insert_many
from lightwell.stores.db.tables import (
    image_set,
    leftover,
    level,
    member,
    outcome,
    record,
    staged,
)
from lightwell.stores.db.validity import is_open
from lightwell.stores.image_sets import instances
from lightwell.stores.image_sets.records import Levels
from lightwell.stores.image_sets.writing import (
    NewImageSet,
    NewMember,
    NewVersion,
    insert_image_set,
    insert_members,
)
from lightwell.stores.jobs.staging import Batch, of_batch

_OUTCOMES = text(
    """
INSERT INTO outcome (job, file, input_file, kind, image_set, version, is_primary, warnings)
SELECT job, file, input_file, 'imported', CAST(:id AS TEXT), CAST(:version AS INTEGER),
       CAST(:is_primary AS BOOLEAN), warnings
FROM staged
WHERE job = :job AND study_instance_uid = :study AND series_instance_uid = :series AND grouping IN :grouping
"""
).bindparams(bindparam("grouping", expanding=True))


_CLOSE = (
    update(member)
    .where(
        member.c.image_set == bindparam("of_set"),
        member.c.instance.in_(bindparam("instances", expanding=True)),
        is_open(member),
    )
    .values(valid_to=bindparam("number"))
)
_t = image_set.c
_SETS_OF_SERIES = (
    select(
        _t.key,
        _t.id,
        _t.origin,
        _t.is_primary,
        _t.latest_version,
        _t.created_at,
        _t.instance_count,
        func.coalesce(_t.patient_id, "").label("patient_id"),
        func.coalesce(_t.study_date, "").label("study_date"),
        func.coalesce(_t.accession_number, "").label("accession_number"),
        func.coalesce(_t.study_id, "").label("study_id"),
        func.coalesce(_t.series_number, "").label("series_number"),
    )
    .where(
        _t.datastore == bindparam("datastore"),
        _t.series_instance_uid == bindparam("series"),
        _t.study_instance_uid == bindparam("study"),
        _t.state == ImageSetState.ACTIVE,
    )
    .order_by(_t.key)
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class StagedInstance:
    """One instance of a batch; ``record`` and ``pixels`` are keys."""

    uid: str
    record: RecordKey
    pixels: PixelsKey | None


@dataclass(frozen=True, slots=True)
class StagedBatch:
    """A batch: the instances to add, in the order of their files, and the keys of the other records.

    ``unused`` are records replaced by a later file of the batch with the same SOPInstanceUID; ``unchanged``
    are records that equal what the image set already has.
    """

    members: list[StagedInstance]
    unused: list[RecordKey]
    unchanged: list[RecordKey] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SetRow:
    """An image set of a series, with what the merge needs to know of it.

    ``grouping``: PatientID, StudyDate, AccessionNumber, StudyID and SeriesNumber, ``""`` where absent.
    """

    key: ImageSetKey
    id: str
    origin: Origin
    is_primary: bool
    latest_version: int
    created_at: int
    instance_count: int
    grouping: tuple[str, ...]


def sets_of_series(
    conn: Connection, datastore: int, study_instance_uid: str, series_instance_uid: str
) -> list[SetRow]:
    """The undeleted sets of a series, locked in key order; the study must be locked already."""
    rows = conn.execute(
        _SETS_OF_SERIES,
        {"datastore": datastore, "series": series_instance_uid, "study": study_instance_uid},
    )
    return [
        SetRow(
            key=row.key,
            id=row.id,
            origin=Origin(row.origin),
            is_primary=row.is_primary,
            latest_version=row.latest_version,
            created_at=row.created_at,
            instance_count=row.instance_count,
            grouping=(row.patient_id, row.study_date, row.accession_number, row.study_id, row.series_number),
        )
        for row in rows
    ]


def insert_imported_set(conn: Connection, new: NewImageSet, first: NewVersion, levels: Levels) -> None:
    """A new set at version 1 with its levels; its members are added by `add_members`."""
    insert_image_set(conn, new, first)
    conn.execute(
        insert(level),
        [
            {"image_set": new.key, "level": number, "valid_from": 1, "base": base}
            for number, base in enumerate((levels.patient, levels.study, levels.series))
        ],
    )


def load(conn: Connection, batch: Batch) -> StagedBatch:
    """The content of a batch; of several files with the same SOPInstanceUID the last becomes the member.

    Keys are read here and passed back in small lists, because a join with a growing set would be planned by
    statistics, and those of `staged` are always out of date.
    """
    rows = conn.execute(
        select(staged.c.record, record.c.pixels, record.c.sop_instance_uid)
        .join(record, record.c.key == staged.c.record)
        .where(*of_batch(batch))
        .order_by(staged.c.file)
    )
    last: dict[str, StagedInstance] = {}
    unused = []
    for key, pixels, uid in rows:
        before = last.pop(uid, None)
        if before is not None:
            unused.append(before.record)
        last[uid] = StagedInstance(uid, key, pixels)
    return StagedBatch(list(last.values()), unused)


def find_instances(conn: Connection, datastore: int, loaded: StagedBatch) -> dict[str, InstanceKey]:
    """The keys of ``instance`` by UID; a UID that is new to the data store gets the key of its record.

    The transaction must hold `gc_candidates.lock_shared`, as it does after `studies.lock`.
    """
    return instances.find_or_insert(
        conn, datastore, {each.uid: InstanceKey(each.record) for each in loaded.members}
    )


def list_unused(conn: Connection, records: Sequence[RecordKey]) -> None:
    """List for the collector the records that became no member: duplicates, unchanged or failed ones."""
    rows = [{"kind": gc_candidates.RECORD, "key": key, "mark": 0} for key in records]
    insert_many(conn, leftover, rows)


def add_members(
    conn: Connection, loaded: StagedBatch, instances: Mapping[str, InstanceKey], key: ImageSetKey, number: int
) -> None:
    """Add the instances of a batch to a set, from version ``number`` on."""
    new = (NewMember(instances[each.uid], each.record, each.pixels) for each in loaded.members)
    insert_members(conn, key, number, new)


def close_replaced(
    conn: Connection, instances: Collection[InstanceKey], key: ImageSetKey, number: int
) -> int:
    """Close the members whose instances are replaced; returns how many."""
    closed = 0
    for some in batches(instances):
        closed += conn.execute(_CLOSE, {"of_set": key, "instances": some, "number": number}).rowcount
    return closed


def add_outcomes(
    conn: Connection, batch: Batch, unchanged: Sequence[RecordKey], id: str, number: int, is_primary: bool
) -> None:
    """Record every staged file of the batch as imported; those of ``unchanged`` records as already there."""
    conn.execute(_OUTCOMES, batch.values(id=id, version=number, is_primary=is_primary))
    for some in batches(unchanged):
        files = select(staged.c.file).where(*of_batch(batch), staged.c.record.in_(some))
        conn.execute(
            update(outcome)
            .where(outcome.c.job == batch.job, outcome.c.file.in_(files))
            .values(message=ALREADY_THERE)
        )
