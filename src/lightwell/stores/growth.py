"""The statements that make an image set or let one grow by an import: one bulk statement a step.

A *batch* is what a job has staged for one group of one series. Nothing here costs more in a set of 5,000
instances than in an empty one, except to find a new base once the last member with the old one is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, TextClause, and_, func, insert, or_, select, text, update

from lightwell.domain.columns import SearchColumns
from lightwell.stores import leftovers
from lightwell.stores.records import Levels
from lightwell.stores.staging import Batch
from lightwell.stores.tables import image_set, level, version

# The staged rows of a batch with their records. `place` is 1 for the last file of each SOPInstanceUID.
_BATCH = """
WITH batch AS (
    SELECT s.file, r.key AS record, r.pixels, r.sop_instance_uid,
           r.patient_value, r.study_value, r.series_value,
           row_number() OVER (PARTITION BY r.sop_instance_uid ORDER BY s.file DESC) AS place
    FROM staged s JOIN record r ON r.key = s.record
    WHERE s.job = :job AND s.study_instance_uid = :study AND s.series_instance_uid = :series
      AND s.grouping = :grouping
)
"""


def _statement(sql: str) -> TextClause:
    return text(_BATCH + sql)


_ADD_INSTANCES = text(
    f"""
INSERT INTO instance (key, datastore, sop_instance_uid)
{_BATCH}
SELECT record, CAST(:datastore AS BIGINT), sop_instance_uid FROM batch WHERE place = 1
ORDER BY sop_instance_uid
ON CONFLICT (datastore, sop_instance_uid) DO NOTHING
"""
)
_RESCUE_INSTANCES = text(
    f"""
DELETE FROM leftover WHERE kind = :kind AND key IN (
{_BATCH}
    SELECT i.key FROM batch b
    JOIN instance i ON i.datastore = :datastore AND i.sop_instance_uid = b.sop_instance_uid
)
"""
)
_LIST_UNUSED = text(
    f"""
INSERT INTO leftover (kind, key, mark)
{_BATCH}
SELECT CAST(:kind AS SMALLINT), record, 0 FROM batch WHERE place >= :first
"""
)
# WITH stands inside here: of a statement that begins with WITH, sqlite3 tells no count of rows.
_CLOSE = text(
    f"""
UPDATE member SET valid_to = :version
WHERE image_set = :image_set AND valid_to IS NULL AND instance IN (
{_BATCH}
    SELECT i.key FROM batch b
    JOIN instance i ON i.datastore = :datastore AND i.sop_instance_uid = b.sop_instance_uid
    WHERE b.place = 1
)
"""
)
_ADD_MEMBERS = text(
    f"""
INSERT INTO member (image_set, instance, valid_from, valid_to, record, pixels, edits)
{_BATCH}
SELECT CAST(:image_set AS BIGINT), i.key, CAST(:version AS INTEGER), NULL, b.record, b.pixels, NULL
FROM batch b JOIN instance i ON i.datastore = :datastore AND i.sop_instance_uid = b.sop_instance_uid
WHERE b.place = 1
"""
)
_FIRST_OF_BATCH = _statement("SELECT record FROM batch WHERE place = 1 ORDER BY file LIMIT 1")
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


def add_instances(conn: Connection, batch: Batch) -> None:
    """Rows of ``instance`` for the UIDs of the batch that are new to the data store.

    The transaction has to hold `leftovers.share`, as it does after `studies.lock`.
    """
    conn.execute(_ADD_INSTANCES, batch.values(datastore=batch.datastore))
    if leftovers.any_of(conn, leftovers.INSTANCE):
        conn.execute(_RESCUE_INSTANCES, batch.values(datastore=batch.datastore, kind=leftovers.INSTANCE))


def list_unused(conn: Connection, batch: Batch, *, all: bool) -> None:
    """Tell the collector of the records of the batch that came twice and became no member, or of all."""
    conn.execute(_LIST_UNUSED, batch.values(kind=leftovers.RECORD, first=1 if all else 2))


def add_members(conn: Connection, batch: Batch, key: int, number: int) -> int:
    """A member a SOPInstanceUID of the batch, valid from version ``number``; returns how many."""
    values = batch.values(datastore=batch.datastore, image_set=key, version=number)
    return conn.execute(_ADD_MEMBERS, values).rowcount


def close_replaced(conn: Connection, batch: Batch, key: int, number: int) -> int:
    """Close the members whose SOPInstanceUID comes again; returns how many."""
    values = batch.values(datastore=batch.datastore, image_set=key, version=number)
    return conn.execute(_CLOSE, values).rowcount


def first_of_batch(conn: Connection, batch: Batch) -> int:
    """The record of the first file of the batch that becomes a member."""
    return int(conn.execute(_FIRST_OF_BATCH, batch.values()).scalar_one())


def add_outcomes(conn: Connection, batch: Batch, id: str, number: int, is_primary: bool) -> None:
    """Every staged file of the batch is imported."""
    conn.execute(_OUTCOMES, batch.values(id=id, version=number, is_primary=is_primary))
