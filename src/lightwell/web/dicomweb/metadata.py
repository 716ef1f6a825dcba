"""Metadata of studies, series and instances (WADO-RS).

Source: PS3.18 §10.4, AWS's dicomweb-retrieve-instance-metadata and -series-metadata pages; that of a study is
an extension.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from lightwell.operations import dicomweb_metadata, documents
from lightwell.operations.dicomweb_metadata import Wanted
from lightwell.web.dicomweb import media
from lightwell.web.negotiation import quality
from lightwell.web.reply import Answer, Headers

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import Visit


async def metadata(visit: Visit) -> Answer:
    """The metadata as JSON or XML. What is in memory is answered at once."""
    state, request = visit.state, visit.request
    kind = media.json_type(request)
    wanted = _wanted(visit)
    if kind != media.DICOM_XML and _takes_gzip(visit):
        found = dicomweb_metadata.warm(state.stores, state.settings, state.clock, wanted)
        if found is not None:
            etag, data = found
            return _unchanged(visit, kind, etag) or _json(visit, kind, etag, data)
    return await asyncio.get_running_loop().run_in_executor(
        state.threads, partial(_answer, visit, kind, wanted)
    )


def _answer(visit: Visit, kind: str, wanted: Wanted) -> Answer:
    ctx = visit.state.context(visit.caller)
    found = dicomweb_metadata.find(ctx, wanted)
    unchanged = _unchanged(visit, kind, found.etag)
    if unchanged is not None:
        return unchanged
    return _json(visit, kind, found.etag, dicomweb_metadata.gzipped(ctx, wanted, found))


def _wanted(visit: Visit) -> Wanted:
    resource, request = visit.resource, visit.request
    return Wanted(
        resource.datastore_id,
        resource.study or "",
        resource.series,
        resource.instance,
        media.parameter(request, "imageSetId"),
        media.base_url(request, visit.state.settings),
    )


def _takes_gzip(visit: Visit) -> bool:
    accept = visit.request.head.get(b"accept-encoding")
    return bool(accept and quality(accept.decode("latin-1"), "gzip"))


def _json(visit: Visit, kind: str, etag: str, data: bytes) -> Answer:
    headers = _headers(visit, kind, etag)
    headers.append((b"content-type", kind.encode()))
    if _takes_gzip(visit):
        headers.append((b"content-encoding", b"gzip"))
    else:
        data = b"".join(documents.unpacked(data))
    headers.append((b"content-length", b"%d" % len(data)))
    return Answer(200, headers, data)


def _headers(visit: Visit, kind: str, etag: str) -> Headers:
    return [(b"etag", _tag(visit, kind, etag)), (b"vary", b"accept, accept-encoding")]


def _tag(visit: Visit, kind: str, etag: str) -> bytes:
    coding = "-gzip" if _takes_gzip(visit) else ""
    return f'"{etag}-{kind.rpartition("/")[2].replace("+", ".")}{coding}"'.encode()


def _unchanged(visit: Visit, kind: str, etag: str) -> Answer | None:
    """304 where the client has the very same (RFC 9110 §13.1.2)."""
    given = visit.request.head.get(b"if-none-match")
    if given is None:
        return None
    tag = _tag(visit, kind, etag)
    known = [each.strip().removeprefix(b"W/") for each in given.split(b",")]
    if tag not in known and given.strip() != b"*":
        return None
    return Answer(304, _headers(visit, kind, etag), b"")
