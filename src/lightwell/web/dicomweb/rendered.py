"""Pictures of studies, series, instances and frames (WADO-RS rendered resources and thumbnails).

Source: PS3.18 §8.3.5 (parameters), §8.7.4 (media types), §10.4. HealthImaging has none of it.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING

from lightwell.errors import NotAcceptableError, ValidationError
from lightwell.operations.dicomweb import rendered as dicomweb_rendered
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.operations.dicomweb.rendered import (
    IMAGE_TYPES,
    PDF,
    THUMBNAIL_SIDE,
    Rendering,
    RenderingRequest,
    Shown,
    rendered_parameters,
)
from lightwell.web.dicomweb import media, ranges
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

_NUMBER = re.compile(r"[0-9]{1,9}")
# A note may hold what a file says: nothing of it may end the header.
_PRINTABLE = bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in range(256))


async def rendered(visit: DicomwebRequest) -> Response:
    """One picture, or the PDF that an instance is."""
    asked = rendered_parameters(media.query(visit.request))
    return await _show(visit, asked, None)


async def thumbnail(visit: DicomwebRequest) -> Response:
    """One small picture."""
    asked = rendered_parameters(media.query(visit.request), thumbnail=True)
    return await _show(visit, asked, THUMBNAIL_SIDE)


async def _show(visit: DicomwebRequest, asked: RenderingRequest, side: int | None) -> Response:
    item = visit.resource.item
    target = visit.target(None if item is None else frame_number(item))
    return await show(visit, target, asked, side, media.wanted(visit.request))


async def show(
    visit: DicomwebRequest,
    target: DicomwebTarget,
    asked: RenderingRequest,
    side: int | None,
    wanted: tuple[MediaRange, ...],
) -> Response:
    """The picture of ``target`` in the media type ``wanted`` most; ``side`` bounds a thumbnail."""
    state = visit.state
    what = await state.in_thread(
        partial(dicomweb_rendered.shown, small=side is not None), state.stores, target
    )
    kind = media_type(wanted, (PDF,) if what.frame is None else IMAGE_TYPES)
    wish = dicomweb_rendered.rendering(kind, asked, side=side)
    headers = _headers(visit, what, wish)
    if ranges.is_known(visit.request, headers[0][1]):
        return Response(304, headers, b"")
    # Only what has to be made waits for a codec worker; a kept thumbnail is read like any file.
    return await asyncio.get_running_loop().run_in_executor(
        state.waiters, partial(_answer, visit, what, wish, asked, side, headers)
    )


def media_type(wanted: tuple[MediaRange, ...], offered: tuple[str, ...]) -> str:
    """The best of what is offered that the client takes. Raises `NotAcceptableError`."""
    if not wanted:
        return offered[0]
    for each in wanted:
        for kind in offered:
            if each.type in (kind, "*/*", f"{kind.partition('/')[0]}/*"):
                return kind
    raise NotAcceptableError(
        f"This can be shown as {', '.join(offered)}, one picture an answer; the request takes none of them."
    )


def _answer(
    visit: DicomwebRequest,
    what: Shown,
    wish: Rendering,
    asked: RenderingRequest,
    side: int | None,
    headers: Headers,
) -> Response:
    ctx = visit.state.context(visit.caller)
    if side is None:
        made = dicomweb_rendered.picture(ctx, what, wish)
    else:
        made = dicomweb_rendered.thumbnail(ctx, what, wish, usual=wish == _usual_thumbnail(side))
    base = media.base_url(visit.request, visit.state.settings)
    for note in (*asked.notes, *made.notes):
        headers.append((b"warning", f"299 {base}: {note}".encode("ascii", "replace").translate(_PRINTABLE)))
    headers += [
        (b"content-type", made.media_type.encode()),
        (b"content-length", b"%d" % len(made.data)),
    ]
    return Response(200, headers, made.data)


def _usual_thumbnail(side: int) -> Rendering:
    return Rendering(dicomweb_rendered.THUMBNAIL, width=side, height=side)


def frame_number(text: str) -> int:
    """The one frame of a frame list. Raises `ValidationError`."""
    if "," in text:
        raise ValidationError("One picture shows one frame: ask for each of these frames on its own.")
    if not _NUMBER.fullmatch(text) or not int(text):
        raise ValidationError(f"{text[:40]!r} is no frame number: the first frame is 1.")
    return int(text)


def _headers(visit: DicomwebRequest, what: Shown, wish: Rendering) -> Headers:
    """What 200 and 304 have in common."""
    place = visit.resource
    found = what.found
    path = f"/studies/{found.study_instance_uid}/series/{found.series_instance_uid}"
    path += f"/instances/{what.instance.sop_instance_uid}"
    if what.number is not None:
        path += f"/frames/{what.number + 1}"
    headers: Headers = [
        (b"etag", f'"{what.tag(wish)}"'.encode()),
        (b"vary", b"accept"),
    ]
    if place.kind != "wado-uri":
        base = media.base_url(visit.request, visit.state.settings)
        tail = "" if found.is_primary else f"?imageSetId={found.id}"
        where = f"{base}{path}/{place.kind}{tail}"
        headers.append((b"content-location", where.encode("ascii", "replace").translate(_PRINTABLE)))
    return headers
