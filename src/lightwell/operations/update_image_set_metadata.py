"""UpdateImageSetMetadata: a new version of an image set, or of all primary sets of a study.

The change is planned first, on the version that the request names, which never changes. One transaction then
opens the sets at that version and applies the plan. So an invalid request is refused at once, and only a
fault of ours while applying the plan leaves a failed version.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.domain.events import ImageSetDetail
from lightwell.domain.image_sets.edits import merge_edits
from lightwell.domain.image_sets.levels import SERIES, STUDY
from lightwell.domain.image_sets.search_columns import SearchColumns, columns_of_levels
from lightwell.domain.image_sets.updates import PAYLOAD_QUOTA, REMOVABLE, UPDATABLE, Changes, read_changes
from lightwell.domain.keys import InstanceKey, StudyKey
from lightwell.domain.states import ImageSetState, WorkflowStatus
from lightwell.errors import QuotaExceededError, ValidationError
from lightwell.operations import affected_image_sets, quotas
from lightwell.operations.context import Context
from lightwell.operations.image_sets import seconds
from lightwell.operations.version_ids import version_number
from lightwell.stores.background import gc_candidates
from lightwell.stores.image_sets import (
    changes,
    instances,
    level_inheritance,
    lookups,
    members,
    native_instances,
    studies,
)
from lightwell.stores.image_sets.changes import LockedImageSet
from lightwell.stores.image_sets.writing import ImageSetChange
from lightwell.stores.qido import index
from lightwell.wire import shapes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.operations.update_plan import CurrentVersion, Plan

log = logging.getLogger(__name__)

_FAULT = (
    "The server failed while making this update, and has changed nothing. Its log says why. The update may "
    "be tried again."
)


@dataclass(frozen=True, slots=True)
class _Revert:
    """A revert to an older version; ``columns`` and ``series`` are what that version shows."""

    target: int
    columns: SearchColumns
    series: str


@dataclass(frozen=True, slots=True)
class _RequestedChange:
    """What a request asks for: a plan or a revert, and whether it applies to the whole study."""

    plan: Plan | None
    revert: _Revert | None
    study_wide: bool

    @property
    def study_instance_uid(self) -> str | None:
        """The new StudyInstanceUID of the set; None where it stays the same."""
        if self.plan is not None:
            return self.plan.uid(STUDY, "StudyInstanceUID")
        return None if self.revert is None else self.revert.columns.study_instance_uid


def update_image_set_metadata(
    ctx: Context, request: shapes.UpdateImageSetMetadataRequest
) -> shapes.UpdateImageSetMetadataResponse:
    """Change or remove attributes, remove instances, or revert to an older version.

    Raises `ValidationError` for what a rule forbids, `NotFoundError` for a set that does not exist and, in
    the service's own words, for a version that is not the latest; `ConflictError` where a set was added to
    the study after the caller's policies were evaluated; `QuotaExceededError`, where quotas are enforced, for
    blobs or a document longer than the quota.
    """
    updates = request.update_image_set_metadata_updates
    study_wide = bool(request.include_study_image_sets)
    blobs = _read_blobs(updates, ctx.settings.quotas)
    if blobs is None and study_wide:
        raise ValidationError(
            "includeStudyImageSets requires DICOMUpdates; a revert changes one image set only."
        )
    with ctx.stores.db.read() as conn:
        latest = version_number(request.latest_version_id)
        found = affected_image_sets.look_up(conn, request.datastore_id, request.image_set_id, latest)
        if blobs is None:
            assert updates.revert_to_version_id is not None
            change = _RequestedChange(
                None, _find_revert_target(conn, found, updates.revert_to_version_id), False
            )
        else:
            plan = _plan(conn, found, blobs, force=bool(request.force), study_wide=study_wide)
            change = _RequestedChange(plan, None, study_wide)
    now = ctx.clock.now()
    opened = ctx.stores.db.write(lambda conn: _update(ctx, conn, request, change, now))
    return shapes.UpdateImageSetMetadataResponse(
        datastore_id=request.datastore_id,
        image_set_id=opened.id,
        latest_version_id=str(opened.number),
        image_set_state=ImageSetState.LOCKED,
        image_set_workflow_status=WorkflowStatus.UPDATING,
        created_at=seconds(opened.created_at),
        updated_at=seconds(now),
    )


def _read_blobs(updates: shapes.MetadataUpdates, quotas: str) -> tuple[Changes, Changes] | None:
    """The removable and the updatable blob; None for a revert."""
    given = updates.dicom_updates
    if given is None:
        return None
    removable, updatable = given.removable_attributes, given.updatable_attributes
    size = len(removable or b"") + len(updatable or b"")
    if quotas == "aws" and size > PAYLOAD_QUOTA:
        raise QuotaExceededError(f"The update is {size} bytes long, and the quota is {PAYLOAD_QUOTA} bytes.")
    return read_changes(removable, REMOVABLE), read_changes(updatable, UPDATABLE)


def _find_revert_target(conn: Connection, found: LockedImageSet, text: str) -> _Revert:
    target = version_number(text)
    if target == found.latest_version:
        raise ValidationError(f"Version {target} is already the latest version of image set {found.id}.")
    version = lookups.get_version(conn, found.key, target)
    if version is None:
        raise ValidationError(f"Image set {found.id} has no version {text[:20]} to revert to.")
    if version.workflow_status.is_failure:
        raise ValidationError(
            f"Version {target} of image set {found.id} failed, so the image set cannot be reverted to it."
        )
    levels = native_instances.levels(conn, found.key, target)
    columns = columns_of_levels(*(metadata_documents.edited_level(level) for level in levels))
    return _Revert(target, columns, metadata_documents.series_uid(levels) or found.series_instance_uid)


def _plan(
    conn: Connection, found: LockedImageSet, blobs: tuple[Changes, Changes], *, force: bool, study_wide: bool
) -> Plan:
    # Imported here because it loads the DICOM dictionary, which takes time and memory.
    from lightwell.operations import update_plan

    content = current_version(conn, found, *blobs)
    plan = update_plan.plan_update(content, *blobs, force=force, study_wide=study_wide)
    check_unique(conn, found, plan)
    return plan


def current_version(conn: Connection, found: LockedImageSet, *blobs: Changes) -> CurrentVersion:
    """The latest version of a set with the instances that the blobs of a request name."""
    from lightwell.operations import update_plan

    levels = native_instances.levels(conn, found.key, found.latest_version)
    open_members = members.open_members(conn, found.key, update_plan.named_instances(*blobs))
    shown = {}
    named = [each.instance for each in open_members.values()]
    for member, _ in (
        native_instances.members(conn, found.key, found.latest_version, only=named) if named else ()
    ):
        uid = member.sop_instance_uid
        shown[uid] = update_plan.PlannedInstance(
            open_members[uid], *metadata_documents.edited_instance(conn, found.key, member, levels)
        )
    return update_plan.CurrentVersion(
        id=found.id,
        is_primary=found.is_primary,
        instance_count=found.instance_count,
        levels=tuple(metadata_documents.edited_level(level) for level in levels),
        series_instance_uid=metadata_documents.series_uid(levels) or found.series_instance_uid,
        instances=shown,
    )


def check_unique(conn: Connection, found: LockedImageSet, plan: Plan) -> None:
    """SOPInstanceUIDs must be unique in a set after all renames and removals of the request.

    Raises `ValidationError` where they are not.
    """
    renamed = plan.renamed
    leaving = {each.instance for each in (*plan.removed.values(), *plan.changed.values())}
    taken = [
        uid
        for uid, each in members.open_members(conn, found.key, renamed).items()
        if each.instance not in leaving
    ]
    kept = [each.sop_instance_uid for each in plan.changed.values()]
    twice = taken or [uid for uid in renamed if kept.count(uid) > 1]
    if twice:
        raise ValidationError(f"SOPInstanceUID {twice[0]} would occur twice in image set {found.id}.")


def _update(
    ctx: Context,
    conn: Connection,
    request: shapes.UpdateImageSetMetadataRequest,
    change: _RequestedChange,
    now: int,
) -> LockedImageSet:
    """The transaction: opens the sets, applies the change, and writes versions and events."""
    new_study = change.study_instance_uid
    opened = affected_image_sets.open_sets(
        conn,
        request.datastore_id,
        {request.image_set_id: version_number(request.latest_version_id)},
        studies={} if new_study is None else {new_study: StudyKey(ctx.ids.key())},
    )[request.image_set_id]
    sets = [opened]
    if change.study_wide:
        sets += [each for each in changes.open_primaries(conn, opened.study) if each.key != opened.key]
        affected_image_sets.check_authorized(ctx, sets[1:])
    results: dict[int, _AppliedChange] = {}

    def make() -> None:
        for each in sets:
            results[each.key] = _apply(ctx, conn, each, change)

    fault = changes.attempt(conn, make)
    if fault is not None:
        log.error("update of image set %s failed", opened.id, exc_info=fault)
        results = {}
    announcer = changes.Announcer(
        conn,
        region=ctx.settings.region,
        account=ctx.settings.account_id,
        datastore_id=request.datastore_id,
        new_id=ctx.ids.id,
        now=now,
    )
    caller, forced = ctx.caller.arn, True if request.force else None
    for each in sets:
        result = results.get(each.key)
        if result is None:
            failed = each.next_version(
                WorkflowStatus.UPDATE_FAILED, caller=caller, now=now, message=_FAULT, forced=forced
            )
            changes.write_version(conn, each, failed)
        else:
            updated = each.next_version(WorkflowStatus.UPDATED, caller=caller, now=now, forced=forced)
            updated = replace(updated, reverted_to=change.revert.target if change.revert else None)
            changes.write_version(conn, each, updated, result.change)
    for each in sets:
        if each.is_primary and fault is None:
            _update_index(conn, each, results[each.key], now)
    _append_events(announcer, sets, failed=fault is not None)
    if ctx.settings.quotas == "aws" and fault is None:
        for each in sets:
            quotas.check_metadata(conn, request.datastore_id, each.id)
    return opened


@dataclass(frozen=True, slots=True)
class _AppliedChange:
    """What has changed of a set."""

    change: ImageSetChange
    #: the instances whose members were closed and opened; None after a revert
    closed: Sequence[int] | None = ()
    opened: Sequence[int] = ()


def _apply(
    ctx: Context, conn: Connection, opened: LockedImageSet, change: _RequestedChange
) -> _AppliedChange:
    study_key = None
    new_study = change.study_instance_uid
    if new_study is not None and new_study != opened.study_instance_uid:
        study_key = changes.study_keys(conn, opened.datastore, [new_study])[new_study]
    if change.revert is not None:
        return _apply_revert(conn, opened, change.revert, study_key)
    plan = change.plan
    assert plan is not None
    closed = [each.instance for each in (*plan.removed.values(), *plan.changed.values())]
    reopened: list[int] = []
    if closed:
        members.close_members(conn, opened.key, opened.number, closed)
        reopened = _reopen(ctx, conn, opened, plan)
    levels = {row.level: row for row in members.open_levels(conn, opened.key)} if any(plan.levels) else {}
    for number, edits in enumerate(plan.levels):
        if edits:
            row = levels[number]
            members.replace_level(
                conn, opened.key, opened.number, replace(row, edits=merge_edits(row.edits, edits))
            )
    handed_over = bool(plan.removed) and level_inheritance.reassign_level_base(
        conn, opened.key, opened.number
    )
    written = ImageSetChange(
        columns=members.search_columns(conn, opened.key) if levels or handed_over else None,
        series_instance_uid=plan.uid(SERIES, "SeriesInstanceUID"),
        study=study_key,
        instance_count=opened.instance_count - len(plan.removed) if plan.removed else None,
    )
    return _AppliedChange(written, closed=closed, opened=reopened)


def _reopen(ctx: Context, conn: Connection, opened: LockedImageSet, plan: Plan) -> list[int]:
    """The changed instances again, with their new edits and under their new UIDs; their keys."""
    new = {uid: InstanceKey(ctx.ids.key()) for uid in plan.renamed}
    keys = {}
    if new:
        gc_candidates.lock_shared(conn)
        keys = instances.find_or_insert(conn, opened.datastore, new)
    changed = [
        replace(each, instance=keys.get(each.sop_instance_uid, each.instance))
        for each in plan.changed.values()
    ]
    members.add_members(conn, opened.key, opened.number, changed)
    return [each.instance for each in changed]


def _apply_revert(
    conn: Connection, opened: LockedImageSet, revert: _Revert, study_key: StudyKey | None
) -> _AppliedChange:
    if opened.is_primary:
        now = lookups.summary(conn, opened.key)
        names = ("patient_id", "study_date", "accession_number", "study_id")
        differs = any(getattr(now, name) != getattr(revert.columns, name) for name in names)
        if differs and studies.is_contradicted(conn, opened.study, revert.columns, apart_from=opened.key):
            raise ValidationError(
                f"Version {revert.target} of image set {opened.id} differs in PatientID, StudyDate, "
                "AccessionNumber or StudyID from the other primary image sets of its study. Change these "
                "attributes for the whole study with includeStudyImageSets."
            )
    members.restore(conn, opened.key, opened.number, revert.target)
    written = ImageSetChange(
        columns=revert.columns,
        series_instance_uid=revert.series,
        study=study_key,
        instance_count=members.count(conn, opened.key),
    )
    return _AppliedChange(written, closed=None)


def _update_index(conn: Connection, opened: LockedImageSet, result: _AppliedChange, now: int) -> None:
    """Update the search index to what the set shows now."""
    if result.closed is None:
        index.change_to(conn, opened.key, now, opened.number, before=opened.study)
    else:
        index.change_set(conn, opened.key, now, result.closed, result.opened, before=opened.study)


def _append_events(announcer: changes.Announcer, sets: Sequence[LockedImageSet], *, failed: bool) -> None:
    """First that the sets are locked, then how the update ended, as a client of the service sees it."""
    for place, each in enumerate(sets):
        announcer.image_set(
            "Image Set Updating",
            ImageSetDetail(
                image_set_id=each.id,
                version=each.number,
                is_primary=each.is_primary,
                state=ImageSetState.LOCKED,
                workflow_status=(
                    WorkflowStatus.UPDATING_FOR_STUDY_CONSISTENCY if place else WorkflowStatus.UPDATING
                ),
            ),
        )
    for each in sets:
        announcer.image_set(
            "Image Set Update Failed" if failed else "Image Set Updated",
            ImageSetDetail(
                image_set_id=each.id,
                version=each.number,
                is_primary=each.is_primary,
                state=ImageSetState.ACTIVE,
                workflow_status=WorkflowStatus.UPDATE_FAILED if failed else WorkflowStatus.UPDATED,
            ),
        )
