"""Metadata of studies, series and instances (WADO-RS).

Source: PS3.18 §10.4, AWS's dicomweb-retrieve-instance-metadata and -series-metadata pages. The metadata of a
study, XML, conditional requests and gzip are extensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.operations.dicomweb import metadata as dicomweb_metadata
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.web.dicomweb import media
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.requests import ranges
from lightwell.web.requests.responses import Headers, Response
from lightwell.web.requests.streams import start_stream

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

_VARY = (b"vary", b"accept, accept-encoding")


async def metadata(request: DicomwebRequest) -> Response:
    """The metadata as JSON or XML. JSON that is in memory is sent without a thread."""
    state, http = request.state, request.http
    kind = media.json_type(http)
    target = metadata_target(request)
    if kind == media.DICOM_XML:
        return await _xml(request, target)
    if ranges.accepts_gzip(http):
        found = await dicomweb_metadata.cached_series_metadata(
            state.stores, state.settings, state.clock, target
        )
        if found is not None:
            known, data, http.shown = found
            etag = _etag(request, kind, known)
            return _not_modified(request, etag) or _json(request, kind, etag, data)
    return await state.in_thread(_respond, request, kind, target)


def metadata_target(request: DicomwebRequest) -> DicomwebTarget:
    """What a request for metadata or bulk data names in its path and query, with the base of its links."""
    return replace(request.target(), base=media.base_url(request.http, request.state.settings))


def _respond(request: DicomwebRequest, kind: str, target: DicomwebTarget) -> Response:
    ctx = request.ctx
    found = dicomweb_metadata.find_image_sets(ctx, target)
    etag = _etag(request, kind, found.etag)
    return _not_modified(request, etag) or _json(
        request, kind, etag, dicomweb_metadata.gzipped_metadata(ctx, target, found)
    )


def _json(request: DicomwebRequest, kind: str, etag: bytes, data: bytes) -> Response:
    headers: Headers = [(b"etag", etag), _VARY, (b"content-type", kind.encode())]
    if ranges.accepts_gzip(request.http):
        headers.append((b"content-encoding", b"gzip"))
    else:
        data = b"".join(metadata_documents.gunzip_pieces(data))
    headers.append((b"content-length", b"%d" % len(data)))
    return Response(200, headers, data)


def _etag(request: DicomwebRequest, kind: str, state: str) -> bytes:
    """The entity tag of one representation of the metadata."""
    coding = "-gzip" if ranges.accepts_gzip(request.http) else ""
    return f'"{state}-{kind.rpartition("/")[2].replace("+", ".")}{coding}"'.encode()


def _not_modified(request: DicomwebRequest, etag: bytes) -> Response | None:
    if not ranges.matches_if_none_match(request.http, etag):
        return None
    return Response(304, [(b"etag", etag), _VARY], b"")


async def _xml(request: DicomwebRequest, target: DicomwebTarget) -> Response:
    """Each instance as a part, made while the response is being sent."""
    ctx, http = request.ctx, request.http
    find = partial(dicomweb_metadata.find_image_sets, ctx, target)
    found = await request.state.in_thread(find)
    etag = f'W/"{found.etag}-xml"'.encode()
    not_modified = _not_modified(request, etag)
    if not_modified is not None:
        return not_modified
    parts = Multipart(http.id)
    headers: Headers = [(b"etag", etag), _VARY, (b"content-type", parts.content_type(media.DICOM_XML))]

    def pieces() -> Iterator[bytes]:
        location = f"{target.base}{http.path.decode('latin-1').partition(target.datastore_id)[2]}"
        first = True
        for text in dicomweb_metadata.metadata_as_xml(ctx, target, found):
            yield parts.opening(media.DICOM_XML, location, first=first) + text
            first = False
        yield parts.closing

    return Response(200, headers, await start_stream(request.state.threads, pieces()))
