"""DeleteImageSet.

Sources: the service model, devguide/delete-image-set, devguide/event-notifications. A set is deleted when
the answer comes: from then on no server finds it or serves its content. The answer says LOCKED and DELETING
as the service's does; a client that polls finds DELETED at once. The rows go later, see `work.collector`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.domain.arn import Resource
from lightwell.domain.image_sets.image_set import DELETED, ImageSet
from lightwell.errors import NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.image_sets import unknown
from lightwell.stores.account import tags
from lightwell.stores.collector import removal
from lightwell.stores.image_sets.changes import Announcer
from lightwell.wire import shapes

if TYPE_CHECKING:
    from sqlalchemy import Connection


def delete_image_set(ctx: Context, request: shapes.DeleteImageSetRequest) -> shapes.DeleteImageSetResponse:
    """Delete an image set, primary or not, with all its versions and tags. No other set becomes primary.

    Raises `NotFoundError` for a set that is not there or deleted already, which clients take for "done".
    """
    now = ctx.clock.now()
    found = ctx.stores.db.write(
        lambda conn: delete_in(ctx, conn, request.datastore_id, request.image_set_id, now)
    )
    if found is None:
        raise unknown(ctx, request.datastore_id, request.image_set_id)
    if found.deleted:
        raise NotFoundError(f"Image set {request.image_set_id} is deleted.")
    metadata_documents.drop(ctx.stores, found.key)
    return shapes.DeleteImageSetResponse(
        datastore_id=request.datastore_id,
        image_set_id=request.image_set_id,
        image_set_state="LOCKED",
        image_set_workflow_status="DELETING",
    )


def delete_in(
    ctx: Context, conn: Connection, datastore_id: str, image_set_id: str, now: int
) -> ImageSet | None:
    """Delete a set within a transaction, with its events; what it was before, None if there is none such.

    Its documents may be dropped after the commit. Who deletes several goes by the order of their keys.
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
    for name, state, status in (
        ("Image Set Deleting", "LOCKED", "DELETING"),
        ("Image Set Deleted", DELETED, DELETED),
    ):
        events.image_set(
            name,
            id=found.id,
            version=found.latest_version,
            is_primary=found.is_primary,
            state=state,
            workflow_status=status,
        )
    return found
