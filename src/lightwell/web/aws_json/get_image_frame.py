"""GetImageFrame on the event loop: one look-up and one read without a thread, wherever neither can block.

PostgreSQL and S3 are waited for on the event loop; bytes on a disk that are not in memory are read in a
thread. Frames of more than four megabytes are sent in pieces.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from lightwell.errors import BadRequestError, NotAcceptableError, NotFoundError, ValidationError
from lightwell.operations.frame_lists.cuts import levels_header
from lightwell.operations.get_image_frame import LARGE, PIECE, FrameLocation
from lightwell.web.requests import ranges
from lightwell.web.requests.frame_bytes import read_cold_frame, read_frame
from lightwell.web.requests.negotiation import accept_header, media_ranges, quality_among
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Response
from lightwell.web.requests.state import AppState
from lightwell.wire import shapes
from lightwell.wire.body import read_body
from lightwell.wire.parse import parse
from lightwell.wire.routes import ROUTES

_ROUTE = ROUTES["GetImageFrame"]
_COMMON_BODY = re.compile(rb'\s*\{\s*"imageFrameId"\s*:\s*"([0-9a-z]{32})"\s*\}\s*')
_OCTET_STREAM = "application/octet-stream"


async def serve_frame(state: AppState, request: Request, params: dict[str, str], body: bytes) -> Response:
    """The bytes of a frame as stored, with the content type of their syntax.

    ``params`` are the labels of the path. Raises `ValidationError` or `BadRequestError` for a malformed
    request, `NotFoundError` if the image set does not have the frame, `NotAcceptableError` if the client does
    not accept the stored format, `InternalError` if bytes are lost.
    """
    common = _COMMON_BODY.fullmatch(body)
    frame_id = common[1].decode() if common is not None else _frame_id(params, body)
    reader = state.frames
    try:
        named = params["datastoreId"], params["imageSetId"], frame_id
        found = await reader.find_here(*named) if reader.may_wait else reader.find(*named)
        if found is None:
            found = await state.in_thread(reader.find, *named)
    except NotFoundError:
        parse(_ROUTE, params, [], body)  # ids that break the model's pattern are a ValidationException
        raise
    place, (_, patient, study, series) = found
    request.shown = named[1], patient, study, series
    request.item = frame_id
    if b"accept" in request.head:
        _check_accept(request.headers, place.content_type)
    reader.note_access(place)
    if b"range" in request.head:
        return await _respond_with_range(state, request, place, frame_id)
    content: bytes | AsyncIterator[bytes]
    if place.length > LARGE:
        # The first piece is read before the response starts: a lost pack is a 500, not a truncated body.
        content = _pieces(state, place, bytes(await read_frame(state, place, 0, PIECE)))
    else:
        data = reader.read_warm(place)
        # Of a native frame it is bytes already, which are not copied.
        content = bytes(await read_cold_frame(state, place, 0, place.length) if data is None else data)
    return Response(
        200,
        [(b"content-type", place.content_type.encode()), (b"content-length", b"%d" % place.length)],
        content,
    )


async def _pieces(
    state: AppState, place: FrameLocation, piece: bytes, start: int = 0, end: int | None = None
) -> AsyncIterator[bytes]:
    """The bytes from ``start`` to ``end``, by default all; ``piece`` are the first of them."""
    end = place.length if end is None else end
    while True:
        yield piece
        start += len(piece)
        if start == end:
            return
        piece = bytes(await read_frame(state, place, start, min(PIECE, end - start)))


async def _respond_with_range(
    state: AppState, request: Request, place: FrameLocation, frame_id: str
) -> Response:
    """The bytes that the Range header asks for (RFC 9110 §14); all where it asks for none or for several
    ranges, and where If-Range names other bytes.

    This operation is a POST, for which the RFC leaves it to us. The headers tell where the resolution levels
    of the frame end.
    """
    # A frame id never means other bytes; the checksum is for those who keep frames of several data stores.
    etag = b'"%s-%x"' % (frame_id.encode(), place.checksum or 0)
    wanted = ranges.requested_range(request, place.length, etag, method="POST")
    if wanted is None:
        return ranges.unsatisfiable(place.length)
    name, ends = levels_header((*(each.length for each in place.levels()), place.length))
    headers = [
        (b"content-type", place.content_type.encode()),
        (b"etag", etag),
        (name.lower().encode(), ends.encode()),
        *wanted.headers(),
    ]
    first = bytes(await read_frame(state, place, wanted.start, min(wanted.length, LARGE)))
    if wanted.length <= LARGE:
        return Response(wanted.status, headers, first)
    body = _pieces(state, place, first, wanted.start, wanted.start + wanted.length)
    return Response(wanted.status, headers, body)


def _frame_id(params: dict[str, str], body: bytes) -> str:
    try:
        read_body(body or b"{}")
    except ValidationError as error:
        raise BadRequestError(error.message) from None
    request = parse(_ROUTE, params, [], body)
    assert isinstance(request, shapes.GetImageFrameRequest)
    return request.image_frame_information.image_frame_id


def _check_accept(headers: list[tuple[bytes, bytes]], content_type: str) -> None:
    """Accept the stored type or application/octet-stream; either way, the stored type is sent."""
    accept = accept_header(headers)
    if accept is None or accept in ("*/*", content_type, ""):
        return
    accepted = media_ranges(accept)
    weight = quality_among(accepted, content_type)
    if weight is None:
        weight = quality_among(accepted, _OCTET_STREAM)
    if not weight:
        raise NotAcceptableError(
            f"The frame is stored as {content_type}, which the Accept header does not allow. "
            f"Send Accept: {content_type}, or */*."
        )
