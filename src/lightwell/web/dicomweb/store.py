"""STOW-RS: StoreDICOM and StoreDICOMStudy.

Source: PS3.18 §10.5, Annex I; AWS's dicomweb-storing page.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from lightwell.errors import ValidationError
from lightwell.operations.dicomweb import store as dicomweb_store
from lightwell.operations.dicomweb.store import OCTETS, BulkPart, StoreTarget
from lightwell.web.dicomweb import media, upload
from lightwell.web.dicomweb.upload_format import UploadFormat, inflater_for, media_type, upload_format
from lightwell.web.dicomweb.upload_limits import SpoolShare, spool_usage
from lightwell.web.requests.responses import Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

# What stands in place of a hash if the body is not hashed (`auth.sigv4`).
_UNHASHED = (b"UNSIGNED-PAYLOAD", b"STREAMING-")


def _sorted_parts(
    form: UploadFormat, received: upload.Received
) -> tuple[list[tuple[int, int]], list[BulkPart]]:
    """The parts with metadata, and those with bulk data."""
    if form.delimiter is None:
        return received.parts, []
    documents: list[tuple[int, int]] = []
    bulk: list[BulkPart] = []
    for place, headers in zip(received.parts, received.headers, strict=True):
        kind, parameters = media_type(headers.content_type)
        if kind == (media.DICOM_JSON if form.document == "json" else media.DICOM_XML):
            documents.append(place)
        else:
            syntax = parameters.get("transfer-syntax")
            bulk.append(BulkPart(headers.location, kind or OCTETS, syntax, *place))
    return documents, bulk


async def store(request: DicomwebRequest) -> Response:
    """Receive the upload, store it, and report the outcome of each instance."""
    state, http, resource = request.state, request.http, request.resource
    kind = media.json_type(http)
    inflater = inflater_for(http.head.get(b"content-encoding"))
    form = upload_format(http.head.get(b"content-type"))
    stated = http.head.get(b"x-amz-content-sha256", b"")
    placeholder = stated.decode("latin-1") if stated.startswith(_UNHASHED) else None
    ctx = request.ctx
    loop = asyncio.get_running_loop()
    begin = partial(dicomweb_store.begin_upload, ctx, resource.datastore_id, resource.study)
    spooled = await loop.run_in_executor(state.threads, begin)
    limit = state.settings.store_max_bytes
    spool_share = SpoolShare(spool_usage, limit, is_proved=request.is_proved)
    try:
        received = await upload.receive(
            request,
            spooled,
            form,
            limit,
            spool_share,
            hashed=placeholder is None,
            inflater=inflater,
        )
        request.prove(placeholder or received.digest)
        spool_share.prove()
        if not received.parts:
            raise ValidationError("The request contains no DICOM file.")
        base = media.base_url(http, state.settings)
        target = StoreTarget(resource.datastore_id, resource.study, base, kind)
        if form.document is None:
            work = partial(dicomweb_store.store_files, ctx, target, spooled, received.parts)
        else:
            documents, bulk = _sorted_parts(form, received)
            work = partial(
                dicomweb_store.store_metadata, ctx, target, spooled, form.document, documents, bulk
            )
        result = await loop.run_in_executor(state.waiters, work)
    finally:
        state.threads.submit(spooled.remove)
        spool_share.end()
    headers = [
        (b"content-type", result.content_type.encode()),
        (b"content-length", b"%d" % len(result.body)),
    ]
    return Response(result.status, headers, result.body)
