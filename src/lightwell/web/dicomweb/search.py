"""QIDO-RS: the six searches.

Source: PS3.18 §8.3.4.4 (the warning about additional results), §10.6.3; CP-2473 (200 if nothing matches).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.operations.dicomweb import search as dicomweb_search
from lightwell.web.dicomweb import media
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.requests import ranges
from lightwell.web.requests.authorization import metadata_check
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

_SMALLEST_GZIPPED = 4 << 10
"""Bodies of at least this many bytes are gzipped for clients that accept it."""
_MOST_SHOWN, _SHOWN = 5, 32  # names in a warning, and characters of each
_UNPRINTABLE = re.compile(r"[^A-Za-z0-9_.~-]")


async def search(request: DicomwebRequest) -> Response:
    """A page of results, in the DICOM JSON Model or the Native DICOM Model."""
    return await request.state.in_thread(_respond, request)


def _respond(request: DicomwebRequest) -> Response:
    http, resource, settings = (
        request.http,
        request.resource,
        request.state.settings,
    )
    kind = media.json_type(http)
    base = media.base_url(http, settings)
    found = dicomweb_search.search(
        request.ctx,
        dicomweb_search.SearchRequest(
            operation=resource.operation,
            datastore_id=resource.datastore_id,
            study=resource.study,
            series=resource.series,
            parameters=media.query_parameters(http),
            base=base,
            strict=settings.strict_queries,
        ),
        may_read_metadata=metadata_check(request.state, http, request.principal, resource),
    )
    headers: Headers = [(b"vary", b"accept, accept-encoding")]
    if found.remaining != 0:
        many = "" if found.remaining is None else f"{found.remaining} "
        text = f"299 {base}: There are {many}additional results that can be requested"
        headers.append((b"warning", text.encode()))
    if found.is_limited:
        text = f"299 {base}: Attributes that need the right to GetDICOMInstanceMetadata are left out"
        headers.append((b"warning", text.encode()))
    if found.ignored:
        headers.append((b"warning", _ignored(base, found.ignored)))
    if not found.objects and settings.empty_search == "204":
        return Response(204, headers, b"")
    if kind == media.DICOM_XML:
        parts = Multipart(http.id)
        headers.append((b"content-type", parts.content_type(kind)))
        body = _multipart(parts, found, base)
    else:
        headers.append((b"content-type", kind.encode()))
        body = found.body
    if len(body) >= _SMALLEST_GZIPPED and ranges.accepts_gzip(http):
        body = metadata_documents.gzip_pieces([body])
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", b"%d" % len(body)))
    return Response(200, headers, body)


def _ignored(base: str, names: Sequence[str]) -> bytes:
    """The warning about parameters that are no attributes, whose names are the client's."""
    shown = ", ".join(_UNPRINTABLE.sub("?", name[:_SHOWN]) for name in names[:_MOST_SHOWN])
    more = f" and {len(names) - _MOST_SHOWN} others" if len(names) > _MOST_SHOWN else ""
    return f"299 {base}: Parameters that are no DICOM attributes are ignored: {shown}{more}".encode()


def _multipart(parts: Multipart, found: dicomweb_search.SearchResults, base: str) -> bytes:
    """The multipart body of the results in XML."""
    pieces: list[bytes] = []
    for text in found.xml():
        pieces += (parts.opening(media.DICOM_XML, base, first=not pieces), text)
    return b"".join([*pieces, parts.closing])
