"""DELETE of studies, series and instances, which other archives have too; an extension of both standards."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lightwell.operations import dicomweb_delete
from lightwell.web.authorising import image_sets_check
from lightwell.web.dicomweb.retrieve import in_thread, target_of
from lightwell.web.reply import Answer

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import Visit


async def delete(visit: Visit) -> Answer:
    """204 when it is gone."""
    ctx = visit.state.context(visit.caller)
    target = target_of(visit)
    allow = image_sets_check(
        visit.state, visit.request, visit.principal, "DeleteImageSet", target.datastore_id
    )
    await in_thread(visit, partial(dicomweb_delete.delete, ctx, target, allow))
    return Answer(204, [], b"")
