"""The frames of instances as parts, and all of their bulk data (PS3.18 §10.4); extensions.

Pixel data are one part for each frame, or, among other bulk data, one for each instance, which is what
``multipart/related; type="application/octet-stream"`` asks for (§8.7.3.3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from lightwell.documents.retrieve_syntax import EXPLICIT_LITTLE, OCTET_STREAM
from lightwell.errors import NotAcceptableError, NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import bulkdata as dicomweb_bulkdata
from lightwell.operations.dicomweb import metadata, retrieve
from lightwell.operations.dicomweb.frames import InstanceFrames, InstancePixels
from lightwell.operations.dicomweb.lookup import instance_path
from lightwell.operations.dicomweb.retrieve import FoundInstance
from lightwell.operations.get_image_frame import PIECE
from lightwell.web.dicomweb import media
from lightwell.web.dicomweb.bulkdata import value_pieces
from lightwell.web.dicomweb.frames import FrameFormat, format_for
from lightwell.web.dicomweb.metadata import metadata_target
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.responses import Headers, Response
from lightwell.web.requests.streams import start_stream

if TYPE_CHECKING:
    from lightwell.imaging.instances.bulk_values import BulkValue
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
    ctx = request.ctx
    found = await request.state.in_thread(retrieve.find_instances, ctx, request.target())
    with_pixels = [each for each in found if each.instance.pixels is not None]
    if not with_pixels:
        raise NotFoundError("There is no pixel data.")
    images = _images(request, with_pixels, media.accepted_media_ranges(request.http))
    parts = Multipart(request.http.id)
    kind = images[0].form.media_type
    headers: Headers = [(b"content-type", parts.content_type(kind)), (b"vary", b"accept")]
    left_out = len(with_pixels) - len(images)
    if left_out:
        headers.append(
            (
                b"warning",
                media.warning(
                    f"the pixel data of {left_out} instances is not available in an accepted format"
                ),
            )
        )
    pieces = _multipart(ctx, request.state.instance_frames, images, parts)
    is_encoded = any(not each.form.as_stored and each.form.syntax != EXPLICIT_LITTLE for each in images)
    threads = request.state.encoders if is_encoded else request.state.threads
    return Response(206 if left_out else 200, headers, await start_stream(threads, pieces))


async def bulk_data(request: DicomwebRequest, found: Sequence[FoundInstance]) -> Response:
    """All bulk data of instances without compression: their pixels, and the values that metadata refer to.

    Raises `NotFoundError` if there are none, `NotAcceptableError` if none is available without compression.
    """
    ctx, state = request.ctx, request.state
    best = media.accepted_media_ranges(request.http)[0]
    if best.transfer_syntax not in (None, "*", EXPLICIT_LITTLE):
        raise NotAcceptableError(f"Bulk data as {OCTET_STREAM} are in {EXPLICIT_LITTLE} only.")
    accepted = (MediaRange(media.MULTIPART, OCTET_STREAM, EXPLICIT_LITTLE),)
    with_pixels = [each for each in found if each.instance.pixels is not None]
    refused: NotAcceptableError | None = None
    images: list[_Image] = []
    try:
        images = _images(request, with_pixels, accepted) if with_pixels else []
    except NotAcceptableError as error:
        refused = error
    images = [each for each in images if each.form.syntax == EXPLICIT_LITTLE]
    target = metadata_target(request)

    def first() -> tuple[tuple[str, BulkValue] | None, Iterator[tuple[str, BulkValue]]]:
        values = dicomweb_bulkdata.collect_bulk_values(ctx, target, metadata.find_image_sets(ctx, target))
        return next(values, None), values

    value, values = await state.in_thread(first)
    if not images and value is None:
        if with_pixels:
            raise refused or NotAcceptableError(
                "The pixel data is available only as it is stored: request transfer-syntax=* of its frames."
            )
        raise NotFoundError("There is no bulk data: every value is in the metadata.")
    parts = Multipart(request.http.id)
    headers: Headers = [(b"content-type", parts.content_type(OCTET_STREAM)), (b"vary", b"accept")]
    left_out = len(with_pixels) - len(images)
    if left_out:
        words = f"the pixel data of {left_out} instances is not available without compression"
        headers.append((b"warning", media.warning(words)))
    pieces = _bulk_parts(ctx, state.instance_frames, images, parts, chain([value] if value else [], values))
    return Response(206 if left_out else 200, headers, await start_stream(state.threads, pieces))


def _bulk_parts(
    ctx: Context,
    frames: InstanceFrames,
    images: Sequence[_Image],
    parts: Multipart,
    values: Iterator[tuple[str, BulkValue]],
) -> Iterator[bytes]:
    first = True
    for image in images:
        frames.note_access(image.pixels)
        yield parts.opening(OCTET_STREAM, image.location.removesuffix("/frames/") + "/pixeldata", first=first)
        first = False
        yield from frames.native_pixels(ctx, image.pixels, PIECE)
    for location, value in values:
        yield parts.opening(OCTET_STREAM, location, first=first)
        first = False
        yield from value_pieces(value, 0, value.length)
    yield parts.closing


def _images(
    request: DicomwebRequest, found: Sequence[FoundInstance], accepted: tuple[MediaRange, ...]
) -> list[_Image]:
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
        path = instance_path(
            each.set.study_instance_uid, each.set.series_instance_uid, each.instance.sop_instance_uid
        )
        pixels = InstancePixels(each.set.key, stored.key, stored.stored_syntax, stored.frame_count)
        images.append(_Image(f"{base}{path}/frames/", pixels, form))
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
