"""GetImageSet and ListImageSetVersions."""

from __future__ import annotations

from lightwell.domain import arn, page_tokens
from lightwell.domain.image_sets.image_set import ImageSet, Version, storage_tier
from lightwell.domain.states import WorkflowStatus
from lightwell.errors import InternalError, NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.version_ids import existing_version
from lightwell.stores.account import datastores
from lightwell.stores.image_sets import lookups
from lightwell.wire import shapes

_PAGE = 50


def get_image_set(ctx: Context, request: shapes.GetImageSetRequest) -> shapes.GetImageSetResponse:
    """Properties of a version, by default the latest; deleted sets have them too, with ``deletedAt``."""
    with ctx.stores.db.read() as conn:
        found = lookups.get(conn, request.datastore_id, request.image_set_id)
        if found is not None:
            number = found.latest_version
            if request.version_id is not None:
                number = existing_version(request.version_id, found)
            version = lookups.get_version(conn, found.key, number)
            importing = number == found.latest_version and lookups.awaits_instances(conn, found)
    if found is None:
        raise unknown_image_set(ctx, request.datastore_id, request.image_set_id)
    if version is None:
        raise InternalError(f"Version {number} of image set {found.id} is lost; run `lightwell data verify`.")
    now = ctx.clock.now()
    return shapes.GetImageSetResponse(
        datastore_id=request.datastore_id,
        image_set_id=found.id,
        version_id=str(number),
        image_set_state=found.state,
        image_set_workflow_status=_workflow_status(found, version, importing=importing),
        created_at=seconds(found.created_at),
        updated_at=seconds(
            max(found.updated_at, version.created_at) if _is_latest(found, version) else version.created_at
        ),
        deleted_at=None if found.deleted_at is None else seconds(found.deleted_at),
        message=version.message,
        image_set_arn=arn.image_set_arn(
            ctx.settings.region, ctx.settings.account_id, request.datastore_id, found.id
        ),
        overrides=_overrides(version),
        is_primary=found.is_primary,
        last_accessed_at=seconds(found.last_accessed_at),
        storage_tier=storage_tier(found.last_accessed_at, now),
    )


def list_image_set_versions(
    ctx: Context, request: shapes.ListImageSetVersionsRequest
) -> shapes.ListImageSetVersionsResponse:
    """Every version, failed ones included, newest first."""
    limit = request.max_results or _PAGE
    below: int | None = None
    if request.next_token is not None:
        (token,) = page_tokens.decode(request.next_token, int)
        assert isinstance(token, int)
        below = token
    with ctx.stores.db.read() as conn:
        found = lookups.get(conn, request.datastore_id, request.image_set_id)
        if found is not None:
            versions = lookups.versions(conn, found.key, below=below, limit=limit + 1)
            importing = below is None and lookups.awaits_instances(conn, found)
    if found is None:
        raise unknown_image_set(ctx, request.datastore_id, request.image_set_id)
    shown = versions[:limit]
    return shapes.ListImageSetVersionsResponse(
        image_set_properties_list=[
            shapes.ImageSetProperties(
                image_set_id=found.id,
                version_id=str(version.number),
                image_set_state=found.state,
                image_set_workflow_status=_workflow_status(
                    found, version, importing=importing and _is_latest(found, version)
                ),
                created_at=seconds(found.created_at),
                updated_at=None if version.number == 1 else seconds(version.created_at),
                deleted_at=None if found.deleted_at is None else seconds(found.deleted_at),
                message=version.message,
                overrides=_overrides(version),
                is_primary=found.is_primary,
            )
            for version in shown
        ],
        next_token=page_tokens.encode([shown[-1].number]) if len(versions) > limit else None,
    )


def find_readable(ctx: Context, datastore_id: str, image_set_id: str) -> ImageSet:
    """The set, for reading its content. Raises `NotFoundError` where it does not exist or is deleted."""
    return find_marked(ctx, datastore_id, image_set_id, None)[0]


def find_marked(
    ctx: Context, datastore_id: str, image_set_id: str, number: int | None
) -> tuple[ImageSet, int]:
    """The set, for reading its content, and `lookups.MARK` of a version, by default of the readable one.

    Raises `NotFoundError` where the set does not exist or is deleted.
    """
    with ctx.stores.db.read() as conn:
        found = lookups.get_marked(conn, datastore_id, image_set_id, number)
    if found is None:
        raise unknown_image_set(ctx, datastore_id, image_set_id)
    if found[0].deleted:
        raise NotFoundError(f"Image set {image_set_id} is deleted.")
    return found


def unknown_image_set(ctx: Context, datastore_id: str, image_set_id: str) -> NotFoundError:
    """Says which of the two does not exist."""
    with ctx.stores.db.read() as conn:
        store = datastores.get(conn, datastore_id)
    if store is None:
        return NotFoundError(f"Datastore {datastore_id} does not exist.")
    return NotFoundError(f"Image set {image_set_id} does not exist in datastore {datastore_id}.")


def seconds(milliseconds: int) -> float:
    """Seconds since the epoch, as timestamps are sent."""
    return milliseconds / 1000


def _is_latest(found: ImageSet, version: Version) -> bool:
    return version.number == found.latest_version


def _workflow_status(found: ImageSet, version: Version, *, importing: bool) -> WorkflowStatus:
    if found.deleted:
        return WorkflowStatus.DELETED
    return WorkflowStatus.IMPORTING if importing else version.workflow_status


def _overrides(version: Version) -> shapes.Overrides | None:
    return None if version.forced is None else shapes.Overrides(forced=version.forced)
