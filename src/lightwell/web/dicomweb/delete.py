"""DELETE of studies, series and instances, as in other archives; an extension of both standards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.operations.dicomweb import delete as dicomweb_delete
from lightwell.web.requests.authorization import image_sets_check
from lightwell.web.requests.responses import Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest


async def delete(request: DicomwebRequest) -> Response:
    """204 once it is deleted."""
    ctx = request.ctx
    target = request.target()
    allow = image_sets_check(
        request.state,
        request.http,
        request.principal,
        "DeleteImageSet",
        target.datastore_id,
    )
    await request.state.in_thread(dicomweb_delete.delete, ctx, target, allow)
    return Response(204, [], b"")
