"""CopyImageSet: a new image set from another one, instances into an existing one, and promotion to primary.

Sources: the service model, devguide/copy-image-set and /update-image-set-metadata. An invalid request is
refused at once. That source and destination do not match is found after the copy was accepted, as at the
service: the destination gets a failed version with a message. The whole copy is one transaction, and has
already ended when the response says that it has begun.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lightwell.domain.arn import image_set_arn
from lightwell.domain.events import ImageSetDetail
from lightwell.domain.image_sets.copying import (
    CONTRADICTED,
    COPIABLE,
    FRAME_QUOTA,
    CopyRefused,
    Selection,
    duplicate_instance,
    read_selection,
)
from lightwell.domain.keys import ImageSetKey, InstanceKey
from lightwell.domain.states import ImageSetState, WorkflowStatus
from lightwell.errors import ConflictError, QuotaExceededError, ValidationError
from lightwell.operations import affected_image_sets, copy_compatibility, quotas
from lightwell.operations.context import Context
from lightwell.operations.image_sets import seconds
from lightwell.operations.version_ids import version_number
from lightwell.stores.image_sets import changes, copying, level_inheritance, members, studies
from lightwell.stores.image_sets.changes import LockedImageSet
from lightwell.stores.image_sets.writing import ImageSetChange, NewVersion, set_search_columns
from lightwell.stores.qido import index
from lightwell.wire import shapes

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

_FAULT = (
    "The server failed while making this copy, and has changed nothing. Its log says why. The copy may be "
    "tried again."
)


@dataclass(frozen=True, slots=True)
class _CopyResult:
    """The outcome of a copy. ``number`` is the destination's version that was created or failed."""

    source: LockedImageSet
    id: str
    number: int
    created_at: int
    is_primary: bool


def copy_image_set(ctx: Context, request: shapes.CopyImageSetRequest) -> shapes.CopyImageSetResponse:
    """Copy all instances of a set, or the named ones, into a new set, an existing one or the primary set.

    Raises `ValidationError` for what a rule forbids, `NotFoundError` for a set that does not exist and, in
    the service's own words, for a version that is not the latest; `ConflictError` for the promotion of a
    primary set, or into one that was added after the caller's policies were evaluated; `QuotaExceededError`,
    where quotas are enforced, for more frames or a longer document than the quota.
    """
    asked = request.copy_image_set_information
    destination, subset = asked.destination_image_set, asked.source_image_set.dicom_copies
    if destination is not None and request.promote_to_primary:
        raise ValidationError(
            "promoteToPrimary cannot be combined with destinationImageSet: the destination is the primary "
            "image set of the series, which is created if it does not exist."
        )
    if destination is not None and destination.image_set_id == request.source_image_set_id:
        raise ValidationError("The source and the destination of a copy must be different image sets.")
    selection = None if subset is None else read_selection(subset.copiable_attributes)
    now = ctx.clock.now()
    made = ctx.stores.db.write(lambda conn: _copy(ctx, conn, request, selection, now))

    def arn(id: str) -> str:
        return image_set_arn(ctx.settings.region, ctx.settings.account_id, request.datastore_id, id)

    return shapes.CopyImageSetResponse(
        datastore_id=request.datastore_id,
        source_image_set_properties=shapes.CopySourceImageSetProperties(
            image_set_id=made.source.id,
            latest_version_id=str(made.source.latest_version),
            image_set_state=ImageSetState.LOCKED,
            image_set_workflow_status=WorkflowStatus.COPYING_WITH_READ_ONLY_ACCESS,
            created_at=seconds(made.source.created_at),
            updated_at=seconds(now),
            image_set_arn=arn(made.source.id),
        ),
        destination_image_set_properties=shapes.CopyDestinationImageSetProperties(
            image_set_id=made.id,
            latest_version_id=str(made.number),
            image_set_state=ImageSetState.LOCKED,
            image_set_workflow_status=WorkflowStatus.COPYING,
            created_at=seconds(made.created_at),
            updated_at=seconds(now),
            image_set_arn=arn(made.id),
        ),
    )


def _copy(
    ctx: Context,
    conn: Connection,
    request: shapes.CopyImageSetRequest,
    selection: Selection | None,
    now: int,
) -> _CopyResult:
    """The transaction: opens the sets, copies, and writes the version and the events."""
    asked, promoted = request.copy_image_set_information, bool(request.promote_to_primary)
    latest = {request.source_image_set_id: version_number(asked.source_image_set.latest_version_id)}
    if (destination := asked.destination_image_set) is not None:
        latest[destination.image_set_id] = version_number(destination.latest_version_id)
    opened = affected_image_sets.open_sets(conn, request.datastore_id, latest)
    source = opened.pop(request.source_image_set_id)
    if promoted and source.is_primary:
        raise ConflictError(f"Image set {source.id} is already primary.")
    instances = None if selection is None else _instances(conn, source, selection)
    if ctx.settings.quotas == "aws":
        _check_quota(conn, source, instances)
    target = next(iter(opened.values()), None)
    if promoted and (target := _primary_set_of_series(conn, source)) is not None:
        affected_image_sets.check_authorized(ctx, [target])
    copier = _Copier(ctx, conn, source, instances, forced=True if request.force else None, now=now)
    if target is not None:
        # A promotion into an existing primary set cannot be forced.
        made = copier.join(target, force=bool(request.force) and not promoted, named=not promoted)
    else:
        made = copier.make(is_primary=promoted)
    _append_events(ctx, conn, request.datastore_id, made, failed=copier.failure is not None, now=now)
    if ctx.settings.quotas == "aws" and copier.failure is None:
        quotas.check_metadata(conn, request.datastore_id, made.id)
    return made


def _instances(conn: Connection, source: LockedImageSet, selection: Selection) -> list[InstanceKey] | None:
    """The keys of the instances that a request names; None for all of the set."""
    shown = copy_compatibility.series_uid(conn, source)
    for uid in selection:
        if uid != shown:
            raise ValidationError(f"{COPIABLE}: image set {source.id} has no series {uid[:80]}.")
    named = selection[shown]
    if named is None:
        return None
    found = members.open_members(conn, source.key, named)
    for uid in sorted(named):
        if uid not in found:
            raise ValidationError(f"{COPIABLE}: image set {source.id} has no instance {uid[:80]}.")
    return sorted(member.instance for member in found.values())


def _check_quota(conn: Connection, source: LockedImageSet, instances: Sequence[InstanceKey] | None) -> None:
    count = copying.frame_count(conn, source.key, instances)
    if count > FRAME_QUOTA:
        raise QuotaExceededError(
            f"The copy would include {count} image frames, and the quota is {FRAME_QUOTA} per request: name "
            f"fewer instances in {COPIABLE}."
        )


def _primary_set_of_series(conn: Connection, source: LockedImageSet) -> LockedImageSet | None:
    """The primary set of the source's series."""
    sets = changes.open_primaries(conn, source.study)
    return next((each for each in sets if each.series_instance_uid == source.series_instance_uid), None)


class _Copier:
    """One copy, in its transaction. ``failure`` is why the copy has failed."""

    def __init__(
        self,
        ctx: Context,
        conn: Connection,
        source: LockedImageSet,
        instances: Sequence[InstanceKey] | None,
        *,
        forced: bool | None,
        now: int,
    ) -> None:
        self._ctx = ctx
        self._conn = conn
        self._source = source
        self._instances = instances
        self._forced = forced
        self._now = now
        self.failure: str | None = None

    def join(self, target: LockedImageSet, *, force: bool, named: bool) -> _CopyResult:
        """A new version of ``target``.

        If that fails, only a set that the caller has ``named`` gets a failed version.
        """
        conn, source, added = self._conn, self._source, 0

        def copy() -> None:
            nonlocal added
            copying.check_own(conn, source.key, self._instances)
            more = copy_compatibility.find_edits_for_copies(
                conn, source, target, self._instances, force=force
            )
            found = copying.common_instance(conn, source.key, target.key, self._instances)
            if found is not None:
                raise duplicate_instance(found)
            if self._instances is None and not more:
                added = copying.copy_all_members(conn, source.key, target.key, target.number)
            else:
                taken = copying.source_members(conn, source.key, self._instances)
                added = copying.copy_members(conn, target.key, target.number, taken, more)

        self._attempt(copy)
        if self.failure is not None and not named:
            return self._failed()
        version = target.next_version(
            WorkflowStatus.COPIED if self.failure is None else WorkflowStatus.COPY_FAILED,
            caller=self._ctx.caller.arn,
            now=self._now,
            message=self.failure,
            forced=self._forced,
        )
        version = replace(version, copied_from=source.id)
        if self.failure is None:
            change = ImageSetChange(instance_count=target.instance_count + added)
            changes.write_version(conn, target, version, change)
        else:
            changes.write_version(conn, target, version, is_access=False)
        if target.is_primary and self.failure is None:
            index.change_to(conn, target.key, self._now, target.number, before=target.study)
        return _CopyResult(source, target.id, target.number, target.created_at, target.is_primary)

    def make(self, *, is_primary: bool) -> _CopyResult:
        """A new set.

        The copy fails if the set is to be primary and contradicts a primary set of its study.
        """
        conn, source = self._conn, self._source
        key, id = ImageSetKey(self._ctx.ids.key()), self._ctx.ids.id()

        def change() -> None:
            copying.check_own(conn, source.key, self._instances)
            self._add_set(key, id, is_primary=is_primary)
            copying.copy_levels(conn, source.key, key)
            if self._instances is None:
                count = copying.copy_all_members(conn, source.key, key, 1)
            else:
                taken = copying.source_members(conn, source.key, self._instances)
                count = copying.copy_members(conn, key, 1, taken, {})
                level_inheritance.reassign_level_base(conn, key, 1)
            columns = members.search_columns(conn, key)
            set_search_columns(conn, key, columns, count)
            if is_primary and studies.is_contradicted(conn, source.study, columns, apart_from=source.key):
                raise CopyRefused(CONTRADICTED)

        self._attempt(change)
        if self.failure is not None:
            return self._failed()
        if is_primary:
            index.add_set(conn, key, self._now)
        return _CopyResult(source, id, 1, self._now, is_primary)

    def _failed(self) -> _CopyResult:
        """A new set without content, never primary, whose version tells why the copy failed."""
        id = self._ctx.ids.id()
        self._add_set(ImageSetKey(self._ctx.ids.key()), id, is_primary=False)
        return _CopyResult(self._source, id, 1, self._now, False)

    def _add_set(self, key: ImageSetKey, id: str, *, is_primary: bool) -> None:
        first = NewVersion(
            number=1,
            workflow_status=WorkflowStatus.COPIED if self.failure is None else WorkflowStatus.COPY_FAILED,
            caller=self._ctx.caller.arn,
            created_at=self._now,
            message=self.failure,
            forced=self._forced,
            copied_from=self._source.id,
        )
        copying.insert_copy(self._conn, self._source, key=key, id=id, is_primary=is_primary, version=first)

    def _attempt(self, change: Callable[[], None]) -> None:
        fault = changes.attempt(self._conn, change)
        if isinstance(fault, CopyRefused):
            self.failure = str(fault)
        elif fault is not None:
            log.error("copy of image set %s failed", self._source.id, exc_info=fault)
            self.failure = _FAULT


def _append_events(
    ctx: Context, conn: Connection, datastore_id: str, made: _CopyResult, *, failed: bool, now: int
) -> None:
    """First that the two sets are locked, then how the copy ended, as a client of the service sees it."""
    region, account = ctx.settings.region, ctx.settings.account_id
    announcer = changes.Announcer(
        conn, region=region, account=account, datastore_id=datastore_id, new_id=ctx.ids.id, now=now
    )
    source = made.source
    announcer.image_set(
        "Image Set Copying With Read Only Access",
        ImageSetDetail(
            image_set_id=source.id,
            version=source.latest_version,
            is_primary=source.is_primary,
            state=ImageSetState.LOCKED,
            workflow_status=WorkflowStatus.COPYING_WITH_READ_ONLY_ACCESS,
        ),
    )
    announcer.image_set(
        "Image Set Copying",
        ImageSetDetail(
            image_set_id=made.id,
            version=made.number,
            is_primary=made.is_primary,
            state=ImageSetState.LOCKED,
            workflow_status=WorkflowStatus.COPYING,
            source_image_set_arn=image_set_arn(region, account, datastore_id, source.id),
        ),
    )
    announcer.image_set(
        "Image Set Copy Failed" if failed else "Image Set Copied",
        ImageSetDetail(
            image_set_id=made.id,
            version=made.number,
            is_primary=made.is_primary,
            state=ImageSetState.ACTIVE,
            workflow_status=WorkflowStatus.COPY_FAILED if failed else WorkflowStatus.COPIED,
        ),
    )
