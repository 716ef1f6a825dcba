"""The URI service (WADO-URI): one instance by a query string, as a file or rendered.

Source: PS3.18 §9. HealthImaging has no such service. Parameter names are case-insensitive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from lightwell.errors import NotAcceptableError, ValidationError
from lightwell.operations.dicomweb import rendered as dicomweb_rendered
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.operations.dicomweb.rendered import (
    IMAGE_TYPES,
    PDF,
    REPORT_TYPES,
    RenderingRequest,
    uri_parameters,
)
from lightwell.web.dicomweb import media, rendered, retrieve
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

DICOM = "application/dicom"
_AS_STORED = f"{DICOM}; transfer-syntax=*"
_SYNTAX = re.compile(r"\*|[0-9.]{1,64}")
_RENDERED_TYPES = (*IMAGE_TYPES, PDF, *REPORT_TYPES, "video/mp4", "video/mpeg")
_ANY = ("*/*", *(f"{name}/*" for name in ("image", "application", "text", "video")))
_UIDS = ("studyuid", "seriesuid", "objectuid")


async def wado_uri(request: DicomwebRequest) -> Response:
    """The file, or an image of it, as contentType says, or else the Accept header.

    Without either it is a JPEG image of an instance with a single frame, and the file of any other (§9.4).
    Raises `ValidationError` for parameters that are missing, malformed, or cannot be honoured.
    """
    query = _query(request.http)
    target = _target(request, query)
    request.http.resource = request.resource._replace(
        study=target.study, series=target.series, instance=target.instance
    )
    parameters = uri_parameters(query)
    accepted = (
        media.by_preference(query["contenttype"])
        if "contenttype" in query
        else media.accepted_media_ranges(request.http)
    )
    if next(_choices(accepted)) == DICOM:
        return await _file(request, target, query.get("transfersyntax"))
    if _accepts_any(accepted) and not await _has_picture(request, target, accepted):
        return await _file(request, target, query.get("transfersyntax"))
    return await _rendered(request, target, parameters, accepted)


def _query(http: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in media.query_parameters(http):
        if name.lower() in found:
            raise ValidationError(f"The parameter {name} is given more than once: give it once.")
        found[name.lower()] = value
    if found.get("requesttype") != "WADO":
        raise ValidationError("requestType must be WADO.")
    if "anonymize" in found:
        # PS3.18 §9.5.1.4: an origin server that does not remove identities must not answer as if it did.
        raise ValidationError("This server does not anonymize instances: leave out the parameter anonymize.")
    return found


def _target(request: DicomwebRequest, query: dict[str, str]) -> DicomwebTarget:
    missing = [name for name in _UIDS if not query.get(name)]
    if missing:
        names = {"studyuid": "studyUID", "seriesuid": "seriesUID", "objectuid": "objectUID"}
        raise ValidationError(f"The parameter {names[missing[0]]} is required.")
    number = rendered.frame_number(query["framenumber"]) if "framenumber" in query else None
    study, series, instance = (query[name] for name in _UIDS)
    store, image_set = request.resource.datastore_id, query.get("imagesetid")
    return DicomwebTarget(store, study, series, instance, image_set, number)


def _choices(accepted: tuple[MediaRange, ...]) -> Iterator[str]:
    """What a client accepts, the best first: `DICOM`, or "" for anything rendered.

    Raises `NotAcceptableError` at the end.
    """
    if not accepted:
        yield ""
    for each in accepted:
        if each.type == DICOM:
            yield DICOM
        elif each.type in _ANY or each.type in _RENDERED_TYPES:
            yield ""
    raise NotAcceptableError(
        f"An instance comes as {DICOM} or {', '.join(_RENDERED_TYPES)}; none of them is accepted."
    )


def _accepts_any(accepted: tuple[MediaRange, ...]) -> bool:
    return not accepted or any(each.type == "*/*" for each in accepted)


async def _has_picture(
    request: DicomwebRequest, target: DicomwebTarget, accepted: tuple[MediaRange, ...]
) -> bool:
    """Whether the instance has one frame, or the one that is named, and it can be rendered.

    Of reports, documents and videos: whether a type that they come in is accepted by its name.
    """
    state = request.state
    try:
        shown = await state.in_thread(dicomweb_rendered.find_source, request.ctx, target)
    except NotAcceptableError:
        return False
    stored = shown.instance.pixels
    if shown.frame is None or shown.video is not None:
        return any(each.type in shown.offered for each in accepted)
    return stored is not None and (stored.frame_count == 1 or target.number is not None)


async def _rendered(
    request: DicomwebRequest,
    target: DicomwebTarget,
    parameters: RenderingRequest,
    accepted: tuple[MediaRange, ...],
) -> Response:
    return await rendered.render(request, target, parameters, None, accepted)


async def _file(request: DicomwebRequest, target: DicomwebTarget, syntax: str | None) -> Response:
    """The Part 10 file, as the RESTful service sends it.

    If it is not available in the requested transfer syntax, it is sent in Explicit VR Little Endian, or else
    as stored (§9.5.1.3.1).
    """
    wanted = [f"{DICOM}; transfer-syntax={syntax}"] if syntax and _SYNTAX.fullmatch(syntax) else []
    query = f"accept={quote(', '.join([*wanted, DICOM, _AS_STORED]))}"
    if target.image_set_id is not None:
        query += f"&imageSetId={quote(target.image_set_id)}"
    http = request.http.with_query(query.encode())
    resource = request.resource._replace(
        kind="part10",
        study=target.study,
        series=target.series,
        instance=target.instance,
    )
    return await retrieve.part10(request._replace(http=http, resource=resource))
