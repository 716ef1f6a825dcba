"""The statements that make an image set or let one grow by an import: one bulk statement a step.

A *batch* is what a job has staged for one group of one series. Nothing here costs more in a set of 5,000
instances than in an empty one, except to find a new base once the last member with the old one is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, func, insert, or_, select, text, update

from lightwell.domain.image_sets.search_columns import SearchColumns
from lightwell.domain.imports.jobs import ALREADY_THERE
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.bulk import batches, insert_many, insert_missing
from lightwell.stores.db.tables import (
    image_set,
    instance,
    leftover,
    level,
    member,
    outcome,
    record,
    staged,
    version,
)
from lightwell.stores.image_sets.records import Levels
from lightwell.stores.image_sets.validity import is_open
from lightwell.stores.jobs.staging import Batch, of_batch

_OUTCOMES = text(
    """
INSERT INTO outcome (job, file, input_file, kind, image_set, version, is_primary, warnings)
SELECT job, file, input_file, 'imported', CAST(:id AS TEXT), CAST(:version AS INTEGER),
       CAST(:is_primary AS BOOLEAN), warnings
FROM staged
WHERE job = :job AND study_instance_uid = :study AND series_instance_uid = :series AND grouping = :grouping
"""
)


@dataclass(frozen=True, slots=True)
class StagedInstance:
    """One instance of a batch, by the keys of its record and pixels."""

    uid: str
    record: int
    pixels: int | None


@dataclass(frozen=True, slots=True)
class StagedBatch:
    """A batch: its members to be, in the order of the files that they come from, and the other records.

    ``unchanged`` are records whose instances the image set has as they came again.
    """

    members: list[StagedInstance]
    unused: list[int]
    unchanged: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SetRow:
    """An image set of a series, as the merge needs it.

    ``grouping``: PatientID, StudyDate, AccessionNumber, StudyID and SeriesNumber, ``""`` where absent.
    """

    key: int
    id: str
    origin: str
    is_primary: bool
    latest_version: int
    created_at: int
    grouping: tuple[str, ...]


def sets_of_series(
    conn: Connection, datastore: int, study_instance_uid: str, series_instance_uid: str
) -> list[SetRow]:
    """The sets of a series that are not deleted, locked in key order; the study has to be locked already."""
    t = image_set.c
    rows = conn.execute(
        select(
            t.key,
            t.id,
            t.origin,
            t.is_primary,
            t.latest_version,
            t.created_at,
            func.coalesce(t.patient_id, ""),
            func.coalesce(t.study_date, ""),
            func.coalesce(t.accession_number, ""),
            func.coalesce(t.study_id, ""),
            func.coalesce(t.series_number, ""),
        )
        .where(
            t.datastore == datastore,
            t.series_instance_uid == series_instance_uid,
            t.study_instance_uid == study_instance_uid,
            t.state == "ACTIVE",
        )
        .order_by(t.key)
        .with_for_update()
    )
    return [SetRow(*row[:6], grouping=tuple(row[6:])) for row in rows]


def contradicted(conn: Connection, study: int, columns: SearchColumns) -> bool:
    """Whether a primary set of the study has another PatientID, StudyDate, AccessionNumber or StudyID."""
    t = image_set.c
    differs = [
        func.coalesce(t[name], "") != (getattr(columns, name) or "")
        for name in ("patient_id", "study_date", "accession_number", "study_id")
    ]
    query = select(t.key).where(and_(t.study == study, t.is_primary, t.state == "ACTIVE", or_(*differs)))
    return conn.execute(query.limit(1)).first() is not None


def add_set(
    conn: Connection,
    *,
    key: int,
    id: str,
    datastore: int,
    study: int,
    series_instance_uid: str,
    is_primary: bool,
    columns: SearchColumns,
    levels: Levels,
    instance_count: int,
    caller: str,
    now: int,
) -> None:
    """A new set of origin import at version 1 with its level rows; its members are added by `add_members`."""
    conn.execute(
        insert(image_set),
        {
            "key": key,
            "id": id,
            "datastore": datastore,
            "study": study,
            "series_instance_uid": series_instance_uid,
            "origin": "import",
            "is_primary": is_primary,
            "state": "ACTIVE",
            "latest_version": 1,
            "readable_version": 1,
            "created_at": now,
            "updated_at": now,
            "last_accessed_at": now,
            "listed_in": datastore,
            "instance_count": instance_count,
            **columns.as_row(),
        },
    )
    add_version(conn, key, 1, "CREATED", None, caller, now)
    conn.execute(
        insert(level),
        [
            {"image_set": key, "level": number, "valid_from": 1, "base": base}
            for number, base in enumerate((levels.patient, levels.study, levels.series))
        ],
    )


def add_version(
    conn: Connection, key: int, number: int, status: str, message: str | None, caller: str, now: int
) -> None:
    conn.execute(
        insert(version),
        {
            "image_set": key,
            "number": number,
            "workflow_status": status,
            "message": message,
            "caller": caller,
            "created_at": now,
        },
    )


def grow(
    conn: Connection, key: int, number: int, added: int, now: int, columns: SearchColumns | None
) -> None:
    """Raise the set to version ``number``; ``columns`` where they have changed."""
    values: dict[str, object] = {
        "latest_version": number,
        "readable_version": number,
        "updated_at": now,
        "last_accessed_at": now,
        "instance_count": image_set.c.instance_count + added,
    }
    if columns is not None:
        values |= columns.as_row()
    conn.execute(update(image_set).where(image_set.c.key == key).values(**values))


def fail_version(conn: Connection, key: int, number: int, now: int) -> None:
    """Raise the set to version ``number`` with the content that it had."""
    conn.execute(
        update(image_set)
        .where(image_set.c.key == key)
        .values(latest_version=number, readable_version=number, updated_at=now)
    )


def load(conn: Connection, batch: Batch) -> StagedBatch:
    """What the batch holds; of several files with one SOPInstanceUID the last becomes the member.

    It goes through here, and its keys back in small lists, since a join with a growing set is planned by
    statistics, and those of `staged` are always old.
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


def find_instances(conn: Connection, datastore: int, loaded: StagedBatch) -> dict[str, int]:
    """The keys of ``instance`` by UID; a UID that is new to the data store gets the key of its record.

    The transaction has to hold `leftovers.share`, as it does after `studies.lock`.
    """
    uids = [came.uid for came in loaded.members]
    found = _instances(conn, datastore, uids)
    if found and gc_candidates.any_of(conn, gc_candidates.INSTANCE):
        gc_candidates.unmark(conn, gc_candidates.INSTANCE, found.values())
    new = [came for came in loaded.members if came.uid not in found]
    if new:
        rows = [{"key": came.record, "datastore": datastore, "sop_instance_uid": came.uid} for came in new]
        insert_missing(conn, instance, rows, ["datastore", "sop_instance_uid"])
        found |= _instances(conn, datastore, [came.uid for came in new])
    return found


def _instances(conn: Connection, datastore: int, uids: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in batches(uids):
        rows = conn.execute(
            select(instance.c.sop_instance_uid, instance.c.key).where(
                instance.c.datastore == datastore, instance.c.sop_instance_uid.in_(some)
            )
        )
        found.update((uid, key) for uid, key in rows)
    return found


def list_unused(conn: Connection, records: Sequence[int]) -> None:
    """Tell the collector of records that became no member: they came twice or were there, or failed."""
    rows = [{"kind": gc_candidates.RECORD, "key": key, "mark": 0} for key in records]
    insert_many(conn, leftover, rows)


def add_members(
    conn: Connection, loaded: StagedBatch, instances: Mapping[str, int], key: int, number: int
) -> None:
    """A member a SOPInstanceUID of the batch, valid from version ``number``."""
    rows = [
        {
            "image_set": key,
            "instance": instances[came.uid],
            "valid_from": number,
            "valid_to": None,
            "record": came.record,
            "pixels": came.pixels,
            "edits": None,
        }
        for came in loaded.members
    ]
    insert_many(conn, member, rows)


def close_replaced(conn: Connection, instances: Collection[int], key: int, number: int) -> int:
    """Close the members whose instance comes again; returns how many."""
    closed = 0
    for some in batches(instances):
        closed += conn.execute(
            update(member)
            .where(member.c.image_set == key, member.c.instance.in_(some), is_open(member))
            .values(valid_to=number)
        ).rowcount
    return closed


def add_outcomes(
    conn: Connection, batch: Batch, unchanged: Sequence[int], id: str, number: int, is_primary: bool
) -> None:
    """Every staged file of the batch is imported, and those of ``unchanged`` records were there already."""
    conn.execute(_OUTCOMES, batch.values(id=id, version=number, is_primary=is_primary))
    for some in batches(unchanged):
        files = select(staged.c.file).where(*of_batch(batch), staged.c.record.in_(some))
        conn.execute(
            update(outcome)
            .where(outcome.c.job == batch.job, outcome.c.file.in_(files))
            .values(message=ALREADY_THERE)
        )
