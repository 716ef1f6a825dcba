"""From what a job has read to image sets: one transaction a series, one version a set.

The rules are those of ``versions.md``, "Putting instances in"; sources: devguide/understanding-image-sets and
understanding-import-jobs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lightwell.context import Ids
from lightwell.domain.columns import SearchColumns, search_columns
from lightwell.domain.events import image_set_event
from lightwell.domain.grouping import Grouping
from lightwell.domain.jobs import SERVER, Job, Outcome
from lightwell.stores import growth, outbox, records, staging, studies
from lightwell.stores.growth import Batch, OpenLevel, SetRow
from lightwell.stores.records import Levels
from lightwell.stores.staging import WaitingSeries


@dataclass(frozen=True, slots=True)
class Place:
    """Where image sets are made, as events name it."""

    region: str
    account: str
    datastore: int
    datastore_id: str


@dataclass(frozen=True, slots=True)
class Group:
    """Staged files of one series that agree in the grouping values, with what their first one says."""

    batch: Batch
    grouping: Grouping
    levels: Levels
    columns: SearchColumns


@dataclass(frozen=True, slots=True)
class Series:
    """A series that waits to be committed, its groups in input order."""

    waiting: WaitingSeries
    groups: tuple[Group, ...]


def prepare(conn: Connection, job: Job, waiting: WaitingSeries) -> Series:
    """Read what the commit of a series needs, before its transaction: only the job's holder changes it."""
    rows = staging.waiting_groups(conn, job.key, waiting)
    levels = records.levels_of(conn, [row.first_record for row in rows])
    keys = {key for of in levels.values() for key in (of.patient, of.study, of.series)}
    bodies = {key: json.loads(body) for key, body in records.level_bodies(conn, keys).items()}
    groups = []
    for row in rows:
        grouping = Grouping.from_json(row.grouping)
        of = levels[row.first_record]
        batch = Batch(
            job.key, job.datastore, waiting.study_instance_uid, waiting.series_instance_uid, row.grouping
        )
        columns = search_columns(grouping, bodies[of.patient], bodies[of.study], bodies[of.series])
        groups.append(Group(batch, grouping, of, columns))
    return Series(waiting, tuple(groups))


def commit(conn: Connection, job: Job, place: Place, batch: Sequence[Series], *, ids: Ids, now: int) -> None:
    """Put series, in input order, into image sets. Harmless where that was done: nothing is staged then."""
    uids = {series.waiting.study_instance_uid: ids.key() for series in batch}
    locked = studies.lock(conn, place.datastore, uids)
    for series in batch:
        waiting = series.waiting
        study = locked[waiting.study_instance_uid]
        sets = growth.sets_of_series(
            conn, place.datastore, waiting.study_instance_uid, waiting.series_instance_uid
        )
        for group in series.groups:
            growth.add_instances(conn, group.batch)
            candidate = _candidate(sets, group.columns)
            if candidate is None:
                sets.append(_create(conn, job, place, study, sets, group, ids, now))
            else:
                _grow(conn, job, place, candidate, group, ids, now)
        staging.clear_series(conn, job.key, waiting)


def _candidate(sets: list[SetRow], columns: SearchColumns) -> SetRow | None:
    """The set that the group joins: from an import, the same grouping values, primary first, then oldest."""
    wanted = _values(columns)
    found = [
        s
        for s in sets
        if s.origin == "import"
        and (s.patient_id, s.study_date, s.accession_number, s.study_id, s.series_number) == wanted
    ]
    return min(found, key=lambda s: (not s.is_primary, s.created_at, s.key), default=None)


def _values(columns: SearchColumns) -> tuple[str, ...]:
    return tuple(
        value or ""
        for value in (
            columns.patient_id,
            columns.study_date,
            columns.accession_number,
            columns.study_id,
            columns.series_number,
        )
    )


def _create(
    conn: Connection,
    job: Job,
    place: Place,
    study: int,
    sets: list[SetRow],
    group: Group,
    ids: Ids,
    now: int,
) -> SetRow:
    key, id, batch, columns = ids.key(), ids.id(), group.batch, group.columns
    is_primary = not any(s.is_primary for s in sets) and not growth.contradicted(conn, study, columns)
    count = growth.add_members(conn, batch, key, 1)
    growth.add_set(
        conn,
        key=key,
        id=id,
        datastore=place.datastore,
        study=study,
        series_instance_uid=batch.series_instance_uid,
        is_primary=is_primary,
        columns=columns,
        levels=group.levels,
        instance_count=count,
        caller=job.caller,
        now=now,
    )
    growth.add_outcomes(conn, batch, id, 1, is_primary)
    _announce(conn, place, id, 1, is_primary, "CREATED", ids, now)
    return SetRow(key, id, "import", is_primary, 1, now, *_values(columns))


def _grow(conn: Connection, job: Job, place: Place, target: SetRow, group: Group, ids: Ids, now: int) -> None:
    batch, number = group.batch, target.latest_version + 1
    levels = growth.open_levels(conn, target.key)
    closed, lost = growth.close_replaced(conn, batch, target.key, number, levels)
    added = growth.add_members(conn, batch, target.key, number)
    columns = _hand_over(conn, batch, target, number, levels, lost, group.grouping)
    growth.add_version(conn, target.key, number, "IMPORTED", None, job.caller, now)
    growth.grow(conn, target.key, number, added - closed, now, columns)
    growth.add_outcomes(conn, batch, target.id, number, target.is_primary)
    _announce(conn, place, target.id, number, target.is_primary, "IMPORTED", ids, now)


def _hand_over(
    conn: Connection,
    batch: Batch,
    target: SetRow,
    number: int,
    levels: list[OpenLevel],
    lost: list[OpenLevel],
    grouping: Grouping,
) -> SearchColumns | None:
    """Give each level whose base no open member carries any more the oldest open member's block.

    Returns the search columns if they may have changed.
    """
    orphaned = [row for row in lost if not growth.carried(conn, target.key, row)]
    if not orphaned:
        return None
    record = growth.heir(conn, batch, target.key, number)
    heir = records.levels_of(conn, [record])[record]
    bases = {row.level: row.base for row in levels}
    for row in orphaned:
        bases[row.level] = (heir.patient, heir.study, heir.series)[row.level]
        growth.replace_level(conn, target.key, row, number, bases[row.level])
    bodies = records.level_bodies(conn, bases.values())
    blocks = [json.loads(bodies[bases[level]]) for level in (0, 1, 2)]
    return search_columns(grouping, *blocks)


def _announce(
    conn: Connection,
    place: Place,
    id: str,
    number: int,
    is_primary: bool,
    status: str,
    ids: Ids,
    now: int,
) -> None:
    event = image_set_event(
        "Image Set Created",
        id=ids.id(),
        now=now,
        region=place.region,
        account=place.account,
        datastore_id=place.datastore_id,
        image_set_id=id,
        version=number,
        is_primary=is_primary,
        state="ACTIVE",
        workflow_status=status,
    )
    outbox.append(conn, event)


def give_up(conn: Connection, job: Job, place: Place, series: Series, *, message: str, now: int) -> None:
    """Record that a series cannot be committed: its files fail, and the sets that they would join say so."""
    waiting = series.waiting
    sets = growth.sets_of_series(
        conn, place.datastore, waiting.study_instance_uid, waiting.series_instance_uid
    )
    for group in series.groups:
        candidate = _candidate(sets, group.columns)
        if candidate is not None:
            number = candidate.latest_version + 1
            growth.add_version(conn, candidate.key, number, "IMPORT_FAILED", message, job.caller, now)
            growth.fail_version(conn, candidate.key, number, now)
    files = staging.staged_files(conn, job.key, waiting)
    staging.add_outcomes(
        conn,
        job.key,
        [
            Outcome(file, name, SERVER, exception_type="InternalServerException", message=message)
            for file, name in files
        ],
    )
    staging.clear_series(conn, job.key, waiting)
