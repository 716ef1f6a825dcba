"""DELETE of a study, a series or an instance: an extension, built on the native operations.

A study is deleted by DeleteImageSet of all its primary sets, in one transaction, a series by that of its own:
with all that is in them by then, since that is what the path names. An instance is removed from its set by
UpdateImageSetMetadata, which makes a version; with the last instance of a set, the set is deleted, if nothing
has been added to it since. ``imageSetId`` selects a set, primary or not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.errors import ConflictError, NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.delete_image_set import delete_in
from lightwell.operations.dicomweb import lookup
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.stores.collector import removal
from lightwell.stores.image_sets import lookups, part10_instances
from lightwell.wire import shapes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.domain.image_sets.image_set import ImageSet
    from lightwell.stores.image_sets.by_series import SeriesSet

_ATTEMPTS = 4


def delete(
    ctx: Context, target: DicomwebTarget, allow: Callable[[Sequence[str]], None] | None = None
) -> None:
    """Delete the target; it is gone when this returns.

    ``allow`` is called with the ids of the image sets to change, and raises an error to refuse that.

    Raises `NotFoundError` where the target does not exist, `ValidationError` for malformed ids,
    `ConflictError` where other requests keep changing the same set.
    """
    allowed: frozenset[str] | None = None
    if allow is not None:
        with ctx.stores.db.read() as conn:
            ids = [each.id for each in _target_sets(conn, target)]
        allow(ids)
        allowed = frozenset(ids)
    for _ in range(_ATTEMPTS):
        if target.instance is None:
            is_deleted = _delete_sets(ctx, target, allowed)
        else:
            is_deleted = _delete_instance(ctx, target, target.instance, allowed)
        if is_deleted:
            return
    raise _is_being_changed(target)


def _is_being_changed(target: DicomwebTarget) -> ConflictError:
    what = f"Study {target.study}" if target.instance is None else f"Instance {target.instance}"
    return ConflictError(f"{what} is being changed by another request; try again.")


def _delete_sets(
    ctx: Context, target: DicomwebTarget, allowed: frozenset[str] | None, only: ImageSet | None = None
) -> bool:
    """Delete all sets of the target as they are when this commits; or ``only`` that set, if it is as it was.

    Returns False, having deleted nothing, where others are the target's by now or ``only`` has changed.
    """
    now = ctx.clock.now()

    def work(conn: Connection) -> list[SeriesSet] | None:
        found = sorted(_allowed_sets(conn, target, allowed), key=lambda each: each.key)
        locked = [removal.lock_set(conn, each.datastore_id, each.id) for each in found]
        # On PostgreSQL one may have moved to another study, or have come, before its study was locked.
        if {each.id for each in _allowed_sets(conn, target, allowed)} != {each.id for each in found}:
            return None
        if only is not None and [(each.key, each.latest_version) for each in locked if each is not None] != [
            (only.key, only.latest_version)
        ]:
            return None
        for each in found:
            delete_in(ctx, conn, each.datastore_id, each.id, now)
        return found

    deleted = ctx.stores.db.write(work)
    if deleted is None:
        return False
    lookup.note_sets(ctx, deleted)
    for each in deleted:
        metadata_documents.drop_documents(ctx.stores, each.key)
    return True


def _allowed_sets(
    conn: Connection, target: DicomwebTarget, allowed: frozenset[str] | None
) -> list[SeriesSet]:
    """The target's sets, all of them allowed.

    Raises `ConflictError` where one was added after ``allow`` was called.
    """
    found = _target_sets(conn, target)
    if allowed is not None and any(each.id not in allowed for each in found):
        raise _is_being_changed(target)
    return found


def _target_sets(conn: Connection, target: DicomwebTarget) -> list[SeriesSet]:
    if target.series is None:
        found = lookup.study_sets(conn, target.datastore_id, target.study)
        if target.image_set_id is not None:
            found = [each for each in found if each.id == target.image_set_id]
        if not found:
            raise NotFoundError(f"Image set {target.image_set_id} does not hold study {target.study}.")
        return found
    try:
        return [
            lookup.series_set(conn, target.datastore_id, target.study, target.series, target.image_set_id)
        ]
    except NotFoundError:
        lookup.check_uids(target.study, target.series, target.instance)
        raise


def _delete_instance(ctx: Context, target: DicomwebTarget, uid: str, allowed: frozenset[str] | None) -> bool:
    """Returns False, having deleted nothing, where the set has changed since its content was examined."""
    with ctx.stores.db.read() as conn:
        (found,) = _allowed_sets(conn, target, allowed)
        lookup.instance_of(conn, found, uid)
        lookup.note_sets(ctx, [found])
        is_last = len(part10_instances.instances(conn, found.key, found.version)) == 1
        current = lookups.get(conn, found.datastore_id, found.id)
    if current is None or current.readable_version != found.version:
        return False
    if is_last:
        # Only the set that was examined: what was added to it since was not to be deleted.
        return _delete_sets(ctx, target, allowed, only=current)
    series: dict[str, object] = {found.series_instance_uid: {"Instances": {uid: {}}}}
    blob = json.dumps({"SchemaVersion": 1.1, "Study": {"Series": series}}, ensure_ascii=False)
    request = shapes.UpdateImageSetMetadataRequest(
        datastore_id=found.datastore_id,
        image_set_id=found.id,
        latest_version_id=str(current.latest_version),
        update_image_set_metadata_updates=shapes.MetadataUpdates(
            dicom_updates=shapes.DICOMUpdates(removable_attributes=blob.encode())
        ),
    )
    try:
        update_image_set_metadata(ctx, request)
    except (NotFoundError, ConflictError):
        return False
    return True
