"""DeleteImageSet.

Sources: the service model, devguide/delete-image-set, devguide/event-notifications. A set is deleted when the
response is sent: from then on no server finds it or serves its content. The response says LOCKED and DELETING
as the service's does; a client that polls finds DELETED at once. `work.collector` removes the rows later.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.domain.arn import Resource
from lightwell.domain.events import ImageSetDetail
from lightwell.domain.image_sets.image_set import ImageSet
from lightwell.domain.states import ImageSetState, WorkflowStatus
from lightwell.errors import ConflictError, NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.image_sets import unknown_image_set
from lightwell.stores.account import tags
from lightwell.stores.collector import removal
from lightwell.stores.image_sets import lookups
from lightwell.stores.image_sets.changes import Announcer
from lightwell.wire import shapes

if TYPE_CHECKING:
    from sqlalchemy import Connection


def delete_image_set(
    ctx: Context, request: shapes.DeleteImageSetRequest, *, latest_version: int | None = None
) -> shapes.DeleteImageSetResponse:
    """Delete an image set, primary or not, with all its versions and tags. No other set becomes primary.

    Requests name no version, in AWS neither: the set is deleted with all that it holds by then. With
    ``latest_version`` it is deleted only while that is its latest, for callers who have looked at it.

    Raises `NotFoundError` for a set that does not exist or is already deleted, which clients treat as
    success, and `ConflictError` where it has another latest version.
    """
    now = ctx.clock.now()

    def work(conn: Connection) -> ImageSet | None:
        if latest_version is not None:
            seen = removal.lock_set(conn, request.datastore_id, request.image_set_id)
            if seen is not None and not seen.deleted and seen.latest_version != latest_version:
                held = lookups.summary(conn, seen.key).instance_count
                raise ConflictError(
                    "It was not deleted, since the image set has changed after it was looked at. It has "
                    f"{held:,} {'instance' if held == 1 else 'instances'} now, in version "
                    f"{seen.latest_version}; version {latest_version} was to be deleted. Look at it again, "
                    "then delete it."
                )
        return delete_in(ctx, conn, request.datastore_id, request.image_set_id, now)

    found = ctx.stores.db.write(work)
    if found is None:
        raise unknown_image_set(ctx, request.datastore_id, request.image_set_id)
    if found.deleted:
        raise NotFoundError(f"Image set {request.image_set_id} is deleted.")
    metadata_documents.drop_documents(ctx.stores, found.key)
    return shapes.DeleteImageSetResponse(
        datastore_id=request.datastore_id,
        image_set_id=request.image_set_id,
        image_set_state=ImageSetState.LOCKED,
        image_set_workflow_status=WorkflowStatus.DELETING,
    )


def delete_in(
    ctx: Context, conn: Connection, datastore_id: str, image_set_id: str, now: int
) -> ImageSet | None:
    """Delete a set within a transaction and write its events; return its former state, None if it does not
    exist.

    The caller drops its documents after the commit. Several sets must be deleted in the order of their keys.
    """
    settings = ctx.settings
    found = removal.lock_set(conn, datastore_id, image_set_id)
    if found is None or found.deleted:
        return found
    removal.delete_set(conn, found.key, now)
    tags.drop(conn, Resource(settings.region, settings.account_id, datastore_id, image_set_id))
    events = Announcer(
        conn,
        region=settings.region,
        account=settings.account_id,
        datastore_id=datastore_id,
        new_id=ctx.ids.id,
        now=now,
    )
    deleting = ImageSetDetail(
        image_set_id=found.id,
        version=found.latest_version,
        is_primary=found.is_primary,
        state=ImageSetState.LOCKED,
        workflow_status=WorkflowStatus.DELETING,
    )
    deleted = replace(deleting, state=ImageSetState.DELETED, workflow_status=WorkflowStatus.DELETED)
    events.image_set("Image Set Deleting", deleting)
    events.image_set("Image Set Deleted", deleted)
    return found
