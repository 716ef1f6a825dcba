"""Turns what has been read into image sets: one transaction for some series, one version of each set.

The rules are in docs/design/versions.md, "What an import does"; sources: devguide/understanding-image-sets
and understanding-import-jobs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from sqlalchemy import Connection

from lightwell.clock import Ids
from lightwell.domain.events import EventHeader, ImageSetDetail, image_set_event
from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.image_sets.search_columns import SearchColumns, search_columns
from lightwell.domain.imports.jobs import Job, Outcome
from lightwell.domain.keys import ImageSetKey, RecordKey, StudyKey
from lightwell.domain.states import ImageSetState, Origin, OutcomeKind, WorkflowStatus
from lightwell.errors import LightwellError
from lightwell.stores.background import outbox
from lightwell.stores.image_sets import (
    existing_instances,
    importing,
    level_inheritance,
    members,
    records,
    studies,
)
from lightwell.stores.image_sets.existing_instances import Twins, Verdicts
from lightwell.stores.image_sets.importing import SetRow, StagedBatch
from lightwell.stores.image_sets.records import Levels
from lightwell.stores.image_sets.writing import ImageSetChange, NewImageSet, NewVersion, add_version
from lightwell.stores.jobs import staging
from lightwell.stores.jobs.staging import Batch, WaitingSeries
from lightwell.stores.qido import index


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """The data store in which image sets are made, and what events name besides."""

    region: str
    account: str
    datastore: int
    datastore_id: str


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one series with the same grouping values; levels and columns are those of the first.

    ``caller`` is the ARN of who imported them.
    """

    batch: Batch
    grouping: Grouping
    files: int
    levels: Levels
    columns: SearchColumns
    caller: str
    emergency: bool


AnyGroup = TypeVar("AnyGroup", bound=Group)


@dataclass(frozen=True, slots=True)
class VersionRef:
    """The version of an image set that has a group's instances."""

    id: str
    version: int
    is_primary: bool


@dataclass(frozen=True, slots=True)
class Written:
    """A version of an image set that was made: about whom, with how many instances, and who sent them,
    in an emergency or not."""

    image_set: str
    version: int
    patient: str | None
    study: str
    series: str
    instances: int
    caller: str
    emergency: bool


class TwinsMet(LightwellError):
    """The transaction cannot go on before bytes have been compared, which takes too long in it.

    See `ingest.twins`, which begins it again with the verdicts.
    """

    def __init__(self, twins: Sequence[Twins]) -> None:
        super().__init__("Files have been imported by others meanwhile, and have to be compared.")
        self.twins = twins


@dataclass(frozen=True, slots=True)
class Merge:
    """The transaction in which groups are put into image sets; ``written`` is what it has made of them."""

    conn: Connection
    target: ImportTarget
    ids: Ids
    now: int
    verdicts: Verdicts = field(default_factory=dict)
    written: list[Written] = field(default_factory=list)


def prepare(conn: Connection, job: Job, waiting: WaitingSeries) -> list[Group]:
    """The groups of a series in input order, with what their commit needs.

    Read before the transaction: only the engine that holds the job's claim changes it.
    """
    rows = staging.waiting_groups(conn, job.key, waiting)
    levels = records.levels_of(conn, [row.first_record for row in rows])
    keys = {key for of in levels.values() for key in (of.patient, of.study, of.series)}
    bodies = {key: json.loads(body) for key, body in records.level_bodies(conn, keys).items()}
    groups = []
    for row in rows:
        of = levels[row.first_record]
        batch = Batch(
            job.key,
            job.datastore,
            waiting.study_instance_uid,
            waiting.series_instance_uid,
            row.grouping,
            row.stored,
        )
        grouping = Grouping.from_json(row.grouping)
        columns = search_columns(grouping, bodies[of.patient], bodies[of.study], bodies[of.series])
        groups.append(Group(batch, grouping, row.files, of, columns, job.caller, bool(job.emergency)))
    return groups


class _Sets:
    """The image sets of one series, under the lock of its study."""

    def __init__(self, rows: list[SetRow]) -> None:
        self.has_primary = any(row.is_primary for row in rows)
        self._by_values: dict[tuple[str, ...], SetRow] = {}
        imported = [row for row in rows if row.origin == Origin.IMPORT]
        for row in sorted(imported, key=lambda r: (not r.is_primary, r.created_at, r.key)):
            self._by_values.setdefault(row.grouping, row)

    def candidate(self, columns: SearchColumns) -> SetRow | None:
        """The set to join: from an import, the same grouping values, primary first, then the oldest."""
        return self._by_values.get(_values(columns))

    def add(self, row: SetRow) -> None:
        self.has_primary |= row.is_primary
        self._by_values[row.grouping] = row


def commit(merge: Merge, groups: Sequence[Group]) -> None:
    """Put what a job has staged for groups into image sets, in input order.

    Does nothing if that was done before: nothing is staged then. Raises `TwinsMet`.
    """
    conn = merge.conn

    def settle(group: Group, staged: StagedBatch, version: VersionRef) -> None:
        importing.add_outcomes(
            conn, group.batch, staged.unchanged, version.id, version.version, version.is_primary
        )
        importing.list_unused(conn, [*staged.unused, *staged.unchanged])
        staging.clear(conn, group.batch)

    put(merge, groups, lambda group: importing.load(conn, group.batch), settle)


def put(
    merge: Merge,
    groups: Sequence[AnyGroup],
    load: Callable[[AnyGroup], StagedBatch],
    settle: Callable[[AnyGroup, StagedBatch, VersionRef], None],
) -> None:
    """Put groups, in input order, into image sets, in the caller's transaction.

    ``load`` returns the instances of a group. If there are any, ``settle`` is called with the version that
    has them. Raises `TwinsMet`.
    """
    conn, target = merge.conn, merge.target
    studies_of = {group.batch.study_instance_uid: StudyKey(merge.ids.key()) for group in groups}
    locked = studies.lock(conn, target.datastore, studies_of)
    for group, sets in _with_sets(conn, target, groups):
        staged = load(group)
        if not staged.members:
            continue
        candidate = sets.candidate(group.columns)
        if candidate is None:
            study = locked[group.batch.study_instance_uid]
            row = _create(merge, study, sets.has_primary, group, staged)
        else:
            row, staged = _grow(merge, candidate, group, staged)
        sets.add(row)
        if candidate is None or row.latest_version != candidate.latest_version:
            merge.written.append(_written(row, group, len(staged.members)))
        settle(group, staged, VersionRef(row.id, row.latest_version, row.is_primary))


def _with_sets(
    conn: Connection, target: ImportTarget, groups: Sequence[AnyGroup]
) -> Iterator[tuple[AnyGroup, _Sets]]:
    sets_of_series: dict[tuple[str, str], _Sets] = {}
    for group in groups:
        series = (group.batch.study_instance_uid, group.batch.series_instance_uid)
        if series not in sets_of_series:
            sets_of_series[series] = _Sets(importing.sets_of_series(conn, target.datastore, *series))
        yield group, sets_of_series[series]


def _written(row: SetRow, group: Group, instances: int) -> Written:
    # A set that grows has the grouping values of what joins it, and so its PatientID.
    patient, batch = group.columns.patient_id, group.batch
    study, series = batch.study_instance_uid, batch.series_instance_uid
    who = group.caller, group.emergency
    return Written(row.id, row.latest_version, patient, study, series, instances, *who)


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


def _create(merge: Merge, study: StudyKey, has_primary: bool, group: Group, staged: StagedBatch) -> SetRow:
    conn, target, now = merge.conn, merge.target, merge.now
    key, id, batch, columns = ImageSetKey(merge.ids.key()), merge.ids.id(), group.batch, group.columns
    is_primary = not has_primary and not studies.is_contradicted(conn, study, columns)
    importing.add_members(conn, staged, importing.find_instances(conn, target.datastore, staged), key, 1)
    levels = group.levels
    if staged.unused:
        levels, columns = _of_first_member(conn, group, staged)
    new = NewImageSet(
        key=key,
        id=id,
        datastore=target.datastore,
        study=study,
        study_instance_uid=batch.study_instance_uid,
        series_instance_uid=batch.series_instance_uid,
        origin=Origin.IMPORT,
        is_primary=is_primary,
        instance_count=len(staged.members),
        columns=columns,
    )
    first = NewVersion(number=1, workflow_status=WorkflowStatus.CREATED, caller=group.caller, created_at=now)
    importing.insert_imported_set(conn, new, first, levels)
    if is_primary:
        index.add_set(conn, key, now)
    _announce(merge, id, 1, is_primary, WorkflowStatus.CREATED)
    return SetRow(key, id, Origin.IMPORT, is_primary, 1, now, len(staged.members), _values(columns))


def _of_first_member(conn: Connection, group: Group, staged: StagedBatch) -> tuple[Levels, SearchColumns]:
    """Levels and columns of the first file that became a member: the batch may replace its very first one."""
    record = staged.members[0].record
    levels = records.levels_of(conn, [record])[record]
    if levels == group.levels:
        return levels, group.columns
    keys = (levels.patient, levels.study, levels.series)
    bodies = records.level_bodies(conn, keys)
    return levels, search_columns(group.grouping, *(json.loads(bodies[key]) for key in keys))


def _grow(merge: Merge, old: SetRow, group: Group, staged: StagedBatch) -> tuple[SetRow, StagedBatch]:
    """A new version of the image set, or its latest where nothing changes; and the instances that changed
    it."""
    conn, now = merge.conn, merge.now
    number = old.latest_version + 1
    instances = importing.find_instances(conn, merge.target.datastore, staged)
    if old.is_primary:
        same, twins = existing_instances.compare_staged(
            conn, old.key, staged.members, instances, merge.verdicts
        )
        if twins:
            raise TwinsMet(twins)
        if same:
            staged = _without(staged, same)
            if not staged.members:
                return old, staged
            instances = {member.uid: instances[member.uid] for member in staged.members}
    closed = importing.close_replaced(conn, instances.values(), old.key, number)
    importing.add_members(conn, staged, instances, old.key, number)
    columns = _reassign_levels(conn, staged, old, number) if closed else None
    count = old.instance_count + len(staged.members) - closed
    version = NewVersion(
        number=number, workflow_status=WorkflowStatus.IMPORTED, caller=group.caller, created_at=now
    )
    add_version(conn, old.key, version, ImageSetChange(columns=columns, instance_count=count))
    if old.is_primary:
        index.grow_set(conn, old.key, now, instances.values(), again=closed > 0, columns=columns is not None)
    _announce(merge, old.id, number, old.is_primary, WorkflowStatus.IMPORTED)
    return replace(old, latest_version=number, instance_count=count), staged


def _without(staged: StagedBatch, unchanged: set[RecordKey]) -> StagedBatch:
    changed = [member for member in staged.members if member.record not in unchanged]
    return StagedBatch(changed, staged.unused, sorted(unchanged))


def _reassign_levels(conn: Connection, staged: StagedBatch, old: SetRow, number: int) -> SearchColumns | None:
    """Reassign levels whose first member is replaced. Returns the search columns if they may have changed."""
    if not level_inheritance.reassign_level_base(
        conn, old.key, number, first=lambda: staged.members[0].record
    ):
        return None
    return members.search_columns(conn, old.key)


def _announce(merge: Merge, id: str, number: int, is_primary: bool, status: WorkflowStatus) -> None:
    target = merge.target
    event = image_set_event(
        "Image Set Created",
        EventHeader(
            id=merge.ids.id(),
            now=merge.now,
            region=target.region,
            account=target.account,
            datastore_id=target.datastore_id,
        ),
        ImageSetDetail(
            image_set_id=id,
            version=number,
            is_primary=is_primary,
            state=ImageSetState.ACTIVE,
            workflow_status=status,
        ),
    )
    outbox.append(merge.conn, event)


def give_up(
    conn: Connection, job: Job, target: ImportTarget, group: Group, *, message: str, now: int
) -> Written | None:
    """Record that a group cannot be committed: for its files, and in the image set that they would join.

    Returns the version of that set which says so, if there is one.
    """
    written = None
    ((_, sets),) = _with_sets(conn, target, [group])
    candidate = sets.candidate(group.columns)
    if candidate is not None:
        failed = NewVersion(
            number=candidate.latest_version + 1,
            workflow_status=WorkflowStatus.IMPORT_FAILED,
            caller=job.caller,
            created_at=now,
            message=message,
        )
        add_version(conn, candidate.key, failed, is_access=False)
        written = _written(replace(candidate, latest_version=failed.number), group, 0)
    outcomes = [
        Outcome(file, name, OutcomeKind.SERVER, exception_type="InternalServerException", message=message)
        for file, name in staging.staged_files(conn, group.batch)
    ]
    staging.add_outcomes(conn, job.key, outcomes)
    staged = importing.load(conn, group.batch)
    importing.list_unused(conn, [*staged.unused, *(member.record for member in staged.members)])
    staging.clear(conn, group.batch)
    return written
