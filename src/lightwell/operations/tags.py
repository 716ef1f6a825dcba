"""TagResource, UntagResource, ListTagsForResource, on data stores and image sets that are not deleted.

Sources: the service model, devguide/tagging, devguide/understanding-image-sets (50 tags per resource). The
model declares no conflict and no quota error here, so the 51st tag is a ValidationException.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lightwell.documents.identity import note_image_sets
from lightwell.domain import arn
from lightwell.domain.arn import Resource
from lightwell.domain.datastore import MOST_TAGS
from lightwell.errors import NotFoundError, ValidationError
from lightwell.operations.context import Context
from lightwell.stores.account import tags
from lightwell.wire import shapes

if TYPE_CHECKING:
    from sqlalchemy import Connection


def tag_resource(ctx: Context, request: shapes.TagResourceRequest) -> shapes.TagResourceResponse:
    """Add tags, overwriting those with the same keys."""
    resource = _resource(ctx, request.resource_arn, request.tags)

    def work(conn: Connection) -> dict[str, str]:
        if not tags.exists(conn, resource, lock=True):
            raise _unknown_resource(request.resource_arn)
        before = tags.get(conn, resource)
        if tags.put(conn, resource, request.tags) > MOST_TAGS:
            raise ValidationError(f"A resource can have at most {MOST_TAGS} tags.")
        return before

    before = ctx.stores.db.write(work)
    for key, value in request.tags.items():
        ctx.note.tagged(key, before.get(key), value)
    return shapes.TagResourceResponse()


def untag_resource(ctx: Context, request: shapes.UntagResourceRequest) -> shapes.UntagResourceResponse:
    """Remove the tags with these keys; missing keys are ignored."""
    resource = _resource(ctx, request.resource_arn, request.tag_keys)

    def work(conn: Connection) -> dict[str, str]:
        if not tags.exists(conn, resource, lock=True):
            raise _unknown_resource(request.resource_arn)
        before = tags.get(conn, resource)
        tags.remove(conn, resource, request.tag_keys)
        return before

    before = ctx.stores.db.write(work)
    for key in request.tag_keys:
        if key in before:
            ctx.note.tagged(key, before[key], None)
    return shapes.UntagResourceResponse()


def list_tags_for_resource(
    ctx: Context, request: shapes.ListTagsForResourceRequest
) -> shapes.ListTagsForResourceResponse:
    """All tags of a resource."""
    resource = _resource(ctx, request.resource_arn)
    with ctx.stores.db.read() as conn:
        if not tags.exists(conn, resource):
            raise _unknown_resource(request.resource_arn)
        found = tags.get(conn, resource)
    return shapes.ListTagsForResourceResponse(tags=found)


def _resource(ctx: Context, text: str, keys: Iterable[str] = ()) -> Resource:
    """What an ARN names, which goes on record, with the keys of the tags that are asked for."""
    for key in keys:
        ctx.note.asked_for(key)
    resource = arn.parse(text)
    settings = ctx.settings
    if resource is None or (resource.region, resource.account) != (settings.region, settings.account_id):
        raise _unknown_resource(text)
    ctx.note.store = resource.datastore_id
    if resource.image_set_id is not None:
        note_image_sets(ctx.stores, ctx.note, resource.datastore_id, [resource.image_set_id])
    return resource


def _unknown_resource(text: str) -> NotFoundError:
    return NotFoundError(f"Resource {text} does not exist.")
