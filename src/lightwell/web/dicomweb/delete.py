"""DELETE of studies, series and instances, which other archives have too; an extension of both standards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.operations.dicomweb import delete as dicomweb_delete
from lightwell.web.requests.authorization import image_sets_check
from lightwell.web.requests.responses import Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest


async def delete(visit: DicomwebRequest) -> Response:
    """204 when it is gone."""
    ctx = visit.state.context(visit.caller)
    target = visit.target()
    allow = image_sets_check(
        visit.state, visit.request, visit.principal, "DeleteImageSet", target.datastore_id
    )
    await visit.state.in_thread(dicomweb_delete.delete, ctx, target, allow)
    return Response(204, [], b"")
