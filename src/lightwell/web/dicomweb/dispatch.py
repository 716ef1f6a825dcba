"""Who answers which kind of DICOMweb resource."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lightwell.auth.principals import Principal
from lightwell.context import Caller
from lightwell.errors import NotBuiltError
from lightwell.web.authorising import authorise, dicomweb_asks
from lightwell.web.dicomweb import (
    bulkdata,
    capabilities,
    delete,
    frames,
    metadata,
    pixeldata,
    rendered,
    retrieve,
    search,
    store,
    wado_uri,
)
from lightwell.web.dicomweb.resources import Resource
from lightwell.web.reply import Answer, Receive
from lightwell.web.request import Request
from lightwell.web.state import AppState


@dataclass(frozen=True, slots=True)
class Visit:
    """One authorised request for a resource.

    ``prove`` has to be called by whoever reads the body, with its SHA-256 in lower-case hex, before anything
    of it counts: it raises `AuthenticationError` where the signature covers another body. For every kind but
    *store* the body was read, and proved, before.
    """

    state: AppState
    request: Request
    resource: Resource
    principal: Principal
    receive: Receive
    prove: Callable[[str], None]

    @property
    def caller(self) -> Caller:
        return Caller(self.state.settings.account_id, self.principal.arn, self.principal.access_key_id)


Handler = Callable[[Visit], Awaitable[Answer]]

HANDLERS: dict[str, Handler] = {
    "capabilities": capabilities.capabilities,
    "delete": delete.delete,
    "frames": frames.frames,
    "pixeldata-collection": pixeldata.pixeldata,
    "part10": retrieve.part10,
    "store": store.store,
    "bulkdata": bulkdata.bulkdata,
    "bulkdata-collection": bulkdata.collection,
    "metadata": metadata.metadata,
    "search": search.search,
    "rendered": rendered.rendered,
    "thumbnail": rendered.thumbnail,
    "wado-uri": wado_uri.wado_uri,
}
"""By `Resource.kind`."""


async def answer(visit: Visit) -> Answer:
    """What the resource's handler answers, if the caller may ask. Raises `ApiError`."""
    if visit.principal.policies is not None:
        asks = dicomweb_asks(visit.state, visit.request, visit.resource)
        await authorise(visit.state, visit.request, visit.principal, asks, visit.state.clock.now())
    handler = HANDLERS.get(visit.resource.kind)
    if handler is None:
        raise NotBuiltError(
            f"{visit.resource.operation} is not built yet; docs/compatibility.md of lightwell lists what is."
        )
    return await handler(visit)
