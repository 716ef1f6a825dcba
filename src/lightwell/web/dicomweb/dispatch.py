"""Which handler responds to which kind of DICOMweb resource."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import NamedTuple

from lightwell.auth.principals import Principal
from lightwell.operations.context import Context
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.web.dicomweb import media
from lightwell.web.dicomweb.resources import DicomwebResource, ResourceKind
from lightwell.web.requests.authorization import authorize, required_for_dicomweb
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Receive, Response
from lightwell.web.requests.state import AppState


class DicomwebRequest(NamedTuple):
    """One authenticated request for a resource; ``http`` is the HTTP request itself.

    Whoever reads the body must call ``prove`` with its SHA-256 in lower-case hex before using any of it: it
    raises `AuthenticationError` if the signature covers a different body. For every kind but *store* the body
    has been read and proved already. ``is_proved``: the caller's identity is certain, whatever the body is.
    """

    state: AppState
    http: Request
    resource: DicomwebResource
    principal: Principal
    receive: Receive
    prove: Callable[[str], None]
    is_proved: bool

    def target(self, number: int | None = None) -> DicomwebTarget:
        """What the path names, in the image set that the query names; ``number`` is a frame number."""
        resource = self.resource
        return DicomwebTarget(
            resource.datastore_id,
            resource.study or "",
            resource.series,
            resource.instance,
            media.query_parameter(self.http, "imageSetId"),
            number,
        )

    @property
    def ctx(self) -> Context:
        """What operations work with."""
        return self.state.context(self.state.caller(self.principal), self.http)


Handler = Callable[[DicomwebRequest], Awaitable[Response]]

# By `DicomwebResource.kind`: a module of this package, and its function. Loaded when first needed: numpy,
# pydicom and the codecs behind them are most of a server's start-up time and memory, and many servers never
# need them.
_HANDLERS: dict[ResourceKind, tuple[str, str]] = {
    "capabilities": ("capabilities", "capabilities"),
    "delete": ("delete", "delete"),
    "frames": ("frames", "frames"),
    "pixeldata-collection": ("pixeldata", "pixeldata"),
    "part10": ("retrieve", "part10"),
    "store": ("store", "store"),
    "bulkdata": ("bulkdata", "bulkdata"),
    "bulkdata-collection": ("bulkdata", "collection"),
    "metadata": ("metadata", "metadata"),
    "search": ("search", "search"),
    "rendered": ("rendered", "rendered"),
    "series-frames": ("levels", "series_frames"),
    "thumbnail": ("rendered", "thumbnail"),
    "wado-uri": ("wado_uri", "wado_uri"),
}

_loaded: dict[ResourceKind, Handler] = {}


def load_handler(kind: ResourceKind) -> Handler:
    """The handler of this kind of resource. Blocks while it is loaded for the first time."""
    module, name = _HANDLERS[kind]
    handler: Handler = getattr(import_module(f"lightwell.web.dicomweb.{module}"), name)
    _loaded[kind] = handler
    return handler


async def respond(request: DicomwebRequest) -> Response:
    """The response of the resource's handler, if the caller may use it. Raises `ApiError`."""
    if request.principal.policies is not None:
        required = required_for_dicomweb(request.state, request.http, request.resource)
        await authorize(
            request.state,
            request.http,
            request.principal,
            required,
            request.state.clock.now(),
        )
    kind = request.resource.kind
    handler = _loaded.get(kind)
    if handler is None:
        handler = await request.state.in_thread(load_handler, kind)
    return await handler(request)
