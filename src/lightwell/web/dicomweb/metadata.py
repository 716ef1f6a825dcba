"""Metadata of studies, series and instances (WADO-RS).

Source: PS3.18 §10.4, AWS's dicomweb-retrieve-instance-metadata and -series-metadata pages. The metadata of a
study, XML, conditions and gzip are extensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from lightwell.documents import metadata_documents
from lightwell.operations.dicomweb import metadata as dicomweb_metadata
from lightwell.operations.dicomweb.metadata import Wanted
from lightwell.web.dicomweb import media, ranges
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.dicomweb.streams import begun
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

_VARY = (b"vary", b"accept, accept-encoding")


async def metadata(visit: DicomwebRequest) -> Response:
    """The metadata as JSON or XML. JSON that is in memory is answered at once."""
    state, request = visit.state, visit.request
    kind = media.json_type(request)
    wanted = wanted_by(visit)
    if kind == media.DICOM_XML:
        return await _xml(visit, wanted)
    if ranges.takes_gzip(request):
        found = dicomweb_metadata.warm(state.stores, state.settings, state.clock, wanted)
        if found is not None:
            etag = _tag(visit, kind, found[0])
            return _unchanged(visit, etag) or _json(visit, kind, etag, found[1])
    return await state.in_thread(_answer, visit, kind, wanted)


def wanted_by(visit: DicomwebRequest) -> Wanted:
    """What the path and query of a request for metadata or bulk data name."""
    resource, request = visit.resource, visit.request
    return Wanted(
        resource.datastore_id,
        resource.study or "",
        resource.series,
        resource.instance,
        media.parameter(request, "imageSetId"),
        media.base_url(request, visit.state.settings),
    )


def _answer(visit: DicomwebRequest, kind: str, wanted: Wanted) -> Response:
    ctx = visit.state.context(visit.caller)
    found = dicomweb_metadata.find(ctx, wanted)
    etag = _tag(visit, kind, found.etag)
    return _unchanged(visit, etag) or _json(visit, kind, etag, dicomweb_metadata.gzipped(ctx, wanted, found))


def _json(visit: DicomwebRequest, kind: str, etag: bytes, data: bytes) -> Response:
    headers: Headers = [(b"etag", etag), _VARY, (b"content-type", kind.encode())]
    if ranges.takes_gzip(visit.request):
        headers.append((b"content-encoding", b"gzip"))
    else:
        data = b"".join(metadata_documents.unpacked(data))
    headers.append((b"content-length", b"%d" % len(data)))
    return Response(200, headers, data)


def _tag(visit: DicomwebRequest, kind: str, state: str) -> bytes:
    """The entity tag of a form of the metadata."""
    coding = "-gzip" if ranges.takes_gzip(visit.request) else ""
    return f'"{state}-{kind.rpartition("/")[2].replace("+", ".")}{coding}"'.encode()


def _unchanged(visit: DicomwebRequest, etag: bytes) -> Response | None:
    if not ranges.is_known(visit.request, etag):
        return None
    return Response(304, [(b"etag", etag), _VARY], b"")


async def _xml(visit: DicomwebRequest, wanted: Wanted) -> Response:
    """Each instance as a part, made while it is sent."""
    ctx, request = visit.state.context(visit.caller), visit.request
    find = partial(dicomweb_metadata.find, ctx, wanted)
    found = await visit.state.in_thread(find)
    etag = f'W/"{found.etag}-xml"'.encode()
    unchanged = _unchanged(visit, etag)
    if unchanged is not None:
        return unchanged
    parts = Multipart(request.id)
    headers: Headers = [(b"etag", etag), _VARY, (b"content-type", parts.content_type(media.DICOM_XML))]

    def pieces() -> Iterator[bytes]:
        location = f"{wanted.base}{request.path.decode('latin-1').partition(wanted.datastore_id)[2]}"
        first = True
        for text in dicomweb_metadata.as_xml(ctx, wanted, found):
            yield parts.opening(media.DICOM_XML, location, first=first) + text
            first = False
        yield parts.closing

    return Response(200, headers, await begun(visit.state.threads, pieces()))
