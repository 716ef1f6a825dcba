"""GetImageSetMetadata on the event loop, for documents that are already in memory."""

from __future__ import annotations

import re

from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Response
from lightwell.web.requests.state import AppState

_QUERY = re.compile(rb"(?:version=([0-9]{1,9}))?")


async def serve_warm_metadata(
    state: AppState, request: Request, params: dict[str, str], body: bytes
) -> Response | None:
    """The document, if it is in memory; None if the operation has to be called.

    Nothing is refused here: the operation reports errors.
    """
    matched = _QUERY.fullmatch(request.query)
    if matched is None:
        return None
    version = None if matched[1] is None else int(matched[1])
    named = params["datastoreId"], params["imageSetId"]
    reader = state.metadata
    if reader.may_wait:
        found = await reader.cached_document_here(*named, version)
    else:
        found = reader.cached_document(*named, version)
    if found is None:
        return None
    data, (_, patient, study, series) = found
    request.shown = named[1], patient, study, series
    return Response(
        200,
        [
            (b"content-type", b"application/json"),
            (b"content-encoding", b"gzip"),
            (b"content-length", b"%d" % len(data)),
        ],
        data,
    )
