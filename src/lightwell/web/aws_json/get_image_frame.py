"""GetImageFrame on the event loop: one look-up and one read without a thread, wherever neither can block.

PostgreSQL and S3 are waited for on the event loop; bytes on a disk that are not in memory are read in a
thread. Frames of more than four megabytes are sent in pieces.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from lightwell.errors import BadRequestError, NotAcceptableError, NotFoundError, ValidationError
from lightwell.operations.get_image_frame import FrameLocation
from lightwell.web.requests.frame_bytes import read_cold_frame, read_frame
from lightwell.web.requests.negotiation import accept_header, media_ranges, quality_among
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Response
from lightwell.web.requests.state import AppState
from lightwell.wire import shapes
from lightwell.wire.body import read_body
from lightwell.wire.parse import parse
from lightwell.wire.routes import ROUTES

PIECE = 1 << 20
"""Bytes read and sent at a time of a frame longer than `LARGE`, such as a video."""
LARGE = 4 << 20

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
        place = await reader.locate_here(*named) if reader.may_wait else reader.locate(*named)
        if place is None:
            place = await state.in_thread(reader.locate, *named)
    except NotFoundError:
        parse(_ROUTE, params, [], body)  # ids that break the model's pattern are a ValidationException
        raise
    if b"accept" in request.head:
        _check_accept(request.headers, place.content_type)
    reader.note_access(place)
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


async def _pieces(state: AppState, place: FrameLocation, piece: bytes) -> AsyncIterator[bytes]:
    sent = 0
    while True:
        yield piece
        sent += len(piece)
        if sent == place.length:
            return
        piece = bytes(await read_frame(state, place, sent, min(PIECE, place.length - sent)))


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
