"""Instances as DICOM files: a single one by itself or as a part, those of a series or study as parts
(WADO-RS).

Source: AWS's dicomweb-retrieve-instance page (single-part), PS3.18 §10.4 and §8.7.3. Parts, series and
studies are extensions. Files are made and sent piece by piece, the next piece while the last is being sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from lightwell.errors import NotAcceptableError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import archive, retrieve
from lightwell.operations.dicomweb.lookup import instance_path
from lightwell.operations.dicomweb.retrieve import FoundInstance, RetrievedInstance
from lightwell.web.dicomweb import media, pixeldata
from lightwell.web.dicomweb.media import MULTIPART
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.requests import ranges
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.ranges import ByteRange
from lightwell.web.requests.responses import Headers, Response
from lightwell.web.requests.streams import start_stream

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from lightwell.documents.part10_files import Part10File
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

T = TypeVar("T")

DICOM, OCTET_STREAM, ZIP = "application/dicom", "application/octet-stream", "application/zip"

_ANY = ("*/*", "*", "application/*")


async def part10(request: DicomwebRequest) -> Response:
    """The files of what the path names.

    Raises `NotAcceptableError` if none is available in an accepted format.
    """
    ctx = request.ctx
    found = await request.state.in_thread(retrieve.find_instances, ctx, request.target())
    alone = request.resource.instance is not None
    accepted = media.accepted_media_ranges(request.http)
    if _wants_bulk_data(accepted):
        return await pixeldata.bulk_data(request, found)
    if accepted and accepted[0].type == ZIP:
        return await _zip(request, ctx, found, accepted[0].transfer_syntax)
    in_parts, sent = _choose(
        accepted,
        found,
        alone=alone,
        prefers_parts=request.state.settings.retrieve_instance_as == "multipart",
    )
    if not in_parts:
        return await _single_part(request, ctx, sent[0])
    parts = Multipart(request.http.id)
    headers: Headers = [(b"content-type", parts.content_type(DICOM)), (b"vary", b"accept")]
    left_out = len(found) - len(sent)
    if left_out:
        headers.append(
            (b"warning", media.warning(f"{left_out} instances are not available in this transfer syntax"))
        )
    pieces = _multipart(
        ctx,
        sent,
        parts,
        media.base_url(request.http, request.state.settings),
        request,
    )
    body = await start_stream(_threads(request, sent), pieces)
    return Response(206 if left_out else 200, headers, body)


async def _zip(
    request: DicomwebRequest, ctx: Context, found: Sequence[FoundInstance], syntax: str | None
) -> Response:
    """All files in one archive (PS3.18 §8.7.3)."""
    pieces = await request.state.in_thread(archive.archive_of_instances, ctx, found, syntax)
    body = await start_stream(
        _threads(request, retrieve.select_instances(found, syntax, alone=False)), pieces
    )
    return zip_response(body)


def zip_response(body: AsyncIterator[bytes]) -> Response:
    """An archive, which browsers save. The name says nothing of what is in it."""
    return Response(
        200,
        [
            (b"content-type", ZIP.encode()),
            (b"content-disposition", b'attachment; filename="dicom.zip"'),
            (b"vary", b"accept"),
        ],
        body,
    )


def _threads(request: DicomwebRequest, sent: Sequence[RetrievedInstance]) -> ThreadPoolExecutor:
    """Which threads make the files: encoding must not keep those busy that everything else needs."""
    is_encoded = any(each.is_encoded for each in sent)
    return request.state.encoders if is_encoded else request.state.threads


def _wants_bulk_data(accepted: tuple[MediaRange, ...]) -> bool:
    """Whether the best alternative is the bulk data of the instances, uncompressed (PS3.18 §8.7.3.3.1)."""
    return bool(accepted) and (accepted[0].type, accepted[0].inner) == (MULTIPART, OCTET_STREAM)


def _choose(
    accepted: tuple[MediaRange, ...], found: Sequence[FoundInstance], *, alone: bool, prefers_parts: bool
) -> tuple[bool, list[RetrievedInstance]]:
    """Whether to send parts, and what in which transfer syntax, by the first alternative that can be met."""
    for each in accepted or (MediaRange("*/*"),):
        if each.type == MULTIPART and (each.inner or DICOM) in (DICOM, *_ANY):
            in_parts = True
        elif each.type in _ANY:
            in_parts = not alone or (prefers_parts and each.type != "application/*")
            if in_parts and MULTIPART in each.refused and len(found) == 1:
                in_parts = False
        elif each.type == DICOM and len(found) == 1:
            in_parts = False
        else:
            continue
        if (MULTIPART if in_parts else DICOM) in each.refused:
            continue
        sent = retrieve.select_instances(found, each.transfer_syntax, alone=alone)
        if sent:
            return in_parts, sent
    kind = DICOM if alone else f'{MULTIPART}; type="{DICOM}"'
    raise NotAcceptableError(
        f"This is not available in any format that the Accept header allows. Send Accept: {kind}; "
        "transfer-syntax=* to get it as stored."
    )


async def _single_part(request: DicomwebRequest, ctx: Context, sent: RetrievedInstance) -> Response:
    """One file as the whole body, or a range of its bytes where its length is known."""
    http = request.http
    etag = sent.etag.encode()
    if ranges.matches_if_none_match(http, etag):
        return ranges.not_modified(etag)
    file = await request.state.in_thread(retrieve.open_file, ctx, sent)
    headers: Headers = [
        (b"content-type", f"{DICOM}; transfer-syntax={file.syntax}".encode()),
        (b"etag", etag),
        (b"vary", b"accept"),
    ]
    if file.length is None:
        return Response(200, headers, await start_stream(_threads(request, [sent]), file.pieces))
    byte_range = ranges.requested_range(http, file.length, etag)
    if byte_range is None:
        return ranges.unsatisfiable(file.length)
    pieces = _within(file, byte_range) if byte_range.is_part else file.pieces
    return Response(
        byte_range.status,
        headers + byte_range.headers(),
        await start_stream(_threads(request, [sent]), pieces),
    )


def _within(file: Part10File, byte_range: ByteRange) -> Iterator[bytes]:
    """The bytes of a range; those before it are made and discarded."""
    position, end = 0, byte_range.start + byte_range.length
    for piece in file.pieces:
        part = piece[max(byte_range.start - position, 0) : end - position]
        position += len(piece)
        if part:
            yield part
        if position >= end:
            return


def _multipart(
    ctx: Context, sent: Sequence[RetrievedInstance], parts: Multipart, base: str, request: DicomwebRequest
) -> Iterator[bytes]:
    image_set_id = media.query_parameter(request.http, "imageSetId")
    tail = f"?imageSetId={image_set_id}" if image_set_id else ""
    for position, each in enumerate(sent):
        file = retrieve.open_file(ctx, each)
        found = each.found
        path = instance_path(
            found.set.study_instance_uid, found.set.series_instance_uid, found.instance.sop_instance_uid
        )
        kind = f"{DICOM}; transfer-syntax={file.syntax}"
        yield parts.opening(kind, f"{base}{path}{tail}", first=not position)
        yield from file.pieces
    yield parts.closing
