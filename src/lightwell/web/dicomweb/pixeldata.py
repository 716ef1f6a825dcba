"""All frames of an instance, a series or a study as parts (PS3.18 §10.4); an extension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.errors import NotAcceptableError, NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import retrieve
from lightwell.operations.dicomweb.frames import InstanceFrames, InstancePixels
from lightwell.operations.dicomweb.retrieve import FoundInstance
from lightwell.web.aws_json.get_image_frame import PIECE
from lightwell.web.dicomweb import media
from lightwell.web.dicomweb.frames import FrameFormat, format_for
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.dicomweb.retrieve import warning
from lightwell.web.dicomweb.streams import start_stream
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest


@dataclass(frozen=True, slots=True)
class _Image:
    """The frames of one instance: where they are and how to send them."""

    location: str
    pixels: InstancePixels
    form: FrameFormat


async def pixeldata(request: DicomwebRequest) -> Response:
    """The frames, instance by instance. Those that the client does not accept are left out, with a warning.

    Raises `NotFoundError` if there are no frames, `NotAcceptableError` if none is available as accepted.
    """
    ctx = request.state.context(request.caller)
    found = await request.state.in_thread(retrieve.find_instances, request.state.stores, request.target())
    with_pixels = [each for each in found if each.instance.pixels is not None]
    if not with_pixels:
        raise NotFoundError("There is no pixel data.")
    images = _images(request, with_pixels)
    parts = Multipart(request.http.id)
    kind = images[0].form.media_type
    headers: Headers = [(b"content-type", parts.content_type(kind)), (b"vary", b"accept")]
    left_out = len(with_pixels) - len(images)
    if left_out:
        headers.append(
            (
                b"warning",
                warning(f"the pixel data of {left_out} instances is not available in an accepted format"),
            )
        )
    pieces = _multipart(ctx, request.state.instance_frames, images, parts)
    return Response(206 if left_out else 200, headers, await start_stream(request.state.threads, pieces))


def _images(request: DicomwebRequest, found: Sequence[FoundInstance]) -> list[_Image]:
    accepted = media.accepted_media_ranges(request.http)
    base = media.base_url(request.http, request.state.settings)
    images = []
    refused: NotAcceptableError | None = None
    for each in found:
        stored = each.instance.pixels
        if stored is None or not stored.frame_count:
            continue
        try:
            # Several frames can only be sent as parts.
            form = format_for(accepted, stored.stored_syntax, 2)
            if form.is_assumed:
                form = format_for(accepted, stored.stored_syntax, 2, each.image)
        except NotAcceptableError as error:
            refused = error
            continue
        location = (
            f"{base}/studies/{each.set.study_instance_uid}/series/{each.set.series_instance_uid}"
            f"/instances/{each.instance.sop_instance_uid}/frames/"
        )
        pixels = InstancePixels(each.set.key, stored.key, stored.stored_syntax, stored.frame_count)
        images.append(_Image(location, pixels, form))
    if not images:
        raise refused or NotAcceptableError(
            "The pixel data could not be split into frames at import. Retrieve the instances with "
            "transfer-syntax=* instead."
        )
    return images


def _multipart(
    ctx: Context, frames: InstanceFrames, images: Sequence[_Image], parts: Multipart
) -> Iterator[bytes]:
    first = True
    for image in images:
        frames.note_access(image.pixels)
        for number in range(1, image.pixels.frame_count + 1):
            yield parts.opening(image.form.content_type, f"{image.location}{number}", first=first)
            first = False
            yield from frames.pieces(ctx, image.pixels, number, image.form.syntax, PIECE)
    yield parts.closing
