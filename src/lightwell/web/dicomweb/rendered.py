"""Rendered images of studies, series, instances and frames, and thumbnails (WADO-RS).

Source: PS3.18 §8.3.5 (parameters), §8.7.4 (media types), §10.4. HealthImaging has none of this.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING

from lightwell.errors import NotAcceptableError, ValidationError
from lightwell.operations.dicomweb import rendered as dicomweb_rendered
from lightwell.operations.dicomweb.lookup import DicomwebTarget, instance_path
from lightwell.operations.dicomweb.rendered import (
    GIF,
    REPORT_TYPES,
    THUMBNAIL_SIDE,
    Rendering,
    RenderingRequest,
    RenderSource,
    rendered_parameters,
)
from lightwell.web.dicomweb import frames, media
from lightwell.web.requests import ranges
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

_NUMBER = re.compile(r"[0-9]{1,9}")
# A note may quote a file, and must not be able to end the header.
_SANDBOX = b"sandbox; default-src 'none'; style-src 'unsafe-inline'"
_PRINTABLE = bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in range(256))


async def rendered(request: DicomwebRequest) -> Response:
    """One image or animation, a report as text, an encapsulated PDF, or a video as it is kept."""
    parameters = rendered_parameters(media.query_parameters(request.http))
    return await _render(request, parameters, None)


async def thumbnail(request: DicomwebRequest) -> Response:
    """One small image."""
    parameters = rendered_parameters(media.query_parameters(request.http), thumbnail=True)
    return await _render(request, parameters, THUMBNAIL_SIDE)


async def _render(request: DicomwebRequest, parameters: RenderingRequest, side: int | None) -> Response:
    item = request.resource.item
    target = request.target(None if item is None else frame_number(item))
    return await render(request, target, parameters, side, media.accepted_media_ranges(request.http))


async def render(
    request: DicomwebRequest,
    target: DicomwebTarget,
    parameters: RenderingRequest,
    side: int | None,
    accepted: tuple[MediaRange, ...],
) -> Response:
    """``target`` rendered in the best ``accepted`` media type; ``side`` bounds a thumbnail, in pixels."""
    state = request.state
    shown = await state.in_thread(
        partial(dicomweb_rendered.find_source, small=side is not None), request.ctx, target
    )
    kind = media_type(accepted, shown.offered)
    if kind == GIF and target.number is None and side is None:
        shown = await state.in_thread(dicomweb_rendered.find_animation, state.stores, shown)
    rendering = dicomweb_rendered.to_rendering(kind, parameters, side=side)
    headers = _headers(request, shown, rendering)
    if ranges.matches_if_none_match(request.http, headers[0][1]):
        return Response(304, headers, b"")
    if shown.video is not None:
        return await _video(request, shown, headers)
    # Only what has to be rendered waits for a codec worker; a stored thumbnail is read like any file.
    return await asyncio.get_running_loop().run_in_executor(
        state.waiters, partial(_make_response, request, shown, rendering, parameters, side, headers)
    )


async def _video(request: DicomwebRequest, shown: RenderSource, headers: Headers) -> Response:
    """The stream of a video, or a range of it, if it is in a file format that players know."""
    state, found = request.state, shown.found
    path = (found.study_instance_uid, found.series_instance_uid, shown.instance.sop_instance_uid)
    pixels = await state.in_thread(state.instance_frames.find, found.datastore_id, *path, found.id)
    stream = await frames.Stream.open(request, pixels)
    if shown.video == "video/mp4" and (await stream.read(0, 8))[4:] != b"ftyp":
        raise NotAcceptableError(
            "The video is not in an MP4 file but in another kind of stream. Request frame 1 to get it as "
            "it is kept."
        )
    return await stream.respond(shown.video or "", headers)


def media_type(accepted: tuple[MediaRange, ...], offered: tuple[str, ...]) -> str:
    """The best of the ``offered`` types that the client accepts. Raises `NotAcceptableError`."""
    if not accepted:
        return offered[0]
    for each in accepted:
        for kind in offered:
            is_named = each.type in (kind, "*/*", f"{kind.partition('/')[0]}/*")
            if is_named and kind not in each.refused:
                return kind
    raise NotAcceptableError(
        f"This can be rendered as {', '.join(offered)}; the request accepts none of them."
    )


def _make_response(
    request: DicomwebRequest,
    shown: RenderSource,
    rendering: Rendering,
    parameters: RenderingRequest,
    side: int | None,
    headers: Headers,
) -> Response:
    ctx = request.ctx
    if side is None:
        made = dicomweb_rendered.render_image(ctx, shown, rendering)
    else:
        made = dicomweb_rendered.render_thumbnail(
            ctx, shown, rendering, usual=rendering == _default_thumbnail(side)
        )
    base = media.base_url(request.http, request.state.settings)
    for note in (*parameters.notes, *made.notes):
        headers.append((b"warning", f"299 {base}: {note}".encode("ascii", "replace").translate(_PRINTABLE)))
    if made.media_type in REPORT_TYPES:
        # Its text is that of a file: whatever it says, a browser runs and loads nothing.
        headers.append((b"content-security-policy", _SANDBOX))
    is_text = made.media_type in REPORT_TYPES
    headers += [
        (b"content-type", made.media_type.encode() + (b"; charset=utf-8" if is_text else b"")),
        (b"content-length", b"%d" % len(made.data)),
    ]
    return Response(200, headers, made.data)


def _default_thumbnail(side: int) -> Rendering:
    return Rendering(dicomweb_rendered.THUMBNAIL, width=side, height=side)


def frame_number(text: str) -> int:
    """The single frame of a frame list. Raises `ValidationError`."""
    if "," in text:
        raise ValidationError("An image shows one frame: request each of these frames separately.")
    if not _NUMBER.fullmatch(text) or not int(text):
        raise ValidationError(f"{text[:40]!r} is not a frame number: the first frame is 1.")
    return int(text)


def _headers(request: DicomwebRequest, shown: RenderSource, rendering: Rendering) -> Headers:
    """The headers of both 200 and 304."""
    place = request.resource
    found = shown.found
    path = instance_path(found.study_instance_uid, found.series_instance_uid, shown.instance.sop_instance_uid)
    if shown.number is not None:
        path += f"/frames/{shown.number + 1}"
    headers: Headers = [
        (b"etag", f'"{shown.tag(rendering)}"'.encode()),
        (b"vary", b"accept"),
    ]
    if place.kind != "wado-uri":
        base = media.base_url(request.http, request.state.settings)
        tail = "" if found.is_primary else f"?imageSetId={found.id}"
        where = f"{base}{path}/{place.kind}{tail}"
        headers.append((b"content-location", where.encode("ascii", "replace").translate(_PRINTABLE)))
    return headers
